"""Whole processes, pinned to a core, and what they cost."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from time import monotonic
from typing import NamedTuple

CLIENT_CORE, SERVER_CORE = 0, 1
SECONDS = 1800.0
"""The longest that one measured process may take."""


class Cost(NamedTuple):
    """What a process and all its children took."""

    cpu: float
    """Seconds of CPU, user and system."""
    wall: float
    """Seconds from start to end."""
    memory: int
    """The most bytes resident at once."""


class FailedError(Exception):
    """A measured process ended with another code than was expected."""


def pinned(command: Sequence[str], core: int) -> list[str]:
    """Return `command` bound to a core, where this machine has it and can do so."""
    if shutil.which("taskset") is None or core >= (os.cpu_count() or 1):
        return list(command)
    return ["taskset", "-c", str(core), *command]


def measure(command: Sequence[str], folder: Path, environ: Mapping[str, str], *, codes: Sequence[int] = (0,)) -> Cost:
    """Run `command` in `folder` on the clients' core to its end and return what it cost.

    Raises:
        FailedError: It ended with a code that is not among `codes`; the message has the end of its stderr.
    """
    errors = folder / "stderr.txt"
    began = monotonic()
    with errors.open("wb") as stderr:
        process = subprocess.Popen(
            pinned(command, CLIENT_CORE),
            cwd=folder,
            env=dict(environ),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=stderr,
        )
        with _deadline(process.pid):
            _, status, used = os.wait4(process.pid, 0)
    code = process.returncode = os.waitstatus_to_exitcode(status)
    if code not in codes:
        raise FailedError(f"exit code {code}: {errors.read_text(errors='replace')[-600:].strip()}")
    return Cost(used.ru_utime + used.ru_stime, monotonic() - began, used.ru_maxrss * 1024)


@contextlib.contextmanager
def _deadline(pid: int) -> Iterator[None]:
    def give_up(_number: int, _frame: object) -> None:
        os.kill(pid, signal.SIGKILL)

    before = signal.signal(signal.SIGALRM, give_up)
    signal.setitimer(signal.ITIMER_REAL, SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
