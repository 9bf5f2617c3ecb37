"""The input of a config: one file or pipe, or several files with what earlier runs took of them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from pipeline.assembly import places_of
from pipeline.config import Config, Loaded
from pipeline.earlier import CARRY_ON, Earlier
from pipeline.errors import UsageError
from pipeline.same_input import refuse_lost_list
from pipeline.storage.file_list import read_list, write_list
from pipeline.storage.filesystem import refuse_network
from pipeline.storage.ledger import Ledger
from pipeline.storage.lines import Page
from pipeline.storage.opening import MISSING, shown
from pipeline.storage.several import Pattern, Stretch, is_several
from pipeline.storage.source import Source
from pipeline.storage.state import Lock, Places, make_private
from pipeline.storage.survey import survey
from pipeline.storage.taken import Taken

_SHOWN_BAD = 20
NOTHING_NEW = "nothing_new"
"""The code of the error that every file has been taken before."""


def open_source(loaded: Loaded, earlier: Earlier = CARRY_ON, *, looks_back: bool = False) -> Source:
    """Open the input of a config as it is today. Nothing is written.

    Args:
        loaded: The config.
        earlier: A retry takes nothing new.
        looks_back: Take nothing new either, where each run takes what is new for itself.

    Raises:
        UsageError: It cannot be read, or there is nothing to read.
        StateMismatch: One of several files was changed or removed since it was read.
    """
    config = loaded.config
    if not is_several(config.input.path):
        return Source(config.input.path, limit=config.limit, growing=config.input.growing)
    own = read_list(places_of(loaded).files)
    taken = _taken(config)
    pattern = Pattern.of(config.input.path)
    others = _others(taken, own)
    if earlier.fresh:
        own = [each for each in own if taken is not None and (pattern.folder / each.name).exists()]
    takes = earlier.retry is None and not (looks_back and taken is not None)
    names = pattern.names() if takes else None
    if not (names or own or others):
        raise UsageError(f"cannot read {shown(config.input.path)}: there is no such file", code=MISSING)
    files = survey(pattern.folder, names, own, others, growing=config.input.growing)
    if others and not files.stretches:
        raise UsageError(f"every file of {shown(config.input.path)} has been taken", code=NOTHING_NEW)
    return Source(config.input.path, files, limit=config.limit)


def _others(taken: Taken | None, own: Sequence[Stretch]) -> list[Stretch]:
    """What other runs have taken: an output that is begun anew takes its own files again."""
    ours = {(stretch.name, stretch.start) for stretch in own}
    return [each for each in (taken.files if taken is not None else ()) if (each.name, each.start) not in ours]


async def list_files(source: Source, ledger: Ledger, places: Places, again: Callable[[], Awaitable[Source]]) -> Source:
    """Write down which files an input is read from, and return it: a newer view, where another run took some meanwhile.

    Args:
        source: An input of several files, opened before the lock was held.
        ledger: Of its output.
        places: Where that lies.
        again: Opens the input once more.

    Raises:
        StateMismatch: The list that earlier runs wrote is lost.
    """
    refuse_lost_list(ledger, places)
    if source.files is not None and read_list(places.files) != source.files.known:
        source = await again()
    if source.files is not None:
        write_list(places.files, source.files.stretches)
    return source


def share_read(page: Page, size: int | None, limit: int | None) -> float | None:
    """Return how much of the input has been read with `page`: by its bytes, or by the lines that are wanted of it."""
    shares = [page.chunk.end / size] if size else []
    shares += [page.last_line / limit] if limit else []
    return min(1.0, max(shares)) if shares else None


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
    refuse_network(folder)
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
