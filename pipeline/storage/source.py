"""Reads the lines of an input: a file, a gzip or Zstandard file, several of them, or standard input.

Lines end at b"\\n" and nowhere else. A regular file is read up to the size that it had when it was opened.
"""

from __future__ import annotations

import asyncio
import io
import os
from collections.abc import AsyncGenerator, Callable, Collection, Iterator, Sequence
from contextlib import aclosing, contextmanager
from types import TracebackType
from typing import TYPE_CHECKING, NamedTuple

from aiofiles.threadpool import wrap

from pipeline.core.parse import LINE_LIMIT, parse_line
from pipeline.errors import StorageFailed, UsageError
from pipeline.storage.compression import Inflated
from pipeline.storage.growing import whole_end
from pipeline.storage.lines import CHUNK_LINES, Chunk, DamagedError, Lines, Page
from pipeline.storage.opening import STDIN, Identity, Opened, Pipe, Window, check_compression, open_input, shown
from pipeline.storage.replay import Replay, changed_lines
from pipeline.storage.several import Files
from pipeline.types import BadLine

if TYPE_CHECKING:
    from aiofiles.threadpool.binary import AsyncBufferedReader

__all__ = ["CHUNK_LINES", "Chunk", "Identity", "Page", "Source", "changed_lines"]

BLOCK = 1024 * 1024
_NOT_OPEN = Opened(-1, None, None)
WRITER_WAIT = 5.0
"""Seconds that a named pipe may be without a writer."""


class _Span(NamedTuple):
    """A run of chunks that must be read: where it starts and stops in the input, and its first chunk."""

    start: int
    stop: int
    number: int


