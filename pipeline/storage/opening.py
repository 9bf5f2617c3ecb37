"""Opens an input, or refuses it before a byte is read: what it is, how it is compressed, how it can be read."""

from __future__ import annotations

import errno
import io
import os
import select
import stat
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from pipeline.errors import UsageError
from pipeline.storage.compression import CODECS, Codec, codec_of
from pipeline.storage.lines import DamagedError

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

STDIN = "-"
MISSING = "input_missing"
"""The code of the error that there is no such file."""


class Identity(NamedTuple):
    """What tells, without reading, whether an input may have changed since an earlier run."""

    size: int
    mtime_ns: int
    inode: int
    device: int


class Opened(NamedTuple):
    """An input that may be read."""

    fd: int
    identity: Identity | None
    """None for standard input and named pipes: they can be read once only."""
    codec: Codec | None


def shown(path: str) -> str:
    """Return `path` for a message: control characters and bytes that are no UTF-8 are escaped."""
    return "standard input" if path == STDIN else repr(path)


def open_input(path: str) -> Opened:
    """Open `path` for reading; never blocks.

    Raises:
        UsageError: It is missing, no file, unreadable, or not compressed the way its name says.
    """
    try:
        if path == STDIN:
            return _open_stdin()
        _check_kind(path, Path(path).stat())  # before opening it: opening a device can have effects
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
    except (OSError, ValueError) as error:
        missing = isinstance(error, FileNotFoundError) and not Path(path).is_symlink()
        code = MISSING if missing else None
        raise UsageError(f"cannot read {shown(path)}: {_reason(path, error)}", code=code) from error
    try:
        return _describe(path, fd)
    except BaseException:
        os.close(fd)
        raise


def _open_stdin() -> Opened:
    if sys.stdin is None:  # Python found descriptor 0 closed; by now it may belong to another file
        raise UsageError("cannot read standard input: it is closed")
    status = os.fstat(0)
    terminal_or_null = os.isatty(0) or status.st_rdev == Path(os.devnull).stat().st_rdev
    if not (stat.S_ISCHR(status.st_mode) and terminal_or_null) and not stat.S_ISSOCK(status.st_mode):
        _check_kind(STDIN, status)
    return Opened(0, None, None)


def _describe(path: str, fd: int) -> Opened:
    status = os.fstat(fd)
    codec = codec_of(path)
    if stat.S_ISFIFO(status.st_mode):
        return Opened(fd, None, codec)
    _check_kind(path, status)
    if status.st_size:
        check_compression(path, codec, os.pread(fd, 4, 0))
    return Opened(fd, identity_of(status), codec)


def identity_of(status: os.stat_result) -> Identity:
    return Identity(status.st_size, status.st_mtime_ns, status.st_ino, status.st_dev)


_KINDS = {
    stat.S_IFDIR: "a directory",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


def _check_kind(path: str, status: os.stat_result) -> None:
    kind = _KINDS.get(stat.S_IFMT(status.st_mode))
    if kind is not None:
        raise UsageError(f"cannot read {shown(path)}: it is {kind}, not a file")


def check_compression(path: str, named: Codec | None, head: bytes) -> None:
    """Raise UsageError where the first bytes of the input disagree with its name."""
    found = next((codec for codec in CODECS if head.startswith(codec.magic)), None)
    if found is named or (named is not None and found is None and head[1:4] == b"\x2a\x4d\x18"):  # a skippable frame
        return
    holds = f"{found.name} data" if found is not None else "no compressed data"
    if named is not None:
        raise UsageError(f"{shown(path)} is named {named.suffixes[0]} but holds {holds}: rename it")
    if path == STDIN:
        raise UsageError(f"standard input brings {holds}: decompress it first ({named_tool(found)})")
    raise UsageError(f"{shown(path)} holds {holds} but is not named so: rename it")


def named_tool(codec: Codec | None) -> str:
    """Return the command that decompresses to standard output."""
    return f"{codec.name} -dc" if codec is not None else "cat"


def _reason(path: str, error: OSError | ValueError) -> str:
    if not isinstance(error, OSError):
        return "the name holds a NUL"
    if error.errno == errno.ENOENT and Path(path).is_symlink():
        return "it is a symbolic link to a file that does not exist"
    if error.errno == errno.ELOOP:
        return "its symbolic links form a loop"
    return error.strerror or str(error)


class Window(io.RawIOBase):
    """Bytes [start, stop) of a regular file. It has a position of its own and does not own the descriptor.

    Reading raises DamagedError where the file has become shorter than it was.
    """

    def __init__(self, fd: int, start: int, stop: int) -> None:
        self._fd = fd
        self._at = start
        self._stop = stop

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        view = memoryview(buffer).cast("B")
        count = os.preadv(self._fd, [view[: max(0, self._stop - self._at)]], self._at)
        self._at += count
        if not count and len(view) and self._at < self._stop:
            raise DamagedError("the file became shorter while it was read")
        return count


class Pipe(io.RawIOBase):
    """A pipe or terminal. A read that waits in one thread is ended by `stop` in another; it then finds the end."""

    def __init__(self, fd: int, *, owned: bool) -> None:
        self._fd = fd
        self._early = b""
        self._stopped = threading.Event()
        self._reading = threading.Lock()
        self._wake, self._waker = os.pipe()
        self._ending = threading.Lock()
        self._mine: tuple[int, ...] = (self._wake, self._waker, *([fd] if owned else []))
        self._poll = select.poll()
        self._poll.register(fd, select.POLLIN)
        self._poll.register(self._wake, select.POLLIN)

    def readable(self) -> bool:
        return True

    def await_writer(self, seconds: float) -> bool:
        """Whether a process has opened the pipe for writing, after at most `seconds`."""
        with self._reading:
            if self._poll.poll(seconds * 1000):
                return True
            try:
                self._early = os.read(self._fd, 1)
            except BlockingIOError:
                return True
            return bool(self._early)

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        view = memoryview(buffer).cast("B")
        with self._reading:
            if self._early:
                view[:1], self._early = self._early, b""
                return 1
            while not self._stopped.is_set():
                self._poll.poll()
                try:
                    return 0 if self._stopped.is_set() else os.readv(self._fd, [view])
                except BlockingIOError:
                    continue  # another reader of the same pipe was quicker
            return 0

    def stop(self) -> None:
        """End the read that is waiting, and every later one. For good."""
        with self._ending:
            if not self._stopped.is_set():
                self._stopped.set()
                os.write(self._waker, b"\0")

    def close(self) -> None:
        # A buffer around this may be closed by the collector, in another thread, while its owner closes it too.
        if not self.closed:
            self.stop()
            with self._reading, self._ending:
                mine, self._mine = self._mine, ()
                for fd in mine:
                    os.close(fd)
        super().close()
