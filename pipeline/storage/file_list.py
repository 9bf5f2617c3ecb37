"""The list of the files of an input, on disk: which stretches were taken, in the order of the input."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from pipeline.errors import StateMismatch
from pipeline.storage.opening import Identity
from pipeline.storage.several import Measure, Stretch
from pipeline.storage.state import replace_durably
from pipeline.types import Json

_VERSION = 1


def read_list(path: Path) -> list[Stretch]:
    """Return the stretches that the list at `path` names; none where there is no list.

    Raises:
        StateMismatch: It cannot be read.
    """
    return [_stretch(row) for row in read_json(path).get("files", [])]


def write_list(path: Path, stretches: Sequence[Stretch], **more: Json) -> None:
    """Replace the list at `path`, durably.

    Raises:
        StorageFailed: The disk refused.
    """
    rows = [_row(stretch) for stretch in stretches]
    # Not orjson: a name need not be UTF-8, and such names go through json unharmed.
    content = json.dumps({"version": _VERSION, **more, "files": rows}, indent=0)
    replace_durably(path, content.encode() + b"\n")


def read_json(path: Path) -> dict[str, Json]:
    """Return what the list at `path` says besides; nothing where there is no list. Raises StateMismatch."""
    try:
        found: Json = json.loads(path.read_bytes())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise StateMismatch(f"{path} cannot be read: it is no list of files of pipeline; restore it") from error
    if not isinstance(found, dict) or found.get("version") != _VERSION:
        raise StateMismatch(f"{path} is no list of files that this version of pipeline knows")
    return dict(found)


def _row(stretch: Stretch) -> list[Json]:
    holds = (*stretch.holds[:2], stretch.holds.digest.hex(), stretch.holds.ended)
    return [stretch.name, stretch.start, stretch.stop, stretch.first_line, holds, stretch.seen]


def _stretch(row: Json) -> Stretch:
    try:
        name, start, stop, first_line, (lines, size, digest, ended), seen = row
        measure = Measure(lines, size, bytes.fromhex(digest), ended)
        return Stretch(name, start, stop, first_line, measure, Identity(*seen))
    except (TypeError, ValueError) as error:
        raise StateMismatch("the list of the input's files is damaged; restore it, or use --fresh") from error
