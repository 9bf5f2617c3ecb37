"""The records of an input by the number of their line, read again from the file when somebody asks for one."""

from __future__ import annotations

import os
from array import array
from collections.abc import Mapping
from pathlib import Path

from pipeline.core.parse import parse_line
from pipeline.errors import UsageError
from pipeline.storage.compression import codec_of
from pipeline.storage.lines import CHUNK_LINES
from pipeline.storage.opening import STDIN, shown
from pipeline.storage.several import is_several
from pipeline.types import Json, Record

_BLOCK = 1 << 20
_KEPT = 4
"""Chunks whose line ends are kept: answers come nearly in the order of the input."""


class Records:
    """Finds the record of a line. Keeps where lines end, never what they say.

    Args:
        path: The input; it is opened only when a record is asked for.
        id_field: The field that names a record.
    """

    def __init__(self, path: str, id_field: str | None) -> None:
        self._path = path
        self._id_field = id_field
        self._starts = [0]
        self._ends: dict[int, array[int]] = {}

    def find(self, line: int, custom_id: str) -> Mapping[str, Json]:
        """Return the record at `line`, from 1.

        Raises:
            UsageError: The input is no single plain file, or `custom_id` is not at that line any more.
        """
        if self._path == STDIN or codec_of(self._path) is not None or is_several(self._path):
            raise UsageError(
                f"records of {shown(self._path)} cannot be looked up, as it is no plain file: "
                "name the fields that you need in output.keep"
            )
        try:
            record = parse_line(line, self._read(line), self._id_field)
        except OSError as error:
            raise UsageError(f"cannot read {shown(self._path)} again: {error.strerror}") from error
        if not isinstance(record, Record) or record.custom_id != custom_id:
            raise UsageError(f"{self._path}:{line} is not {custom_id!r} any more: the input was changed")
        return record.data

    def _read(self, line: int) -> bytes:
        number, index = divmod(line - 1, CHUNK_LINES)
        while len(self._starts) <= number:
            self._scan(len(self._starts) - 1)
        ends = self._ends.get(number) or self._scan(number)
        if index >= len(ends):
            return b""
        start = ends[index - 1] + 1 if index else self._starts[number]
        with Path(self._path).open("rb", buffering=0) as file:
            return os.pread(file.fileno(), ends[index] - start, start)

    def _scan(self, number: int) -> array[int]:
        """Find the line ends of a chunk, and with them where the next one starts."""
        ends = array("Q")
        position = self._starts[number]
        with Path(self._path).open("rb", buffering=0) as file:
            file.seek(position)
            while len(ends) < CHUNK_LINES and (block := file.read(_BLOCK)):
                _add_ends(ends, block, position)
                position += len(block)
        if len(ends) < CHUNK_LINES and (not ends or ends[-1] + 1 < position):
            ends.append(position)  # the last line needs no newline
        if len(self._starts) == number + 1:
            self._starts.append(ends[-1] + 1)
        if len(self._ends) >= _KEPT:
            del self._ends[next(iter(self._ends))]
        self._ends[number] = ends
        return ends


def _add_ends(ends: array[int], block: bytes, position: int) -> None:
    at = block.find(b"\n")
    while at >= 0 and len(ends) < CHUNK_LINES:
        ends.append(position + at)
        at = block.find(b"\n", at + 1)
