"""A machine whose clock of the day is wrong, for one program: a library that is loaded before the system's."""

from __future__ import annotations

import subprocess
from pathlib import Path

# Only the clock of the day: pauses and deadlines are on the monotonic one.
_SOURCE = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

int clock_gettime(clockid_t clock, struct timespec *at) {
    static int (*real)(clockid_t, struct timespec *);
    if (!real) real = dlsym(RTLD_NEXT, "clock_gettime");
    int failed = real(clock, at);
    const char *once = getenv("CLOCK_ONCE");
    if (clock == CLOCK_REALTIME && (!once || access(once, F_OK) == 0)) at->tv_sec += atol(getenv("CLOCK_BY"));
    return failed;
}
"""


class ClockShim:
    """The library, built by gcc in a folder.

    Raises:
        FileNotFoundError: gcc is not installed.
    """

    def __init__(self, folder: Path) -> None:
        source = folder / "clock.c"
        source.write_text(_SOURCE)
        self._library = folder / "clock.so"
        command = ["gcc", "-shared", "-fPIC", "-o", str(self._library), str(source), "-ldl"]
        subprocess.run(command, check=True, timeout=60)

    def environment(self, by: int, *, once: Path | None = None) -> dict[str, str]:
        """The variables that put a program's clock so many seconds ahead, at once or when a file appears."""
        shifted = {"LD_PRELOAD": str(self._library), "CLOCK_BY": str(by)}
        return shifted if once is None else {**shifted, "CLOCK_ONCE": str(once)}
