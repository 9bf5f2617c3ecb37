"""The input of a config: one file or pipe, or several files with what earlier runs took of them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from pipeline.assembly import places_of
from pipeline.config import Config, Loaded
from pipeline.earlier import CARRY_ON, Earlier
from pipeline.errors import UsageError
from pipeline.storage.file_list import read_list
from pipeline.storage.opening import MISSING, shown
from pipeline.storage.several import Pattern, is_several
from pipeline.storage.source import Source
from pipeline.storage.state import Lock, make_private
from pipeline.storage.survey import survey
from pipeline.storage.taken import Taken

_SHOWN_BAD = 20
NOTHING_NEW = "nothing_new"
"""The code of the error that every file has been taken before."""


def open_source(loaded: Loaded, earlier: Earlier = CARRY_ON) -> Source:
    """Open the input of a config as it is today. Nothing is written.

    Raises:
        UsageError: It cannot be read, or there is nothing to read.
        StateMismatch: One of several files was changed or removed since it was read.
    """
    config = loaded.config
    if not is_several(config.input.path):
        return Source(config.input.path, limit=config.limit, growing=config.input.growing)
    own = read_list(places_of(loaded).files)
    taken = _taken(config)
    if earlier.fresh and taken is None:
        own = []
    pattern = Pattern.of(config.input.path)
    names = [] if earlier.retry is not None else pattern.names()
    if not names and not own:
        raise UsageError(f"cannot read {shown(config.input.path)}: there is no such file", code=MISSING)
    elsewhere = taken.files if taken is not None else []
    ours = {(stretch.name, stretch.start) for stretch in own}
    others = [stretch for stretch in elsewhere if (stretch.name, stretch.start) not in ours]
    files = survey(pattern.folder, names, own, others, growing=config.input.growing)
    if not files.stretches and others:
        raise UsageError(f"every file of {shown(config.input.path)} has been taken", code=NOTHING_NEW)
    return Source(config.input.path, files, limit=config.limit)


def is_nothing_to_do(error: UsageError, config: Config) -> bool:
    """Whether a refused input means that there is nothing to do, and not that something is wrong."""
    return error.code == NOTHING_NEW or (error.code == MISSING and config.input.missing == "ok")


@asynccontextmanager
async def taking(
    loaded: Loaded, earlier: Earlier, lock: Callable[[Path], Awaitable[Lock]]
) -> AsyncIterator[Callable[[], None]]:
    """Let no other run take files; hand out what begins, and where it ends without an error, take them for good.

    Args:
        loaded: The config.
        earlier: A retry takes nothing.
        lock: Takes a lock.

    Raises:
        Locked: Another run is taking files.
        StateMismatch: By `begin`: a run that began earlier is not complete.
    """
    config = loaded.config
    if not config.input.since_last or config.input.taken is None or earlier.retry is not None:
        yield lambda: None
        return
    folder = Path(config.input.taken)
    make_private(folder)
    held = await lock(folder / "lock")
    try:
        taken, moment = Taken(folder), str(loaded.moment)
        yield lambda: taken.begin(moment)
        if taken.begun == moment:
            taken.complete(read_list(places_of(loaded).files))
    finally:
        held.release()


async def refuse_bad_lines(source: Source, problem: Callable[[int, bytes], str | None]) -> None:
    """Read the whole input and refuse it where a line is bad (`--strict`).

    Args:
        source: The input.
        problem: What is wrong with a line, or None.

    Raises:
        UsageError: Naming the first of them.
    """
    bad: list[str] = []
    async for page in source.pages():
        for line, raw in enumerate(page.lines, page.first_line):
            found = problem(line, raw)
            if found is not None:
                bad.append(f"{source.place(line)}: {found}")
        if len(bad) >= _SHOWN_BAD:
            break
    if bad:
        raise UsageError("the input has bad lines and nothing was sent (--strict):\n" + "\n".join(bad[:_SHOWN_BAD]))


def begun_or_last(loaded: Loaded) -> tuple[str | None, str | None]:
    """Return the moments of the run that is not complete and of the last complete one, of a job that takes files."""
    taken = _taken(loaded.config)
    return (taken.begun, taken.last) if taken is not None else (None, None)


def _taken(config: Config) -> Taken | None:
    return Taken(Path(config.input.taken)) if config.input.taken is not None and config.input.since_last else None
