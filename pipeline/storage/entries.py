"""What the ledger is told, and what it tells."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

from pipeline.storage.lines import Chunk
from pipeline.types import DeadLetter, Json, Result, Usage

Kind = Literal["ok", "retried", "unknown"]
"""Spend on answers, on answers to records that may have been paid for before, and on attempts of unknown outcome."""


class Reserve(NamedTuple):
    """An intent to send: durable before the request is."""

    attempt: int
    lines: tuple[int, ...]
    amount: int
    """Nano-USD that the attempt can cost at the most."""
    model: str
    at: float
    """When, in seconds since the epoch. What the attempt costs is booked on that day."""


class Settle(NamedTuple):
    """An attempt was answered: its cost, and what became of its records."""

    attempt: int
    cost: int
    usage: Usage
    model: str
    """The one that answered."""
    results: Sequence[Result]
    dead: Sequence[DeadLetter]


class Release(NamedTuple):
    """An attempt brought no answer."""

    attempt: int
    billed: bool
    """It may have been billed: its reservation becomes unknown spend."""
    ambiguous: bool
    """It counts against the number of ambiguous sends of its records."""


class Bury(NamedTuple):
    """Records given up on without a further attempt."""

    dead: Sequence[DeadLetter]


class Read(NamedTuple):
    """How far the input has been read."""

    chunks: Sequence[Chunk]


class Remember(NamedTuple):
    """Something that later runs must know, as a value of the ledger's meta."""

    key: str
    value: Json


Entry = Settle | Release | Bury | Read | Remember


class Inflight(NamedTuple):
    """An attempt that may be on the wire."""

    lines: tuple[int, ...]
    reserve: int
    model: str
    """The one that was asked for."""
    day: str
    """When it was reserved, in UTC, as `2026-11-21`."""


class SpendKey(NamedTuple):
    """What a row of the rollup is the sum of."""

    run: int
    """0 for what was spent before runs were told apart, or before a repair."""
    day: str
    asked: str
    """The model in the requests."""
    model: str
    """The model that answered; the one asked for where nothing did."""
    kind: Kind


class Spend(NamedTuple):
    """One row of the rollup."""

    key: SpendKey
    requests: int
    usage: Usage
    cost: int

    @property
    def kind(self) -> Kind:
        return self.key.kind
