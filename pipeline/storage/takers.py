"""Whoever takes results as they become durable, and by that sets the pace of a run."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from pipeline.storage.ledger import Ledger
from pipeline.types import DeadLetter


class Taker(Protocol):
    """Takes results. The run goes no faster than it does.

    Attributes:
        room: Set unless it is behind.
    """

    room: asyncio.Event

    def committed(self, size: int, dead: Sequence[DeadLetter]) -> None:
        """As `pipeline.storage.commit.Committed`."""


class Follower(Taker, Protocol):
    """Takes dead letters too."""

    def opened(self, output: Path, ledger: Ledger) -> None:
        """What earlier runs left is in `output`, up to where it is committed, and in the ledger's dead letters."""
