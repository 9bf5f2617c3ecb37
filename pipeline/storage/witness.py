"""How far a ledger has come, by a witness beside it: a ledger that is behind its witness has lost commits.

SQLite takes a damaged end of its WAL for a commit that was never finished and drops it without a word; what was in
flight by that commit would be forgotten. The witness is written when a commit is durable and is never synced itself: it
may lag behind, but it is never ahead.
"""

from __future__ import annotations

import os
from pathlib import Path

from pipeline.storage.state import storage_errors

_LENGTH = 29
"""The ledger's name of eight letters, a space, and a number of twenty digits."""


def witness_path(ledger: Path) -> Path:
    """Where the witness of the ledger at `ledger` lies."""
    return ledger.with_name("witness")


class Witness:
    """The file at `path`, for the ledger of a name. It belongs to the thread that owns the ledger."""

    def __init__(self, path: Path, name: str) -> None:
        self.path = path
        self._name = name
        self._descriptor: int | None = None
        self._noted = 0

    def next_attempt(self) -> int:
        """The number of the next attempt as last noted; 0 where the file is missing, torn or another ledger's."""
        try:
            name, _, number = self.path.read_bytes()[:_LENGTH].partition(b" ")
        except OSError:
            return 0
        return int(number) if name == self._name.encode() and len(number) == 20 and number.isdigit() else 0

    def note(self, next_attempt: int) -> None:
        """Note that a commit with this number is durable.

        Raises:
            StorageFailed: The disk refused.
        """
        if next_attempt == self._noted:
            return
        with storage_errors("cannot write", self.path):
            if self._descriptor is None:
                flags = os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
                self._descriptor = os.open(self.path, flags, 0o600)
            os.pwrite(self._descriptor, f"{self._name} {next_attempt:020}".encode(), 0)
        self._noted = next_attempt

    def close(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
