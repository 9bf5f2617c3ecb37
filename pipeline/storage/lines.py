"""Blocks of bytes become pages of whole lines, with the progress of the chunk that they lie in. No I/O.

The ledger keeps its records by chunks of 8192 lines. Of each chunk it knows where it starts, so that a resumed run
seeks past what is done, and its digest, so that an edit is found.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from pipeline.core.parse import LINE_LIMIT, count_blank

CHUNK_LINES = 8192
ENDLESS = 1 << 30
"""A line of more bytes is taken for no JSON Lines at all (a device, a sparse file, a decompression bomb)."""


class DamagedError(ValueError):
    """The input cannot be read on; what was read before is good. The message says why, without the place."""


class Chunk(NamedTuple):
    """Progress of one chunk: bytes [start, end) of the uncompressed input hold its first `lines` lines."""

    number: int
    start: int
    end: int
    """Behind the last newline; where the input ends without one, it is counted all the same."""
    lines: int
    blank: int
    digest: bytes
    """BLAKE2b, 16 bytes, over these lines, each with a newline, so that it does not matter whether the last has one."""

    @property
    def first_line(self) -> int:
        return self.number * CHUNK_LINES + 1

    @property
    def last_line(self) -> int:
        """The last line read of it so far."""
        return self.number * CHUNK_LINES + self.lines


class Page(NamedTuple):
    """Successive lines of one chunk, and its progress at the end of the page."""

    first_line: int
    """Number of the first line, from 1."""
    lines: list[bytes]
    """Without their newlines. Of a line over the limit, the beginning: one byte more than the limit."""
    chunk: Chunk

    @property
    def last_line(self) -> int:
        return self.first_line + len(self.lines) - 1


class Lines:
    """Cuts blocks into pages.

    Args:
        number: The chunk that the first block begins with.
        start: Where that chunk starts in the input, in bytes.
        limit: The most bytes of a line; more are hashed and dropped.
        cuts: Lines after which a page must end.
    """

    def __init__(self, number: int = 0, start: int = 0, *, limit: int = LINE_LIMIT, cuts: Iterable[int] = ()) -> None:
        self._limit = limit
        self._cuts = frozenset(cuts)
        self._tail = b""
        self._dropped = 0
        self._open_chunk(number, start)

    @property
    def line(self) -> int:
        """Number of the last whole line."""
        return self._number * CHUNK_LINES + self._lines

    @property
    def tail(self) -> bytes:
        """What followed the last newline, up to one byte more than the limit."""
        return self._tail

    def feed(self, block: bytes) -> list[Page]:
        """Return the lines that `block` completes.

        Raises:
            DamagedError: A line has no end within 1 GiB.
        """
        pages: list[Page] = []
        if self._dropped:
            newline = block.find(b"\n")
            if newline < 0:
                self._drop(block)
                return pages
            self._drop(block[:newline])
            pages += self.close()
            block = block[newline + 1 :]
        data = self._tail + block
        lines = data.split(b"\n")
        self._tail = lines.pop()
        pages += self._pages(lines, memoryview(data))
        if len(self._tail) > self._limit:
            tail, self._tail = self._tail, self._tail[: self._limit + 1]
            self._drop(tail)
        return pages

    def close(self) -> list[Page]:
        """Return the last line, where no newline ended it."""
        if not self._dropped:
            self._hash.update(self._tail)
        tail, size = self._tail, self._dropped or len(self._tail)
        self._tail, self._dropped = b"", 0
        if not size:
            return []
        self._hash.update(b"\n")
        return [self._page([tail], size + 1)]

    def _drop(self, data: bytes) -> None:
        """Count and hash a part of a line over the limit, whose beginning is kept as the tail."""
        self._hash.update(data)
        self._dropped += len(data)
        if self._dropped > ENDLESS:
            raise DamagedError(f"line {self.line + 1} has no end within {ENDLESS >> 30} GiB: this is no JSON Lines")

    def _pages(self, lines: list[bytes], data: memoryview) -> Iterator[Page]:
        at = 0
        while at < len(lines):
            page = lines[at : at + self._room()]
            at += len(page)
            size = sum(map(len, page)) + len(page)
            self._hash.update(data[:size])
            data = data[size:]
            yield self._page(page, size)

    def _room(self) -> int:
        """How many lines the page may have that begins now."""
        ends = [cut for cut in self._cuts if cut > self.line]
        return min([*ends, (self._number + 1) * CHUNK_LINES]) - self.line

    def _page(self, lines: list[bytes], size: int) -> Page:
        """Account for `lines`, whose `size` bytes with newlines are hashed already."""
        first = self.line + 1
        self._blank += count_blank(lines, first)
        self._lines += len(lines)
        self._end += size
        if size > self._limit:
            lines = [line[: self._limit + 1] for line in lines]
        chunk = Chunk(self._number, self._start, self._end, self._lines, self._blank, self._hash.digest())
        if self._lines == CHUNK_LINES:
            self._open_chunk(self._number + 1, self._end)
        return Page(first, lines, chunk)

    def _open_chunk(self, number: int, start: int) -> None:
        self._number, self._start, self._end = number, start, start
        self._lines = self._blank = 0
        self._hash = hashlib.blake2b(digest_size=16)
