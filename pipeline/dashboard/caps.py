"""Monthly caps, as the configs of the last runs had them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
from decimal import Decimal, InvalidOperation
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from pipeline.errors import StateMismatch
from pipeline.observers.recorded import Setting, read_history
from pipeline.storage.usage import RunRow

_OWN, _ENDPOINTS = "budget.monthly_usd", "endpoint.monthly_usd"


class Cap(NamedTuple):
    """The most that may be spent in a month, and what was, unknown outcomes included."""

    name: str
    nusd: int
    used_nusd: int


def caps_of(runs: Iterable[RunRow], used: Mapping[str, int]) -> list[Cap]:
    """Return the caps of the last runs, each once.

    Args:
        runs: The latest first.
        used: Nano-USD of this month by endpoint.
    """
    found: dict[tuple[str, int], Cap] = {}
    seen: set[str] = set()
    for run in runs:
        if run.state_dir in seen:
            continue
        seen.add(run.state_dir)
        for name, nusd, sum_used in _caps(run, used):
            found.setdefault((name, nusd), Cap(name, nusd, sum_used))
    return list(found.values())


def _caps(run: RunRow, used: Mapping[str, int]) -> Iterable[Cap]:
    for setting in _settings(Path(run.state_dir) / "history.json"):
        nusd = _nusd(setting.value)
        if nusd is None:
            continue
        if setting.key == _OWN:
            yield Cap("all endpoints", nusd, sum(used.values()))
        elif setting.key == _ENDPOINTS:
            yield Cap(run.endpoint, nusd, used.get(run.endpoint, 0))


def _settings(path: Path) -> tuple[Setting, ...]:
    with suppress(OSError):
        status = path.stat()
        return _read(path, status.st_mtime_ns, status.st_ino)
    return ()


@lru_cache(maxsize=256)
def _read(path: Path, _changed: int, _inode: int) -> tuple[Setting, ...]:
    """Read a file once for each time that it is written."""
    try:
        recorded = read_history(path)
    except StateMismatch:
        return ()
    settings = recorded.about.settings if recorded is not None else ()
    return tuple(setting for setting in settings if setting.key in (_OWN, _ENDPOINTS))


def _nusd(value: str) -> int | None:
    try:
        return int(Decimal(value.strip('"')) * 1_000_000_000)
    except (InvalidOperation, ValueError, OverflowError):
        return None
