"""The end of an output: dead letters beside it, lines in order, compressed, and the rename that makes it final.

What the rename is about to do is recorded first (`finish` in the ledger), so that a run that dies around it is
finished, not repeated. The final name never shows a part of a file.
"""

from __future__ import annotations

import ctypes
import errno
import os
import shutil
from pathlib import Path
from typing import Literal

import orjson
import zstandard

from pipeline.core.identity import line_identity
from pipeline.errors import StateMismatch, StorageFailed, UsageError
from pipeline.storage.compression import Codec, codec_of, inflated
from pipeline.storage.draft import new_draft
from pipeline.storage.ledger import Ledger
from pipeline.storage.lines import DamagedError
from pipeline.storage.ordering import write_in_order
from pipeline.storage.results import OutputLog, tail_fingerprint
from pipeline.storage.several import Files
from pipeline.storage.state import Places, replace_durably, storage_errors, sync_directory

_BLOCK = 1 << 20
_RENAME_NOREPLACE = 1
_AT_FDCWD = -100
_JOINED = 8 << 20
"""The most bytes of dead letters that are copied behind older ones; more are moved away as they are."""
_UNSUPPORTED = (errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.EPERM)


def write_dead_letters(ledger: Ledger, places: Places, files: Files | None = None) -> None:
    """Write OUT.errors.jsonl from the ledger; where nothing failed any more, an older one goes to the old ones.

    Args:
        ledger: The open ledger.
        places: Where everything lies.
        files: Those of the input, where it is several: a line then is one of its file.
    """
    lines = [
        orjson.dumps(
            {
                "custom_id": letter.custom_id,
                **_place(letter.line, files),
                "code": letter.code,
                "message": letter.message,
                "attempts": letter.attempts,
                "first_at": letter.first_at,
                "last_at": letter.last_at,
                "record": _record(letter.record),
            },
            option=orjson.OPT_APPEND_NEWLINE,
        )
        for letter in ledger.dead_letters()
    ]
    if lines:
        replace_durably(places.errors, b"".join(lines))
    elif os.path.lexists(places.errors):
        with storage_errors("cannot move away", places.errors):
            _keep_errors(places)


def _keep_errors(places: Places) -> None:
    """Put dead letters that are none any more behind the older ones: one file, however many nights a record failed."""
    if places.errors.stat().st_size > _JOINED:
        shutil.move(places.errors, places.aside("errors"))
        return
    older = places.old_errors.read_bytes() if os.path.lexists(places.old_errors) else b""
    replace_durably(places.old_errors, older + zstandard.compress(places.errors.read_bytes()))
    places.errors.unlink()


def _place(line: int, files: Files | None) -> dict[str, str | int]:
    if files is None:
        return {"line": line}
    name, number = files.locate(line)
    return {"file": name, "line": number}


def _record(raw: bytes) -> orjson.Fragment | str:
    try:
        orjson.loads(raw)
    except orjson.JSONDecodeError:
        return raw.decode("utf-8", "replace")
    return orjson.Fragment(raw)


def finish(ledger: Ledger, log: OutputLog, places: Places, order: Literal["input", "done"], lines: int) -> None:
    """Give the output its final name. Every record must be settled.

    Args:
        ledger: The open ledger; its writer thread has ended.
        log: The output, closed here.
        places: Where everything lies.
        order: Order of the lines in the finished file.
        lines: How many lines the input has.

    Raises:
        UsageError: Somebody else's file has the final name by now.
        StateMismatch: The output does not hold exactly the lines that are recorded.
        StorageFailed: The disk refused.
    """
    log.sync()
    log.close()
    draft, held = _drafted(places, order, lines)
    size, fingerprint = _expect(tail_fingerprint(draft), draft)
    if held != ledger.out_off:
        raise StateMismatch(f"{draft} has {held} bytes, but {ledger.out_off} were recorded")
    again = "finish" in ledger.meta
    with ledger.transaction():
        ledger.set_meta(phase="finishing", finish=fingerprint, finish_size=size)
    _rename(draft, places, ledger, again=again)
    _complete(ledger, places)


def _drafted(places: Places, order: Literal["input", "done"], lines: int) -> tuple[Path, int]:
    """Return the file that is to get the final name, and how many bytes of results it holds."""
    codec = codec_of(places.output.name)
    if order == "input":
        return places.ordered, write_in_order(places.partial, places.ordered, lines, codec)
    if codec is None:
        return places.partial, _expect(tail_fingerprint(places.partial), places.partial)[0]
    with storage_errors("cannot compress", places.partial):
        return places.ordered, _copy(places.partial, places.ordered, codec)


def _copy(source: Path, target: Path, codec: Codec | None) -> int:
    """Write what `source` holds, decompressed where its name says so, to `target`; return how many bytes that is."""
    with inflated(source) as file, new_draft(target, codec) as draft:
        while block := file.read(_BLOCK):
            draft.write(block)
    return draft.size


