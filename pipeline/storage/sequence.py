"""The committed lines of a log in the order in which they are delivered, as soon as they can be."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Protocol

from pipeline.core.identity import line_identity
from pipeline.errors import StateMismatch
from pipeline.storage.offsets import Near, Offsets

_BLOCK = 1 << 18
_PASSED = (1 << 64) - 1


class Sequence(Protocol):
    """Lines in some order.

    Attributes:
        taken: Bytes of the log whose lines were handed out, or noted for later.
    """

    taken: int

    def pieces(self, goal: int) -> Iterator[bytes]:
        """Yield whole lines that may go on once the log is committed up to `goal`."""

    def rest(self, last_line: int) -> Iterator[bytes]:
        """Yield what is left where every record is settled and the input has `last_line` lines."""

    def pass_over(self, lines: Iterable[int]) -> None:
        """Lines of the input that will have no result. Any thread may say so."""

    def restart(self) -> None:
        """Begin again with the first line."""

    def close(self) -> None:
        """Let go of the log."""


class AsTheyCome:
    """The order of the log."""

    def __init__(self, log: Path) -> None:
        self.taken = 0
        self.log = os.open(log, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)

    def pieces(self, goal: int) -> Iterator[bytes]:
        while self.taken < goal:
            block = self._block(goal)
            yield block
            self.taken += len(block)

    def rest(self, last_line: int) -> Iterator[bytes]:  # noqa: ARG002 - nothing is ever held back
        return iter(())

    def pass_over(self, lines: Iterable[int]) -> None:
        """They are not in the log."""

    def restart(self) -> None:
        self.taken = 0

    def close(self) -> None:
        os.close(self.log)

    def _block(self, goal: int) -> bytes:
        """Return whole lines from `taken` on: a block, or one line that is longer."""
        size = _BLOCK
        while True:
            block = os.pread(self.log, min(size, goal - self.taken), self.taken)
            end = block.rfind(b"\n") + 1
            if end:
                return block[:end]
            if len(block) < size:
                raise StateMismatch("the output became shorter while it was delivered")
            size *= 4


class InOrder:
    """The order of the input: each line as soon as all before it went or will never come."""

    def __init__(self, log: Path, directory: Path) -> None:
        self.taken = 0
        self._blocks = AsTheyCome(log)
        self._near = Near(self._blocks.log)
        self._lock = threading.Lock()
        self._offsets = Offsets(directory)
        self._next = 1

    def pieces(self, goal: int) -> Iterator[bytes]:
        for block in self._blocks.pieces(goal):
            yield from self._sorted(self.taken, block)
            self.taken += len(block)
        yield from self._ready()

    def rest(self, last_line: int) -> Iterator[bytes]:
        while self._next <= last_line:
            yield from self._ready()
            self._next += 1

    def pass_over(self, lines: Iterable[int]) -> None:
        with self._lock:
            for line in lines:
                self._offsets[line] = _PASSED

    def restart(self) -> None:
        self.taken, self._next = 0, 1
        self._blocks.restart()

    def close(self) -> None:
        self._blocks.close()
        self._offsets.close()

    def _sorted(self, position: int, block: bytes) -> Iterator[bytes]:
        """Yield the lines of a block that are next, and note where the others are."""
        for line in block[:-1].split(b"\n"):
            identity = line_identity(line)
            if identity is None:
                raise StateMismatch(f"the line at byte {position} of the output is not an answer to this input")
            if identity.line == self._next:
                self._next += 1
                yield line + b"\n"
            else:
                with self._lock:
                    self._offsets[identity.line] = position + 1
            position += len(line) + 1

    def _ready(self) -> Iterator[bytes]:
        """Yield noted lines for as long as the next one is among them."""
        while True:
            with self._lock:
                noted = self._offsets[self._next]
            if not noted:
                return
            self._next += 1
            if noted != _PASSED:
                yield self._near.line(noted - 1)
