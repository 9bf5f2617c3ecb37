"""Strikes one file operation of a process, counted over all of its threads.

strace counts the calls of each thread by itself, so that a call of the writer thread cannot be told from one of the
main thread by its number. A small library that is loaded before the C library counts them together.
"""

from __future__ import annotations

import functools
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import NamedTuple

_SOURCE = Path(__file__).with_suffix(".c")


class Strike(NamedTuple):
    """What happens to which call."""

    at: int
    """Its number, from 1; 0 strikes none and only logs."""
    do: str = "kill"
    """`kill`, `cut`, or the number of an errno."""
    on: bool = False
    """Every call from that one on is struck."""


class Fault(NamedTuple):
    """A call that was struck."""

    number: int
    name: str
    path: Path
    time: float
    """In seconds, of the monotonic clock."""


class Synced(NamedTuple):
    """A file whose sync returned."""

    path: Path
    size: int
    time: float
    """In seconds, of the monotonic clock."""


class Trace(NamedTuple):
    """What the log of a process says."""

    calls: list[tuple[str, Path]]
    faults: list[Fault]
    synced: list[Synced]

    def size(self, path: Path, before: float) -> int:
        """The size of a file when a sync of it last returned before a point in time."""
        return next((sync.size for sync in reversed(self.synced) if sync.path == path and sync.time < before), 0)


@functools.cache
def missing() -> str | None:
    """Why calls cannot be struck here, or None."""
    if shutil.which("cc") is None:
        return "there is no C compiler to build the interposer with"
    return None


@functools.cache
def _built() -> tuple[Path, tempfile.TemporaryDirectory[str]]:
    folder = tempfile.TemporaryDirectory(prefix="interposer-")
    library = Path(folder.name) / "interposer.so"
    subprocess.run(["cc", "-O1", "-shared", "-fPIC", "-o", str(library), str(_SOURCE), "-ldl"], check=True, timeout=60)
    return library, folder


def variables(root: Path, log: Path, strike: Strike) -> dict[str, str]:
    """Return the environment that makes a process strike its own calls below `root`."""
    log.unlink(missing_ok=True)
    return {
        "LD_PRELOAD": str(_built()[0]),
        "STORM_ROOT": str(root.resolve()),
        "STORM_LOG": str(log),
        "STORM_AT": str(strike.at),
        "STORM_ON": str(int(strike.on)),
        "STORM_DO": strike.do,
    }


def read_trace(log: Path) -> Trace:
    """Read the log of a process that has ended."""
    trace = Trace([], [], [])
    for line in log.read_text().splitlines() if log.exists() else []:
        kind, *words = line.split(" ")
        match kind:
            case "call":
                trace.calls.append((words[1], Path(words[2])))
            case "fault":
                trace.faults.append(Fault(int(words[0]), words[1], Path(words[2]), int(words[-1]) / 1e9))
            case _:
                trace.synced.append(Synced(Path(words[0]), int(words[1]), int(words[2]) / 1e9))
    return trace
