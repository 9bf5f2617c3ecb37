"""What holds for the whole process, set in one place before anything is opened or read."""

from __future__ import annotations

import contextlib
import gc
import os
import resource
import signal
import sys
from functools import cache
from pathlib import Path

from pipeline.cli.failure import install_hooks
from pipeline.cli.streams import fill_closed_descriptors

_NAME = "pipeline"
_ARENA_MAX = -8
"""glibc's M_ARENA_MAX. Source: mallopt(3)."""


def prepare() -> None:
    """Make files private, forbid core dumps, allow as many connections as may be, and let nothing print a value."""
    ignore_questions()
    fill_closed_descriptors()
    os.umask(0o077)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _, most_files = resource.getrlimit(resource.RLIMIT_NOFILE)
    if most_files != resource.RLIM_INFINITY:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most_files, most_files))
    if resource.getrlimit(resource.RLIMIT_AS)[0] != resource.RLIM_INFINITY:
        _reserve_no_more_than_is_used()
    # The ledger's thread and the loop hand work to each other many times a second.
    sys.setswitchinterval(0.001)
    # A request makes hundreds of objects, nearly all freed by their reference counts: to look through the program for
    # the others every few requests would cost more CPU than sending them.
    gc.set_threshold(100_000, 50, 100)
    # Looking for plugins of pydantic reads the metadata of every package that is installed.
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
    # Vectors are read and written, never multiplied: a pool of threads for that is 45 ms of CPU at each start.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    install_hooks()


@cache
def program() -> str:
    """Return what to type to start this program: its name, or its path where a shell would not find it by that."""
    typed = Path(sys.argv[0])
    if typed.name != _NAME or not typed.exists():
        return _NAME  # started as a module, or by another program
    from shutil import which  # noqa: PLC0415 - brings all of compression

    found = which(_NAME)
    return _NAME if found is not None and Path(found).exists() and typed.samefile(found) else str(typed)


def ignore_questions() -> None:
    """Let SIGUSR1, which asks a run how it stands, do nothing: by default it would end the process."""
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)


def _reserve_no_more_than_is_used() -> None:
    """Let all threads allocate from one heap: glibc sets 64 MiB of addresses aside for each, until none are left."""
    import ctypes  # noqa: PLC0415 - rarely wanted

    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).mallopt(_ARENA_MAX, 1)
