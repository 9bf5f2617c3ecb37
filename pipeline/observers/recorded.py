"""What `history.json` holds: the figures behind a report, of all runs of an output. Its size has a bound."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import orjson

from pipeline.core.failures import Failures
from pipeline.core.history import History
from pipeline.core.monthly import MonthlyCap
from pipeline.errors import StateMismatch
from pipeline.storage.entries import Kind, Spend
from pipeline.types import Json

MOST_BYTES = 512 * 1024
"""No history is larger, whatever ids, codes and models it was made of. A usual one has 20 KiB."""
MOST_SUMS = 30
OTHERS = "other models"
"""Servers name models as they like."""
_VERSION = 1
_MOST_SETTINGS, _MOST_CAPS = 100, 20
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
    rates: Sequence[int] | None
    """What a million tokens of each kind cost in nano-USD, in the order of `pricing.Rates`; None where unknown."""
    settings: Sequence[Setting]
    caps: Sequence[MonthlyCap] = ()
    """The monthly caps that hold for it."""
    cap_keys: Sequence[str] = ()
    """The keys of its endpoint's limits, of which a model's cap takes the most specific one."""


class Sum(NamedTuple):
    """What was spent on a model, by kind."""

    model: str
    kind: Kind
    requests: int
    input: int
    """Tokens; `cached` and `cache_write` are parts of it, `reasoning` of `output`."""
    cached: int
    cache_write: int
    output: int
    reasoning: int
    cost: int
    """Nano-USD."""

    @classmethod
    def of(cls, spend: Spend) -> Sum:
        usage = spend.usage
        tokens = (usage.input, usage.cached, usage.cache_write, usage.output, usage.reasoning)
        return cls(spend.key.model, spend.kind, spend.requests, *tokens, spend.cost)

    def plus(self, other: Sum) -> Sum:
        """Return this with the numbers of `other` added."""
        return Sum(self.model, self.kind, *(mine + theirs for mine, theirs in zip(self[2:], other[2:], strict=True)))


class Recorded(NamedTuple):
    """What was recorded of the runs of an output."""

    ledger: str
    about: About
    earlier: History
    """The runs before the last one."""
    last: History
    failures: Failures
    """The records that have no result, as things stand."""
    sums: Sequence[Sum]
    """What was spent by model and kind, over all runs."""

    @property
    def whole(self) -> History:
        """All runs."""
        whole = History()
        whole.add(self.earlier)
        whole.add(self.last)
        return whole

    def as_json(self) -> bytes:
        """Return what `read_history` reads."""
        return orjson.dumps(
            {
                "schema_version": _VERSION,
                "ledger": self.ledger,
                "about": _written(self.about),
                "earlier": self.earlier.as_dict(),
                "last": self.last.as_dict(),
                "failures": self.failures.as_list(),
                "sums": [tuple(each) for each in self.sums],
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


def sums(spends: Iterable[Spend]) -> list[Sum]:
    """Add up a rollup by model and kind, the largest first; what is beyond `MOST_SUMS` is added up by kind alone."""
    by_model: dict[tuple[str, Kind], Sum] = {}
    for spend in spends:
        _add(by_model, spend.key.model[:_LONGEST_NAME], Sum.of(spend))
    ranked = sorted(by_model.values(), key=lambda each: (-each.cost, each.model, each.kind))
    others: dict[tuple[str, Kind], Sum] = {}
    for rare in ranked[MOST_SUMS:]:
        _add(others, OTHERS, rare)
    return [*ranked[:MOST_SUMS], *others.values()]


def _add(sums: dict[tuple[str, Kind], Sum], model: str, more: Sum) -> None:
    before = sums.get((model, more.kind))
    sums[model, more.kind] = more._replace(model=model) if before is None else before.plus(more)


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST_VALUE else f"{text[:_LONGEST_VALUE]}…"


def _written(about: About) -> dict[str, Json]:
    settings = [
        (each.key[:_LONGEST_NAME], _cut(each.value), each.origin[-_LONGEST_NAME:])
        for each in about.settings[:_MOST_SETTINGS]
    ]
    return {
        **about._asdict(),
        "rates": list(about.rates or ()),
        "settings": settings,
        "caps": [_short(cap) for cap in about.caps[:_MOST_CAPS]],
        "cap_keys": [key[:_LONGEST_NAME] for key in about.cap_keys[:_MOST_CAPS]],
    }


def _short(cap: MonthlyCap) -> list[str | int | None]:
    return [value[:_LONGEST_NAME] if isinstance(value, str) else value for value in cap]


def _about(data: Json) -> About:
    about = About(**data)
    return about._replace(
        rates=about.rates or None,
        settings=[Setting(*map(str, setting)) for setting in about.settings],
        caps=[MonthlyCap(*cap) for cap in about.caps],
    )


def _recorded(data: Json) -> Recorded:
    if data["schema_version"] != _VERSION:
        raise ValueError("another version made it")
    return Recorded(
        ledger=str(data["ledger"]),
        about=_about(data["about"]),
        earlier=History.of(data["earlier"]),
        last=History.of(data["last"]),
        failures=Failures.of(data["failures"]),
        sums=[Sum(*each) for each in data["sums"]],
    )
