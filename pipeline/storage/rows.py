"""Rows of a program as an input file: `input.jsonl` in the state directory, so that a run of them can be resumed."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import orjson

from pipeline.errors import UsageError
from pipeline.storage.state import Places, make_private, storage_errors, sync_directory, write_all
from pipeline.types import Json

_BLOCK = 1 << 20


def write_rows(places: Places, rows: Iterable[Mapping[str, Json]]) -> Path:
    """Write `rows`, one a line, to the state directory and return the file. Takes them one by one.

    The same rows again leave the file as it is. One that is not a beginning of the new rows is kept beside it.

    Raises:
        UsageError: A row is no mapping, or holds what JSON has no word for.
        StorageFailed: The disk refused.
    """
    make_private(places.state)
    path, draft = places.rows, places.rows.with_name(f"{places.rows.name}.{os.getpid()}.tmp")
    try:
        _write(draft, rows)
        with storage_errors("cannot write", path):
            _replace(path, draft, places)
    finally:
        draft.unlink(missing_ok=True)
    sync_directory(places.state)
    return path


def _write(draft: Path, rows: Iterable[Mapping[str, Json]]) -> None:
    with storage_errors("cannot create", draft):
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        for block in _blocks(rows):
            with storage_errors("cannot write", draft):
                write_all(descriptor, block)
        with storage_errors("cannot sync", draft):
            os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _blocks(rows: Iterable[Mapping[str, Json]]) -> Iterator[bytes]:
    """The lines in blocks. Errors of the rows' own, such as those of a generator, pass as they are."""
    block = bytearray()
    for number, row in enumerate(rows, 1):
        block += _line(number, row)
        if len(block) >= _BLOCK:
            yield bytes(block)
            block.clear()
    yield bytes(block)


def _line(number: int, row: Mapping[str, Json]) -> bytes:
    if not isinstance(row, Mapping):
        raise UsageError(f"row {number} of the input must be a mapping, not {type(row).__name__}")
    try:
        return orjson.dumps(dict(row), option=orjson.OPT_APPEND_NEWLINE | orjson.OPT_SERIALIZE_NUMPY)
    except orjson.JSONEncodeError as error:
        # Its text names types and never values.
        raise UsageError(f"row {number} of the input cannot be written as JSON: {error}") from None


def _replace(path: Path, draft: Path, places: Places) -> None:
    if not os.path.lexists(path):
        draft.rename(path)
    elif not _begins_with(draft, path):
        shutil.move(path, places.aside(f"old-{path.name}"))
        draft.rename(path)
    elif draft.stat().st_size > path.stat().st_size:
        draft.replace(path)


def _begins_with(longer: Path, shorter: Path) -> bool:
    with longer.open("rb") as ours, shorter.open("rb") as theirs:
        while block := theirs.read(_BLOCK):
            if ours.read(len(block)) != block:
                return False
    return True
