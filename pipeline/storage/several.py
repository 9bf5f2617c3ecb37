"""Several files as one input: their lines follow each other in the order in which they were first seen.

What was seen is never moved: each stretch of whole lines that was once taken into the input keeps its place; a new file
goes behind everything, and so does what an old one has grown by. Line numbers, and with them all that the ledger knows
by line number, therefore mean the same for ever. The list of the stretches is on disk before any line of them is sent.
"""

from __future__ import annotations

import bisect
import fnmatch
import glob
import hashlib
import io
import os
from collections.abc import Iterator, Sequence
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from pipeline.core.parse import BOM
from pipeline.storage.compression import Codec, Inflated, codec_of
from pipeline.storage.lines import ENDLESS, DamagedError
from pipeline.storage.opening import Identity, Window, open_input, shown

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

_BLOCK = 1 << 20
_WILD = frozenset("*?[")


class Measure(NamedTuple):
    """What a stretch of a file holds once it is decompressed, each line with a newline."""

    lines: int
    size: int
    digest: bytes
    ended: bool
    """Whether the last line has a newline of its own."""


class Stretch(NamedTuple):
    """Whole lines of one file, as they were taken into the input."""

    name: str
    """The file, below the folder that all of them are in."""
    start: int
    """Bytes [start, stop) of the file as it lies on the disk."""
    stop: int
    first_line: int
    """The number of its first line in its file, from 1."""
    holds: Measure
    seen: Identity
    """What the file was when all this was last found to be true."""

    @property
    def shown(self) -> str:
        """The name as text, whatever bytes it has."""
        return os.fsencode(self.name).decode("utf-8", "backslashreplace")

    @property
    def next_line(self) -> int:
        """The number in its file of the line behind it."""
        return self.first_line + self.holds.lines


class Pattern(NamedTuple):
    """A path with wildcards: the folder before the first of them, and the rest."""

    folder: Path
    rest: str

    @classmethod
    def of(cls, path: str) -> Pattern:
        parts = path.split("/")
        still = next(number for number, part in enumerate(parts) if not _WILD.isdisjoint(part))
        return cls(Path("/".join(parts[:still]) + "/" if still else "."), "/".join(parts[still:]))

    def names(self) -> list[str]:
        """The files that there are today, in the order of their names."""
        # Unlike Path.glob it leaves hidden files out, which are drafts of whoever writes there.
        return sorted(glob.glob(self.rest, root_dir=self.folder, recursive=True))  # noqa: PTH207

    def covers(self, path: Path) -> bool:
        """Whether a file at `path` is, or would be, one of them."""
        folder, whole = self.folder.resolve(), path.parent.resolve() / path.name
        return whole.is_relative_to(folder) and _matches(self.rest.split("/"), whole.relative_to(folder).parts)


def is_several(path: str) -> bool:
    """Whether a path stands for several files: it has wildcards, and no file has that very name."""
    return not _WILD.isdisjoint(path) and not Path(path).exists()


