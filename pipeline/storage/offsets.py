"""Where in a log the answer to each input line starts: eight bytes a line in a file, and the lines there.

The file is unlinked as soon as it is open and its pages are handed back as we go, so that neither memory nor the
directory keeps anything of it.
"""

from __future__ import annotations

import mmap
import os
import struct
import tempfile
from pathlib import Path

from pipeline.errors import StateMismatch

_ENTRY = struct.Struct("<Q")
_GROWTH = 1 << 20
_NEAR = 1 << 15
"""Bytes that are read at once: a batch's answers lie together."""
_PAGES_BACK_EVERY = 1 << 12


class Offsets:
    """A number for every input line, 0 until it is set. One thread at a time.

    Args:
        directory: Where the file is for as long as this lives.
        lines: How many lines there will be, where that is known; it grows as needed.

    Raises:
        OSError: The disk is full, here or when it grows.
    """

    def __init__(self, directory: Path, lines: int = 0) -> None:
        self._file = tempfile.TemporaryFile(dir=directory)  # noqa: SIM115 - lives as long as this object
        self._size = max(1, lines) * _ENTRY.size
        self._touched = 0
        os.posix_fallocate(self._file.fileno(), 0, self._size)
        self._mapped = mmap.mmap(self._file.fileno(), self._size)

    def __getitem__(self, line: int) -> int:
        at = (line - 1) * _ENTRY.size
        if at >= self._size:
            return 0
        self._hand_back()
        return int(_ENTRY.unpack_from(self._mapped, at)[0])

    def __setitem__(self, line: int, number: int) -> None:
        at = (line - 1) * _ENTRY.size
        if at >= self._size:
            self._grow(at + _ENTRY.size)
        self._hand_back()
        _ENTRY.pack_into(self._mapped, at, number)

    def close(self) -> None:
        self._mapped.close()
        self._file.close()

    def _grow(self, needed: int) -> None:
        """Make room on the disk first: a mapped page for which there is none would kill the process."""
        size = -(-needed // _GROWTH) * _GROWTH
        os.posix_fallocate(self._file.fileno(), self._size, size - self._size)
        self._mapped.resize(size)
        self._size = size

    def _hand_back(self) -> None:
        """Let go of the pages that were touched; they stay in the system's cache, not in our memory."""
        self._touched += 1
        if self._touched % _PAGES_BACK_EVERY == 0:
            self._mapped.madvise(mmap.MADV_DONTNEED)


class Near:
    """Reads lines of a log by their position, and what is near them.

    The log is not mapped: it may be larger than the address space.
    """

    def __init__(self, log: int) -> None:
        self._log = log
        self._start, self._block = 0, b""

    def line(self, position: int) -> bytes:
        """Return the whole line at `position`.

        Raises:
            StateMismatch: The log ends before it does.
        """
        found = self._found(position)
        if found is None:
            self._start, self._block = position, self._read(position)
            found = self._found(position)
        return found or b""

    def _found(self, position: int) -> bytes | None:
        at = position - self._start
        end = self._block.find(b"\n", at) if at >= 0 else -1
        return None if end < 0 else self._block[at : end + 1]

    def _read(self, position: int) -> bytes:
        size = _NEAR
        while b"\n" not in (block := os.pread(self._log, size, position)):
            if len(block) < size:
                raise StateMismatch("the output became shorter while it was put in order")
            size *= 4
        return block
