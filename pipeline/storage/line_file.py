"""A file that lines are appended to, by any number of processes, and that is rotated by size."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Sequence
from pathlib import Path

_BLOCK = 1 << 16


class LineFile:
    """Appends whole lines, each group by one write to a file opened with O_APPEND: no other process can come between.

    A full file is renamed to NAME.1, NAME.1 to NAME.2 and so on. Who rotates holds a lock on the full file and looks
    again whether it still has the name; who writes meanwhile writes to the file that just lost it, and goes on with the
    new one after that. Nothing is read back, nothing is synced.

    Args:
        path: The file (0600); it and its directory are made when the first line comes.
        max_bytes: The size beyond which it does not grow; None lets it.
        keep: How many old ones are kept.
        header: What an empty file begins with.
    """

    def __init__(self, path: Path, max_bytes: int | None = None, keep: int = 1, header: bytes = b"") -> None:
        self._path, self._max_bytes, self._keep, self._header = path, max_bytes, keep, header
        self._descriptor: int | None = None
        self._torn = False

    def append(self, lines: Sequence[bytes]) -> None:
        """Append lines, each with its newline.

        Raises:
            OSError: The disk refused; the last of them may be torn, and none after it was written.
        """
        group = bytearray()
        for line in lines:
            if len(group) + len(line) > _BLOCK and group:
                self._append(bytes(group))
                group.clear()
            group += line
        self._append(bytes(group))

    def close(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def _append(self, content: bytes) -> None:
        size = self._reopened()
        if self._max_bytes is not None and size and size + len(content) > self._max_bytes:
            self._rotate()
            size = self._reopened()
        descriptor = self._open()
        head = b"\n" if self._torn else b""
        content = head + (content if size else self._header + content)
        self._torn = True
        while content:
            content = content[os.write(descriptor, content) :]
        self._torn = False

    def _open(self) -> int:
        if self._descriptor is None:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
            self._descriptor = os.open(self._path, flags, 0o600)
        return self._descriptor

    def _reopened(self) -> int:
        """Open the file that has the name now, and return its size."""
        if not self._has_the_name():
            self.close()
        return os.fstat(self._open()).st_size

    def _has_the_name(self) -> bool:
        seen = os.fstat(self._open())
        try:
            named = self._path.lstat()
        except FileNotFoundError:
            return False
        return (named.st_dev, named.st_ino) == (seen.st_dev, seen.st_ino)

    def _rotate(self) -> None:
        """Rename the full file, unless another process is about to or just has."""
        try:
            fcntl.flock(self._open(), fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return
        if self._has_the_name():
            for number in range(self._keep, 1, -1):
                if os.path.lexists(self._old(number - 1)):
                    self._old(number - 1).replace(self._old(number))
            self._path.replace(self._old(1))
        self.close()

    def _old(self, number: int) -> Path:
        return self._path.with_name(f"{self._path.name}.{number}")