class Files:
    """The files of an input, by the stretches that were taken of them; each is opened when it is read.

    Args:
        folder: What all of them are in.
        stretches: In the order of the input.
        known: Those of them that had been taken before, as they were listed.
    """

    def __init__(self, folder: Path, stretches: Sequence[Stretch], known: Sequence[Stretch] = ()) -> None:
        self.folder = folder
        self.known = list(known)
        self.stretches = tuple(stretches)
        self._ends = list(accumulate(stretch.holds.lines for stretch in stretches))
        self.size = sum(stretch.holds.size for stretch in stretches)
        self.seekable = all(codec_of(stretch.name) is None for stretch in stretches)

    @property
    def mark(self) -> str:
        """Equal for equal input."""
        return hashlib.blake2b(b"".join(stretch.holds.digest for stretch in self.stretches), digest_size=16).hexdigest()

    def locate(self, line: int) -> tuple[str, int]:
        """Return the file, below the folder, and the number there of a line of the input."""
        at = bisect.bisect_left(self._ends, line)
        stretch = self.stretches[at]
        return stretch.shown, stretch.next_line - (self._ends[at] - line) - 1

    def line_of(self, name: str, number: int) -> int:
        """Return which line of the input a line of a file is; 0 where it is none."""
        for end, stretch in zip(self._ends, self.stretches, strict=True):
            if stretch.shown == name and stretch.first_line <= number < stretch.next_line:
                return end - (stretch.next_line - number) + 1
        return 0

    def label(self, line: int) -> str:
        """What names a line of the input: its file and its number there."""
        name, number = self.locate(line)
        return f"{name}:{number}"

    def stream(self, start: int, stop: int) -> io.BufferedReader:
        """Return bytes [start, stop) of all lines; from 0 only, unless `seekable`."""
        return io.BufferedReader(_Blocks(self._blocks(start, stop)), _BLOCK)

    def _blocks(self, start: int, stop: int) -> Iterator[bytes]:
        begin = 0
        for stretch in self.stretches:
            end = begin + stretch.holds.size
            at = max(start, begin)
            if at < min(end, stop):
                for block in _blocks_of(self.folder, stretch, at - begin):
                    yield block[: stop - at]
                    at += len(block)
                    if at >= stop:
                        return
            begin = end


def measure(fd: int, codec: Codec | None, start: int, stop: int) -> Measure:
    """Read a stretch of an open file.

    Raises:
        DamagedError: It cannot be decompressed, or is no JSON Lines at all.
    """
    digest = hashlib.blake2b(digest_size=16)
    lines = size = open_bytes = 0
    stream = _decoded(fd, codec, start, stop)
    while block := stream.read1(_BLOCK):
        digest.update(block)
        lines += block.count(b"\n")
        size += len(block)
        open_bytes = len(block) - newline - 1 if (newline := block.rfind(b"\n")) >= 0 else open_bytes + len(block)
        if open_bytes > ENDLESS:
            raise DamagedError(f"line {lines + 1} has no end within {ENDLESS >> 30} GiB: this is no JSON Lines")
    if open_bytes:
        digest.update(b"\n")
    return Measure(lines + bool(open_bytes), size + bool(open_bytes), digest.digest(), not open_bytes)


def _decoded(fd: int, codec: Codec | None, start: int, stop: int) -> io.BufferedReader:
    window: io.BufferedReader = io.BufferedReader(Window(fd, start, stop), _BLOCK)
    if codec is None:
        return window
    stream: io.BufferedReader = io.BufferedReader(Inflated(window, codec), _BLOCK)
    if start == 0 and stream.peek(len(BOM)).startswith(BOM):
        stream.read(len(BOM))
    return stream


def _blocks_of(folder: Path, stretch: Stretch, skipped: int) -> Iterator[bytes]:
    """Yield the lines of a stretch, the last one with a newline, without its first `skipped` bytes (a plain file's)."""
    fd, identity, codec = open_input(str(folder / stretch.name))
    try:
        if identity is None or (identity.device, identity.inode) != (stretch.seen.device, stretch.seen.inode):
            raise DamagedError(f"{shown(stretch.name)} was replaced while the input was read")
        stream = _decoded(fd, codec, stretch.start + skipped, stretch.stop)
        while block := stream.read1(_BLOCK):
            yield block
        if not stretch.holds.ended:
            yield b"\n"
    finally:
        os.close(fd)


class _Blocks(io.RawIOBase):
    """Blocks of bytes as a stream."""

    def __init__(self, blocks: Iterator[bytes]) -> None:
        self._blocks = blocks
        self._rest = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        view = memoryview(buffer).cast("B")
        if not self._rest:
            self._rest = memoryview(next(self._blocks, b""))
        part, self._rest = self._rest[: len(view)], self._rest[len(view) :]
        view[: len(part)] = part
        return len(part)


def _matches(pattern: Sequence[str], parts: Sequence[str]) -> bool:
    if not pattern:
        return not parts
    if pattern[0] == "**":
        return any(_matches(pattern[1:], parts[at:]) for at in range(len(parts) + 1))
    return bool(parts) and fnmatch.fnmatchcase(parts[0], pattern[0]) and _matches(pattern[1:], parts[1:])
