"""Input order: one pass that writes the output's lines in the order of the input, in flat memory.

A file of offsets is filled in one sequential read and then followed.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from pipeline.core.identity import line_identity
from pipeline.errors import StateMismatch
from pipeline.storage.compression import Codec
from pipeline.storage.draft import new_draft
from pipeline.storage.offsets import Near, Offsets
from pipeline.storage.state import storage_errors

_BLOCK = 1 << 20


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
        closing(Offsets(target.parent, lines)) as offsets,
    ):
        _index(log.fileno(), offsets, lines, source)
        with new_draft(target, codec) as draft:
            for line in _ordered(log.fileno(), offsets, lines):
                draft.write(line)
    return draft.size


def _index(log: int, offsets: Offsets, lines: int, source: Path) -> None:
    """Store for every input line where its answer starts, plus one; 0 means that it has none."""
    position = 0
    for line in _lines(log):
        identity = line_identity(line)
        if identity is None or not 0 < identity.line <= lines:
            raise StateMismatch(f"{source}: the line at byte {position} is not an answer to this input")
        if offsets[identity.line]:
            raise StateMismatch(f"{source}: line {identity.line} of the input is answered twice")
        offsets[identity.line] = position + 1
        position += len(line)


def _ordered(log: int, offsets: Offsets, lines: int) -> Iterator[bytes]:
    near = Near(log)
    for number in range(1, lines + 1):
        position = offsets[number] - 1
        if position >= 0:
            yield near.line(position)


def _lines(log: int) -> Iterator[bytes]:
    position, rest = 0, b""
    while block := os.pread(log, _BLOCK, position):
        position += len(block)
        *lines, rest = (rest + block).split(b"\n")
        for line in lines:
            yield line + b"\n"
    if rest:
        raise StateMismatch("the output ends within a line")
