"""A file that somebody is writing: its last line may not be whole yet."""

from __future__ import annotations

import os

from pipeline.core.parse import LINE_LIMIT, parse_line
from pipeline.types import BadLine

_NEAR = 1 << 16


def whole_end(fd: int, start: int, stop: int) -> int:
    """Return where the last whole line ends in bytes [start, stop) of a plain file.

    What follows the last newline is whole where it is a record: no record is the beginning of a longer one.
    """
    tail = _tail(fd, start, stop)
    return stop - len(tail) if isinstance(parse_line(1, tail), BadLine) else stop


def _tail(fd: int, start: int, stop: int) -> bytes:
    """What follows the last newline; nothing where that is more than a line may have."""
    for most in (_NEAR, LINE_LIMIT + 1):
        size = min(most, stop - start)
        data = os.pread(fd, size, stop - size)
        newline = data.rfind(b"\n")
        if newline >= 0 or size == stop - start:
            return data[newline + 1 :]
    return b""
