"""The figures that a plan is made of, however they were found."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from pipeline.planning.values import Cost, Duplicates, Sampled

_EXAMPLES = 3


class Figures(NamedTuple):
    """Of the records that are left: see `Plan` for what each means."""

    records: int
    bad: Mapping[str, int]
    bad_examples: Mapping[str, Sequence[str]]
    too_long: int
    requests: int
    tokens_input: int
    tokens_output: int
    charged: int
    """Tokens that the requests take from the limit of tokens."""
    cost: Cost | None
    batch_api: Cost | None
    duplicates: Duplicates | None = None
    sample: Sampled | None = None


class Examples:
    """The first records of each kind of dead letter, and how many there are."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.places: dict[str, list[str]] = {}

    def note(self, code: str, place: str) -> None:
        """Take note of a record at a place, such as `file:line`."""
        self.counts[code] += 1
        places = self.places.setdefault(code, [])
        if len(places) < _EXAMPLES and place not in places:
            places.append(place)