def resume_finish(ledger: Ledger, places: Places) -> None:
    """Bring a finish to its end that a dead run began: the rename may or may not have happened.

    Returns with `phase` either `complete`, or `running` where the output has yet to be finished.
    """
    if ledger.meta["phase"] != "finishing":
        return
    if _is_finished(ledger, places):
        _complete(ledger, places)
        return
    with ledger.transaction():
        ledger.set_meta(phase="running")


def reopen(ledger: Ledger, places: Places) -> None:
    """Make a finished output the start of a further run: its lines are copied, it stays until replaced.

    Raises:
        StateMismatch: The finished output is not the one that was recorded.
    """
    if not _is_finished(ledger, places):
        raise _changed(places)
    draft = places.partial.with_name(places.partial.name + ".tmp")
    with storage_errors("cannot copy", places.output):
        try:
            held = _copy(places.output, draft, None)
        except DamagedError as error:
            raise _changed(places) from error
        if held != ledger.out_off:
            raise _changed(places)
        _, tail = _expect(tail_fingerprint(draft), draft)
        draft.replace(places.partial)
    sync_directory(places.partial.parent)
    with ledger.transaction():
        ledger.tail = tail
        ledger.set_meta(phase="running")


def _is_finished(ledger: Ledger, places: Places) -> bool:
    """Whether the final name shows what was about to get it."""
    size = ledger.meta.get("finish_size", ledger.out_off)  # ledgers of earlier versions knew no compressed outputs
    return tail_fingerprint(places.output) == (size, ledger.meta["finish"])


def _changed(places: Places) -> StateMismatch:
    return StateMismatch(f"{places.output} was changed or removed since it was finished; put it back, or use --fresh")


def set_aside(places: Places, *, files: bool = True) -> None:
    """Move everything of an earlier job out of the way, into the state directory (`--fresh`). Nothing is deleted.

    Args:
        places: Where everything lies.
        files: Also the list of the input's files: they are taken anew.
    """
    lists = [places.files] if files else []
    sidecars = [places.ledger.with_name(places.ledger.name + suffix) for suffix in ("", "-wal", "-shm")]
    with storage_errors("cannot move away the old files of", places.output):
        for path in (places.output, places.partial, places.errors, *lists, *sidecars):
            if os.path.lexists(path):
                shutil.move(path, places.aside(f"old-{path.name}"))
    sync_directory(places.output.parent)
    sync_directory(places.state)


def _complete(ledger: Ledger, places: Places) -> None:
    # The bytes of both live on in the finished output. Nobody looks for them once the phase is `complete`.
    with storage_errors("cannot remove", places.partial):
        places.partial.unlink(missing_ok=True)
        places.ordered.unlink(missing_ok=True)
    with ledger.transaction():
        ledger.set_meta(phase="complete")


def _rename(draft: Path, places: Places, ledger: Ledger, *, again: bool) -> None:
    if _is_ours(places.output, ledger, again=again):
        with storage_errors("cannot replace", places.output):
            draft.replace(places.output)
    else:
        _rename_new(draft, places.output)
    sync_directory(places.output.parent)


def _is_ours(path: Path, ledger: Ledger, *, again: bool) -> bool:
    """Whether `path` is an output that this ledger finished earlier; one without any result is empty."""
    try:
        with inflated(path) as file:
            start = file.read(200)
    except (OSError, DamagedError):
        return False
    first = line_identity(start)
    return first.ledger == ledger.name if first is not None else again and not start


def _rename_new(draft: Path, target: Path) -> None:
    """Rename without replacing (renameat2), or link and unlink where the file system cannot."""
    libc = ctypes.CDLL(None, use_errno=True)
    failed = libc.renameat2(_AT_FDCWD, os.fsencode(draft), _AT_FDCWD, os.fsencode(target), _RENAME_NOREPLACE)
    if not failed:
        return
    number = ctypes.get_errno()
    if number == errno.EEXIST:
        raise UsageError(f"{target} exists and is not ours; move it away and run again: everything is in {draft}")
    if number not in _UNSUPPORTED:
        raise StorageFailed(f"cannot rename {draft} to {target}: {os.strerror(number)}; run again to resume")
    try:
        os.link(draft, target, follow_symlinks=False)
        draft.unlink()
    except FileExistsError as error:
        raise UsageError(
            f"{target} exists and is not ours; move it away and run again: everything is in {draft}"
        ) from error
    except OSError as error:
        raise StorageFailed(f"cannot rename {draft} to {target}: {error.strerror}") from error


def _expect(found: tuple[int, bytes] | None, path: Path) -> tuple[int, bytes]:
    if found is None:
        raise StorageFailed(f"{path} vanished before it could get its final name")
    return found
