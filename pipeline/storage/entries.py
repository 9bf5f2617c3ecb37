"""What the ledger is told, and what it tells."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

from pipeline.storage.lines import Chunk
from pipeline.types import DeadLetter, Result, Usage

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


class Settle(NamedTuple):
    """An attempt was answered: its cost, and what became of its records."""

    attempt: int
    cost: int
    usage: Usage
    model: str
    day: str
    results: Sequence[Result]
    dead: Sequence[DeadLetter]


class Release(NamedTuple):
    """An attempt brought no answer."""

    attempt: int
    day: str
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


Entry = Settle | Release | Bury | Read


class Inflight(NamedTuple):
    """An attempt that may be on the wire."""

    lines: tuple[int, ...]
    reserve: int
    model: str


class Spend(NamedTuple):
    """One row of the rollup: what was spent on a model on a day, by kind (`ok`, `retried`, `unknown`)."""

    model: str
    day: str
    kind: Kind
    requests: int
    usage: Usage
    cost: int