class Source:
    """The input of a run, opened and found readable; a context manager.

    Args:
        path: A file, or `-` for standard input. The suffixes .gz and .zst say that it is compressed.
        files: What the path stands for, where that is several files.
        line_limit: The most bytes of a line; a longer one is cut to one byte more, for `parse_line` to refuse.
        limit: Read that many lines only, blank ones counted; 1 or more.
        growing: Leave a last line that is not whole yet.

    Attributes:
        live: Whether it is a pipe: its lines may come at any time, and once only.

    Raises:
        UsageError: The path is missing, a directory, a device, unreadable …; nothing was read.
    """

    def __init__(
        self,
        path: str,
        files: Files | None = None,
        *,
        line_limit: int = LINE_LIMIT,
        limit: int | None = None,
        growing: bool = False,
    ) -> None:
        self.path = path
        self.files = files
        self._fd, self.identity, self._codec = open_input(path) if files is None else _NOT_OPEN
        self.live = files is None and self.identity is None
        self._pipe = Pipe(self._fd, owned=path != STDIN) if self.live else None
        self._open = files is None
        self._stop = self._size_now(growing=growing)
        self._line_limit = line_limit
        self._limit = limit

    @property
    def size(self) -> int | None:
        """Bytes of its lines, as they lie on the disk where it is one file; None where it is live."""
        return None if self.live else self._stop

    @property
    def mark(self) -> tuple[int | str, ...] | None:
        """Equal, without reading, where nobody can have changed the input; None where it is live."""
        if self.files is not None:
            return (self.files.mark,)
        return None if self.identity is None else tuple(self.identity)

    def label(self, line: int) -> str:
        """What names a line: its number, and of several files the file too."""
        return str(line) if self.files is None else self.files.label(line)

    def place(self, line: int) -> str:
        """Where a line is, for a message."""
        return f"{self.path}:{line}" if self.files is None else f"{self.files.folder / self.files.label(line)}"

    def __enter__(self) -> Source:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Close the input. A read that still waits for a pipe, cancelled or not, ends at once."""
        if self._pipe is not None:
            self._pipe.close()
        elif self._open:
            os.close(self._fd)
        self._open = False

    @property
    def plain_size(self) -> int | None:
        """Bytes of a plain file, which can be entered anywhere; None for a compressed one and for a pipe."""
        return self._stop if self.identity is not None and self._codec is None else None

    @property
    def line_bytes(self) -> int | None:
        """Bytes of all lines; None for a compressed file and for a pipe, of which only reading tells."""
        return self.files.size if self.files is not None else self.plain_size

    async def pages(
        self, known: Sequence[Chunk] = (), done: Callable[[int], bool] = lambda _: False
    ) -> AsyncGenerator[Page, None]:
        """Yield the lines of all chunks but those that are done, in order; every page lies within one chunk.

        A plain file is not even read where its chunks are done; other inputs are read and dropped there. A chunk that
        is not done comes again from its first line. A page's progress never falls behind `known`.

        Args:
            known: The chunks that earlier runs recorded, contiguous from 0; only the last may be partial.
            done: Whether every line of a chunk is settled; asked for chunks of 8192 lines only.

        Raises:
            UsageError: The data is damaged, or a pipe ended in the middle of a line; after all whole lines before it.
            StateMismatch: Standard input or a pipe brings other lines than the recorded ones, none of which is
                yielded before its chunk has been checked. Files are checked by `verify`.
            StorageFailed: The file cannot be read on.
        """
        skip = {chunk.number for chunk in known if chunk.lines == CHUNK_LINES and done(chunk.number)}
        replay = Replay(shown(self.path), known if self._pipe is not None else ())
        limit = self._limit
        for span in self._spans(known, skip):
            async with aclosing(self._read(span, known)) as pages:
                async for page in pages:
                    for checked in replay.admit(page):
                        if limit is not None and checked.first_line > limit:
                            return
                        if checked.chunk.number not in skip:
                            yield _not_behind(checked, known)
                    if limit is not None and page.last_line >= limit and not replay.holding:
                        return
        replay.finish()

    def left(self, known: Sequence[Chunk], done: Callable[[int], bool]) -> list[tuple[int, int]]:
        """Return the stretches of bytes (start, end) of a plain file that hold all that is not done, in order.

        The arguments are those of `pages`.
        """
        skip = {chunk.number for chunk in known if chunk.lines == CHUNK_LINES and done(chunk.number)}
        return [(span.start, span.stop) for span in self._spans(known, skip) if span.start < span.stop]

    def read_at(self, start: int, size: int) -> bytes:
        """Return up to `size` bytes of a plain file from `start` on; fewer where it ends.

        Raises:
            StorageFailed: It cannot be read.
        """
        try:
            return os.pread(self._fd, size, start)
        except OSError as error:
            raise StorageFailed(f"cannot read {shown(self.path)}: {error.strerror or error}") from error

    async def verify(self, known: Sequence[Chunk]) -> list[tuple[int, int]]:
        """Return the ranges (first line, last line) of chunks that no longer are what `known` recorded.

        An input that only grew returns []. So do pipes, which cannot be read twice: `pages` checks them; and so do
        several files, each of which `survey` has checked.
        """
        return changed_lines(known, await self.rescan(known))

    async def rescan(self, known: Sequence[Chunk]) -> list[Chunk]:
        """Return the chunks that stand in the input today, read to the same numbers of lines as `known`.

        They replace the recorded ones where a user accepts an edited input: the old starts no longer hold.
        """
        if self._pipe is not None or self.files is not None or not known:
            return list(known)
        return await asyncio.to_thread(self._rescan, known)

    def _rescan(self, known: Sequence[Chunk]) -> list[Chunk]:
        found: dict[int, Chunk] = {}
        last = known[-1].last_line
        lines = Lines(limit=self._line_limit, cuts=[last])
        stream = self._stream(_Span(0, self._stop, 0))
        ended = False
        while not ended and lines.line < last:
            with self._translated(lines):
                block = stream.read1(BLOCK)
                pages = lines.feed(block) if block else lines.close()
            ended = not block
            found.update({page.chunk.number: page.chunk for page in pages if page.last_line <= last})
        return list(found.values())

    @property
    def _seekable(self) -> bool:
        return self.files.seekable if self.files is not None else self._pipe is None and self._codec is None

    def _size_now(self, *, growing: bool) -> int:
        if self.files is not None:
            return self.files.size
        if self.identity is None:
            return 0
        size = self.identity.size
        return whole_end(self._fd, 0, size) if growing and self._codec is None else size

    def _spans(self, known: Sequence[Chunk], skip: Collection[int]) -> Iterator[_Span]:
        """Yield what must be read; only plain files can be entered anywhere but at the beginning."""
        start = number = 0
        if self._seekable:
            for chunk in known:
                if chunk.number in skip:
                    if start < chunk.start:
                        yield _Span(start, chunk.start, number)
                    start, number = chunk.end, chunk.number + 1
        yield _Span(start, self._stop, number)

    def _stream(self, span: _Span) -> io.BufferedReader:
        if self.files is not None:
            return self.files.stream(span.start, span.stop)
        raw = self._pipe or Window(self._fd, span.start, span.stop)
        if self._codec is None:
            return io.BufferedReader(raw)
        return io.BufferedReader(Inflated(io.BufferedReader(raw, BLOCK), self._codec))

    async def _read(self, span: _Span, known: Sequence[Chunk]) -> AsyncGenerator[Page, None]:
        cuts = {chunk.last_line for chunk in known[-1:]} | ({self._limit} if self._limit is not None else set())
        lines = Lines(span.number, span.start, limit=self._line_limit, cuts=cuts)
        async with aclosing(self._blocks(span, lines)) as blocks:
            async for block in blocks:
                with self._translated(lines):
                    pages = lines.feed(block)
                for page in pages:
                    yield page
        self._refuse_torn(lines)
        for page in lines.close():
            yield page

    async def _blocks(self, span: _Span, lines: Lines) -> AsyncGenerator[bytes, None]:
        stream: AsyncBufferedReader = wrap(self._stream(span))
        if self._pipe is not None and self.path != STDIN:
            await self._await_writer(self._pipe)
        block = await self._block(stream, lines)
        if self._pipe is not None and self._codec is None:
            check_compression(self.path, None, block[:4])
        while block:
            yield block
            block = await self._block(stream, lines)

    async def _block(self, stream: AsyncBufferedReader, lines: Lines) -> bytes:
        with self._translated(lines):
            return await stream.read1(BLOCK)

    async def _await_writer(self, pipe: Pipe) -> None:
        if not await asyncio.to_thread(pipe.await_writer, WRITER_WAIT):
            raise UsageError(f"no process writes to the pipe {shown(self.path)}: waited {WRITER_WAIT:g} s")

    @contextmanager
    def _translated(self, lines: Lines) -> Iterator[None]:
        try:
            yield
        except DamagedError as error:
            raise UsageError(f"{shown(self.path)}: {error}; its lines are good up to {lines.line:,}") from error
        except OSError as error:
            raise StorageFailed(f"cannot read {shown(self.path)}: {error.strerror or error}") from error

    def _refuse_torn(self, lines: Lines) -> None:
        """A pipe that was cut ends in the middle of a line; a last line that parses needs no newline."""
        if self._pipe is None or not lines.tail:
            return
        if isinstance(parse_line(lines.line + 1, lines.tail, limit=self._line_limit), BadLine):
            raise UsageError(f"{shown(self.path)} ended in the middle of line {lines.line + 1:,}")


def _not_behind(page: Page, known: Sequence[Chunk]) -> Page:
    number = page.chunk.number
    if number < len(known) and page.chunk.lines < known[number].lines:
        return page._replace(chunk=known[number])
    return page
