"""Input order: one pass that writes the output's lines in the order of the input, in flat memory.

A file of offsets, eight bytes an input line, is filled in one sequential read and then followed. It is unlinked as soon
as it is open and its pages are handed back as we go, so that neither memory nor the directory keeps anything of it.
"""

from __future__ import annotations

import mmap
import os
import struct
import tempfile
from collections.abc import Iterator
from pathlib import Path

from pipeline.core.identity import line_identity
from pipeline.errors import StateMismatch
from pipeline.storage.compression import Codec
from pipeline.storage.draft import new_draft
from pipeline.storage.state import storage_errors

_ENTRY = struct.Struct("<Q")
_BLOCK = 1 << 20
_NEAR = 1 << 15
"""Bytes that are read at once: a batch's answers lie together."""
_PAGES_BACK_EVERY = 1 << 12


def write_in_order(source: Path, target: Path, lines: int, codec: Codec | None = None) -> int:
    """Write the lines of `source` to `target`, sorted by input line, and make it durable.

    Args:
        source: An output log of whole lines.
        target: The file to write (0600); replaced where a dead run left one.
        lines: How many lines the input has.
        codec: How it is compressed.

    Returns:
        How many bytes the lines have, before compression.

    Raises:
        StateMismatch: A line is not ours, or two answer the same input line.
        StorageFailed: The disk refused.
    """
    with (
        storage_errors("cannot put in order", target),
        source.open("rb") as log,
        _offsets(target.parent, lines) as offsets,
    ):
        _index(log.fileno(), offsets, source)
        with new_draft(target, codec) as draft:
            for line in _ordered(log.fileno(), offsets, lines):
                draft.write(line)
    return draft.size


def _offsets(directory: Path, lines: int) -> mmap.mmap:
    with tempfile.TemporaryFile(dir=directory) as file:
        file.truncate(max(1, lines) * _ENTRY.size)
        return mmap.mmap(file.fileno(), 0)


def _index(log: int, offsets: mmap.mmap, source: Path) -> None:
    """Store for every input line where its answer starts, plus one; 0 means that it has none."""
    position = 0
    for count, line in enumerate(_lines(log)):
        identity = line_identity(line)
        at = -1 if identity is None else (identity.line - 1) * _ENTRY.size
        if identity is None or not 0 <= at < len(offsets):
            raise StateMismatch(f"{source}: the line at byte {position} is not an answer to this input")
        if _ENTRY.unpack_from(offsets, at)[0]:
            raise StateMismatch(f"{source}: line {identity.line} of the input is answered twice")
        _ENTRY.pack_into(offsets, at, position + 1)
        position += len(line)
        _hand_back(offsets, count)


def _ordered(log: int, offsets: mmap.mmap, lines: int) -> Iterator[bytes]:
    start, block = 0, b""
    for number in range(lines):
        position = _ENTRY.unpack_from(offsets, number * _ENTRY.size)[0] - 1
        _hand_back(offsets, number)
        if position < 0:
            continue
        end = block.find(b"\n", position - start) if position >= start else -1
        if end < 0:
            start, block = position, _read_line(log, position)
            end = block.index(b"\n")
        yield block[position - start : end + 1]


def _read_line(log: int, position: int) -> bytes:
    """Return the line at `position` and what is near it. Not mapped: an output may be larger than the address space."""
    size = _NEAR
    while b"\n" not in (block := os.pread(log, size, position)):
        if len(block) < size:
            raise StateMismatch("the output became shorter while it was put in order")
        size *= 4
    return block


def _lines(log: int) -> Iterator[bytes]:
    position, rest = 0, b""
    while block := os.pread(log, _BLOCK, position):
        position += len(block)
        *lines, rest = (rest + block).split(b"\n")
        for line in lines:
            yield line + b"\n"
    if rest:
        raise StateMismatch("the output ends within a line")


def _hand_back(mapped: mmap.mmap, count: int) -> None:
    """Let go of the pages that were touched; they stay in the system's cache, not in our memory."""
    if count % _PAGES_BACK_EVERY == _PAGES_BACK_EVERY - 1:
        mapped.madvise(mmap.MADV_DONTNEED)
