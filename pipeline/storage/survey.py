"""Looks at the files of an input: those that are known must be what they were, and what is new is taken behind them."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from pipeline.core.parse import BOM
from pipeline.errors import StateMismatch, UsageError
from pipeline.storage.compression import Codec
from pipeline.storage.growing import whole_end
from pipeline.storage.lines import DamagedError
from pipeline.storage.opening import Identity, identity_of, open_input, shown
from pipeline.storage.several import Files, Stretch, measure


class _Open(NamedTuple):
    """A file that is looked at."""

    name: str
    path: Path
    ours: bool
    """Whether a part of it is in this input."""
    fd: int
    identity: Identity
    codec: Codec | None


def survey(
    folder: Path,
    names: Sequence[str] | None,
    own: Sequence[Stretch],
    elsewhere: Sequence[Stretch] = (),
    *,
    growing: bool,
) -> Files:
    """Return the input as it is today: `own`, and behind it what is new in the order of the files' names.

    Args:
        folder: What all files are in.
        names: The files that there are; None takes nothing new, neither a file nor what one has grown by.
        own: What has been taken into this input before; all of it must still be there.
        elsewhere: What other inputs have taken of the same files: it is not taken again.
        growing: Leave a last line that is not whole yet.

    Raises:
        StateMismatch: A file that is known was changed or removed.
        UsageError: A file cannot be read.
    """
    known: dict[str, list[Stretch]] = defaultdict(list)
    for stretch in (*elsewhere, *own):
        known[stretch.name].append(stretch)
    ours = {stretch.name for stretch in own}
    seen: dict[str, Identity] = {}
    new: list[Stretch] = []
    for name in sorted({*(names or ()), *ours}):
        stretches = sorted(known[name], key=_start)
        seen[name], found = _look(folder / name, name, stretches, ours=name in ours, growing=growing)
        if names is None and found:
            seen[name] = stretches[-1].seen  # or nobody would ever look at what it has grown by
        new += found if names is not None else []
    return Files(folder, [*(stretch._replace(seen=seen[stretch.name]) for stretch in own), *new], own)


def _start(stretch: Stretch) -> int:
    return stretch.start


def _look(
    path: Path, name: str, known: Sequence[Stretch], *, ours: bool, growing: bool
) -> tuple[Identity, list[Stretch]]:
    if known and not path.exists():
        raise StateMismatch(f"{path} is gone, but an earlier run took its lines: put it back, or use --fresh")
    if known and identity_of(path.stat()) == known[-1].seen:
        return known[-1].seen, []
    fd, identity, codec = open_input(str(path))
    try:
        if identity is None:
            raise UsageError(f"{shown(str(path))} is a pipe: it cannot be one of several files")
        file = _Open(name, path, ours, fd, identity, codec)
        _check(file, known)
        return identity, list(_new(file, known, growing=growing))
    except DamagedError as error:
        raise UsageError(f"{shown(str(path))}: {error}; nothing was sent") from error
    finally:
        os.close(fd)


def _check(file: _Open, known: Sequence[Stretch]) -> None:
    for stretch in known:
        if stretch.stop > file.identity.size or not _still_holds(file, stretch):
            raise _changed(file)


def _still_holds(file: _Open, stretch: Stretch) -> bool:
    try:
        return measure(file.fd, file.codec, stretch.start, stretch.stop) == stretch.holds
    except DamagedError:
        return False


def _new(file: _Open, known: Sequence[Stretch], *, growing: bool) -> Iterator[Stretch]:
    """Yield what the file has beyond what is known, if anything."""
    start = _start_of_new(file, known)
    stop = file.identity.size
    if growing and file.codec is None:
        stop = whole_end(file.fd, start, stop)
    if start >= stop:
        return
    holds = measure(file.fd, file.codec, start, stop)
    if holds.lines:
        yield Stretch(file.name, start, stop, known[-1].next_line if known else 1, holds, file.identity)


def _start_of_new(file: _Open, known: Sequence[Stretch]) -> int:
    if not known:
        return len(BOM) if file.codec is None and os.pread(file.fd, len(BOM), 0) == BOM else 0
    last = known[-1]
    if last.holds.ended or file.identity.size == last.stop:
        return last.stop
    # A line that had no newline was taken as it was: it may get one, but nothing else.
    if file.codec is None and os.pread(file.fd, 1, last.stop) == b"\n":
        return last.stop + 1
    raise _changed(file)


def _changed(file: _Open) -> StateMismatch:
    remedy = "use --fresh, which starts anew" if file.ours else "give it another name to have it taken as a new file"
    return StateMismatch(f"{file.path} was changed since an earlier run took its lines: put it back, or {remedy}")
