"""Standard output as a place for results: what takes bytes at its own pace, may go away, or may have some already."""

from __future__ import annotations

import errno
import fcntl
import os
import select
import stat
from collections.abc import Iterable
from typing import NamedTuple

_BLOCK = 1 << 16


class Appended(NamedTuple):
    """A plain file that is appended to, and where in it this output begins."""

    device: int
    inode: int
    start: int


def appended_to(descriptor: int, earlier: Appended | None) -> Appended | None:
    """Return the file behind `descriptor` where it is one that is appended to (`>>`), else None.

    Args:
        descriptor: Where results go.
        earlier: What an earlier run of the output appended to; in the same file, this output begins at the same place.
    """
    seen = os.fstat(descriptor)
    if not stat.S_ISREG(seen.st_mode) or not fcntl.fcntl(descriptor, fcntl.F_GETFL) & os.O_APPEND:
        return None
    same = earlier is not None and earlier[:2] == (seen.st_dev, seen.st_ino) and earlier.start <= seen.st_size
    return earlier if same else Appended(seen.st_dev, seen.st_ino, seen.st_size)


class Outlet:
    """Writes to a descriptor from one thread. A write blocks for as long as the reader takes nothing.

    Args:
        descriptor: Where to.
        appended: The file that it is, where that is known.

    Raises:
        BrokenPipeError: The reader is gone.
        OSError: The disk behind it is full or broken.
    """

    def __init__(self, descriptor: int, appended: Appended | None = None) -> None:
        self._descriptor = descriptor
        self._appended = appended
        self._waiting = bytearray()
        self._skip = 0

    def skip_present(self, pieces: Iterable[bytes]) -> None:
        """Leave out at the beginning what the file holds already, where that is a beginning of `pieces`."""
        if self._appended is None:
            return
        with open(f"/proc/self/fd/{self._descriptor}", "rb") as file:  # noqa: PTH123 - it was opened for writing alone
            file.seek(self._appended.start)
            found = 0
            for piece in pieces:
                there = file.read(len(piece))
                if not piece.startswith(there):
                    return
                found += len(there)
            self._skip = 0 if file.read(1) else found

    def write(self, content: bytes) -> None:
        """Take whole lines; what is a small part of a block waits for more."""
        if self._skip:
            self._skip, content = max(0, self._skip - len(content)), content[self._skip :]
        self._waiting += content
        if len(self._waiting) >= _BLOCK:
            self.flush()

    def flush(self) -> None:
        """Hand over what is waiting."""
        view = memoryview(bytes(self._waiting))
        self._waiting.clear()
        while view:
            try:
                view = view[os.write(self._descriptor, view) :]
            except BlockingIOError:  # somebody else made it so
                select.select([], [self._descriptor], [])

    def wait(self, wake: int) -> None:
        """Return once `wake` can be read; its bytes are taken."""
        poll = select.poll()
        poll.register(wake, select.POLLIN)
        poll.register(self._descriptor, 0)
        if any(descriptor == self._descriptor for descriptor, _ in poll.poll()):
            raise BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE))
        os.read(wake, _BLOCK)
