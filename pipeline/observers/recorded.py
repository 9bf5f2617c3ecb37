"""What `history.json` holds: the figures behind a report, of all runs of an output. Its size has a bound."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import orjson

from pipeline.core.failures import Failures
from pipeline.core.history import History
from pipeline.errors import StateMismatch
from pipeline.storage.entries import Spend
from pipeline.types import Json, Usage

MOST_BYTES = 512 * 1024
"""No history is larger, whatever ids, codes and models it was made of. A usual one has 20 KiB."""
MOST_SPENDS = 60
_VERSION = 1
_MOST_SETTINGS = 100
_LONGEST_NAME = 120
_LONGEST_VALUE = 200


class Setting(NamedTuple):
    """A value of the config: its key, the value as JSON (of a secret only the reference), and where it came from."""

    key: str
    value: str
    origin: str


class About(NamedTuple):
    """What a run is held to."""

    model: str
    endpoint: str
    rpm: int | None
    tpm: int | None
    concurrency: int
    max_items: int
    """The most records in one request."""
    settings: Sequence[Setting]


class Recorded(NamedTuple):
    """What was recorded of the runs of an output."""

    ledger: str
    about: About
    earlier: History
    """The runs before the last one."""
    last: History
    failures: Failures
    """The records that have no result, as things stand."""
    spends: Sequence[Spend]
    """What was spent by model, day and kind; the smallest of many are added up under an empty model."""

    @property
    def whole(self) -> History:
        """All runs."""
        whole = History()
        whole.add(self.earlier)
        whole.add(self.last)
        return whole

    def as_json(self) -> bytes:
        """Return what `read_history` reads."""
        settings = [
            (each.key[:_LONGEST_NAME], _cut(each.value), each.origin[-_LONGEST_NAME:])
            for each in self.about.settings[:_MOST_SETTINGS]
        ]
        return orjson.dumps(
            {
                "schema_version": _VERSION,
                "ledger": self.ledger,
                "about": {**self.about._asdict(), "settings": settings},
                "earlier": self.earlier.as_dict(),
                "last": self.last.as_dict(),
                "failures": self.failures.as_list(),
                "spends": [{**each._asdict(), "usage": list(each.usage)} for each in most_spends(self.spends)],
            }
        )


def read_history(path: Path) -> Recorded | None:
    """Return what was recorded; None where nothing was, yet.

    Raises:
        StateMismatch: The file is none of ours, or damaged.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise StateMismatch(f"{path} cannot be read: {error.strerror or error}") from error
    try:
        return _recorded(orjson.loads(content))
    except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
        raise StateMismatch(f"{path} is damaged; the next run begins it anew") from error


def most_spends(spends: Sequence[Spend]) -> list[Spend]:
    """Return the largest sums; the others are added up by kind. Servers name models as they like."""
    ranked = sorted(spends, key=lambda spend: (-spend.cost, spend.model, spend.day))
    kept = [spend._replace(model=spend.model[:_LONGEST_NAME]) for spend in ranked[:MOST_SPENDS]]
    rest: dict[str, Spend] = {}
    for spend in ranked[MOST_SPENDS:]:
        before = rest.get(spend.kind) or Spend("", spend.day, spend.kind, 0, Usage(), 0)
        rest[spend.kind] = before._replace(
            requests=before.requests + spend.requests,
            usage=_sum(before.usage, spend.usage),
            cost=before.cost + spend.cost,
        )
    return [*kept, *rest.values()]


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST_VALUE else f"{text[:_LONGEST_VALUE]}…"


def _sum(one: Usage, other: Usage) -> Usage:
    return Usage(
        one.input + other.input,
        one.output + other.output,
        one.cached + other.cached,
        one.cache_write + other.cache_write,
        one.reasoning + other.reasoning,
    )


def _recorded(data: Json) -> Recorded:
    if data["schema_version"] != _VERSION:
        raise ValueError("another version made it")
    about = About(**data["about"])
    return Recorded(
        ledger=str(data["ledger"]),
        about=about._replace(settings=[Setting(*map(str, setting)) for setting in about.settings]),
        earlier=History.of(data["earlier"]),
        last=History.of(data["last"]),
        failures=Failures.of(data["failures"]),
        spends=[Spend(**{**each, "usage": Usage(*each["usage"])}) for each in data["spends"]],
    )
