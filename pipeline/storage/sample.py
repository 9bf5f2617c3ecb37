"""Draws lines from a plain file by the bytes that they hold, without reading the rest."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate
from typing import NamedTuple

from pipeline.core.parse import LINE_LIMIT, is_blank
from pipeline.core.survey import Draw, Stratum, strata
from pipeline.storage.source import BLOCK, Source

_BLOCK = 64 * 1024
"""Bytes of each stratum that are looked at: a thousand of them take less than a second from a cold disk."""


class Line(NamedTuple):
    """A line that was drawn."""

    start: int
    """Where it begins, in bytes."""
    size: int
    """Bytes, with its newline."""
    raw: bytes
    """Without its newline; of a line over the limit, one byte more than the limit."""


class Drawn(NamedTuple):
    """The lines of one stratum."""

    by_size: Line
    by_record: Line | None
    """None where no record begins in the block."""
    draw: Draw


class Sample:
    """A sample of the lines in some stretches of a file.

    Args:
        source: A plain file.
        stretches: (start, end) in bytes, each from the beginning of a line to the end of one.
        count: How many strata there are, of each of which two lines are drawn.
    """

    def __init__(self, source: Source, stretches: Sequence[tuple[int, int]], count: int) -> None:
        self._source = source
        self._stretches = stretches
        self._ends = list(accumulate(end - start for start, end in stretches))
        self._last = Line(0, 0, b"")
        self.size = self._ends[-1]
        """Bytes in all stretches."""
        self.strata = strata(self.size, count, _BLOCK)

    def draw(self, stratum: Stratum) -> Drawn:
        """Return the lines of a stratum, and what is counted in its block.

        Raises:
            StorageFailed: The file cannot be read.
        """
        start, end = self._place(stratum.start)
        end = min(end, start + stratum.end - stratum.start)
        at = min(end - 1, start + stratum.at - stratum.start)
        before = 1 if start else 0
        block = self._source.read_at(start - before, end - start + before)
        begun = _begun(block, start - before, whole=not before)
        by_size = self._line(start - before, block, at)
        by_record = self._line(start - before, block, begun[int(len(begun) * stratum.within)]) if begun else None
        return Drawn(by_size, by_record, Draw(by_size.size, len(begun), end - start))

    def _place(self, offset: int) -> tuple[int, int]:
        """Where the byte at an offset into all stretches stands in the file, and where its stretch ends."""
        number = bisect_right(self._ends, offset)
        end = self._stretches[number][1]
        return end - (self._ends[number] - offset), end

    def _line(self, block_start: int, block: bytes, at: int) -> Line:
        """The line that holds the byte at `at`; a giant is read once, though many strata lie in it."""
        if not 0 <= at - self._last.start < self._last.size:
            self._last = self._read_line(block_start, block, at)
        return self._last

    def _read_line(self, block_start: int, block: bytes, at: int) -> Line:
        start = self._line_start(block_start, block, at)
        newline = block.find(b"\n", at - block_start)
        if newline >= 0 and start >= block_start:
            return Line(start, block_start + newline + 1 - start, block[start - block_start : newline])
        end = block_start + newline + 1 if newline >= 0 else self._line_end(block_start + len(block))
        raw = self._source.read_at(start, min(end - start, LINE_LIMIT + 2))
        return Line(start, end - start, raw.removesuffix(b"\n")[: LINE_LIMIT + 1])

    def _line_start(self, block_start: int, block: bytes, at: int) -> int:
        newline = block.rfind(b"\n", 0, at - block_start)
        while newline < 0 < block_start:
            size = min(BLOCK, block_start)
            block_start -= size
            newline = self._source.read_at(block_start, size).rfind(b"\n")
        return block_start + newline + 1

    def _line_end(self, at: int) -> int:
        """Where the line ends that goes on at `at`: behind its newline, or at the end of the file."""
        while block := self._source.read_at(at, BLOCK):
            newline = block.find(b"\n")
            if newline >= 0:
                return at + newline + 1
            at += len(block)
        return at


def _begun(block: bytes, start: int, *, whole: bool) -> list[int]:
    """Where records begin in a block that starts with a line if it is `whole`, else with the end of one."""
    lines, found = block.split(b"\n"), []
    if block.endswith(b"\n"):
        lines.pop()  # what begins behind the block
    for number, line in enumerate(lines):
        if (number or whole) and not is_blank(line):
            found.append(start)
        start += len(line) + 1
    return found
