"""Faults from outside a process: system calls that fail, disks that fill up or lose power. For Linux; most need root.

Each injector has a `no_…` function that says in a sentence why this machine cannot inject it, or returns None.
"""

from __future__ import annotations

import contextlib
import fcntl
import functools
import os
import shutil
import struct
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

_EXT4_IOC_SHUTDOWN = 0x8004587D
_NO_LOG_FLUSH = 2


def skip_if(reason: str | None) -> None:
    """Skip the test that runs, where there is a reason."""
    if reason is not None:
        pytest.skip(reason)


@functools.cache
def no_strace() -> str | None:
    """Why system calls cannot be made to fail here."""
    if shutil.which("strace") is None:
        return "strace is not installed"
    tried = subprocess.run(["strace", *_QUIET, "-e", "inject=fsync:error=EIO:when=9", "true"], check=False)
    return None if tried.returncode == 0 else "strace may not trace processes on this machine"


@functools.cache
def no_mounts() -> str | None:
    """Why no file system can be mounted here."""
    if os.geteuid() != 0:
        return "mounting a file system needs root"
    try:
        with tempfile.TemporaryDirectory() as place, tmpfs(Path(place), "size=64k"):
            return None
    except (OSError, subprocess.CalledProcessError):
        return "this machine does not let its root mount a file system"


@functools.cache
def no_disks() -> str | None:
    """Why no disk can lose its power here."""
    if no_mounts() is not None:
        return no_mounts()
    if shutil.which("mkfs.ext4") is None:
        return "mkfs.ext4 is not installed"
    try:
        with tempfile.TemporaryDirectory() as place, Disk(Path(place), megabytes=8).mounted() as disk:
            disk.cut()
            return None
    except (OSError, subprocess.CalledProcessError):
        return "this machine has no loop devices, or its ext4 cannot be shut down"


_QUIET = ("-D", "-f", "--quiet=all", "-o", "/dev/null")


def traced(
    *injections: str, calls: str = "", paths: Sequence[Path | str] = (), log: Path | str = "/dev/null"
) -> list[str]:
    """Return the words before a command that let strace tamper with its system calls.

    The command stays the child of who starts it: it can be signalled, and its exit code is its own. Calls are counted
    in each thread by itself, and only those on `paths`, where there are any.

    Args:
        injections: As for `strace -e inject=`: `fdatasync:error=EIO:when=2`, `renameat2:signal=KILL:when=1` …
        calls: Further system calls that are logged.
        paths: Files and directories; also as the program names them, if that is not by their absolute path.
        log: Where calls are logged, with the paths of descriptors.
    """
    # A signal is lost where strace stops at chosen calls alone (seccomp).
    quick = [] if any(":signal=" in injection for injection in injections) else ["--seccomp-bpf"]
    names = {injection.partition(":")[0] for injection in injections} | set(filter(None, calls.split(",")))
    seen = ["-e", f"trace={','.join(sorted(names))}", *(f"--trace-path={path}" for path in paths)]
    tampered = [word for injection in injections for word in ("-e", f"inject={injection}")]
    return ["strace", *_QUIET[:-1], str(log), "-y", *quick, *seen, *tampered]


def limited(**limits: int) -> list[str]:
    """Return the words before a command that run it with resource limits, named as the flags of prlimit are."""
    return ["prlimit", *(f"--{name}={limit}:{limit}" for name, limit in limits.items())]


@contextlib.contextmanager
def tmpfs(place: Path, options: str) -> Iterator[Path]:
    """Mount a file system in memory on `place`, such as with `size=1m` or `nr_inodes=10`."""
    place.mkdir(exist_ok=True)
    _quietly("mount", "-t", "tmpfs", "-o", options, "tmpfs", str(place))
    try:
        yield place
    finally:
        _quietly("umount", "-l", str(place))


def remount(place: Path, options: str) -> None:
    """Change the options of a mounted file system."""
    _quietly("mount", "-o", f"remount,{options}", str(place))


class Disk:
    """An ext4 disk in a file, whose power can be cut. `place` takes the file and the mount point.

    Attributes:
        files: Where it is mounted.
    """

    def __init__(self, place: Path, megabytes: int = 24) -> None:
        self.files = place / "disk"
        self._image = place / "disk.img"
        self.files.mkdir()
        with self._image.open("wb") as image:
            image.truncate(megabytes << 20)
        _quietly("mkfs.ext4", "-q", "-F", str(self._image))

    @contextlib.contextmanager
    def mounted(self) -> Iterator[Disk]:
        """Keep it mounted; the first time after a cut, the journal is replayed."""
        _quietly("mount", "-o", "loop", str(self._image), str(self.files))
        try:
            yield self
        finally:
            _quietly("umount", str(self.files))

    def cut(self) -> None:
        """Cut the power: whatever was not synced is lost, and nothing can be written until it is mounted again."""
        descriptor = os.open(self.files, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.ioctl(descriptor, _EXT4_IOC_SHUTDOWN, struct.pack("I", _NO_LOG_FLUSH))
        finally:
            os.close(descriptor)


def _quietly(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True, timeout=30)
