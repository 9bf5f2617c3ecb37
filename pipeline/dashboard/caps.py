"""Monthly caps, as the last runs kept them, and what was spent under each."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from pipeline.core.limits import key_for
from pipeline.core.monthly import MonthlyCap
from pipeline.core.reconcile import Recorded
from pipeline.errors import StateMismatch
from pipeline.observers.recorded import read_history
from pipeline.storage.usage import RunRow

Spent = Callable[[Sequence[str]], Iterable[Recorded]]
"""Endpoints, or none for all → what this month was recorded there."""


class Cap(NamedTuple):
    """The most that may be spent in a month, and what was, unknown outcomes included."""

    name: str
    nusd: int
    used_nusd: int


class _Kept(NamedTuple):
    """A cap of a run, with the keys of its endpoint's limits."""

    cap: MonthlyCap
    keys: Sequence[str]


def caps_of(runs: Iterable[RunRow], spent: Spent) -> list[Cap]:
    """Return the caps of the last runs, each once.

    Args:
        runs: The latest first; of two runs of one output the later counts.
        spent: Asks the usage log.
    """
    folders = list(dict.fromkeys(run.state_dir for run in runs))
    kept = [each for folder in folders for each in _kept(Path(folder) / "history.json")]
    latest = {each.cap: each for each in reversed(kept)}
    return [Cap(cap.name, cap.nusd, _used(each, spent)) for cap, each in sorted(latest.items(), key=_order)]


def _order(item: tuple[MonthlyCap, _Kept]) -> tuple[str, int]:
    return item[0].name, item[0].nusd


def _used(kept: _Kept, spent: Spent) -> int:
    cap = kept.cap
    rows = spent([cap.endpoint] if cap.endpoint is not None else [])
    return sum(
        row.cost_nusd + row.unknown_nusd for row in rows if cap.key is None or cap.key == key_for(row.model, kept.keys)
    )


def _kept(path: Path) -> Sequence[_Kept]:
    with suppress(OSError):
        status = path.stat()
        return _read(path, status.st_mtime_ns, status.st_ino)
    return ()


@lru_cache(maxsize=256)
def _read(path: Path, _changed: int, _inode: int) -> Sequence[_Kept]:
    """Read a file once for each time that it is written."""
    try:
        recorded = read_history(path)
    except StateMismatch:
        return ()
    about = recorded.about if recorded is not None else None
    return [_Kept(cap, tuple(about.cap_keys)) for cap in about.caps] if about is not None else []
