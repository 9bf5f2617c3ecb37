"""The output log: whole lines appended to OUT.partial, and what recovery may believe of its tail."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path

from pipeline.errors import StateMismatch, StorageFailed
from pipeline.storage.state import creation_errors, storage_errors, sync_directory, write_all

TAIL_BYTES = 4096
_CLOSED = -1
_BLOCK = 1 << 20
_BULK = 1 << 20
"""Who writes that much at a time fills the page cache with what nobody reads soon. Where the kernel may take the same
pages again at once, writing costs half the CPU, and what others have in the cache stays there."""


def _fingerprint(tail: bytes) -> bytes:
    return hashlib.blake2b(tail, digest_size=16).digest()


NO_TAIL = _fingerprint(b"")
"""The fingerprint of an empty log."""


class OutputLog:
    """OUT.partial, open for appending. All methods belong to the one writer thread.

    Attributes:
        offset: The size in bytes of what has been appended and synced.
    """

    def __init__(self, path: Path, descriptor: int, offset: int, tail: bytes) -> None:
        self.path = path
        self.offset = offset
        self._descriptor = descriptor
        self._tail = tail

    @classmethod
    def create(cls, path: Path) -> OutputLog:
        """Create an empty log; it must not exist."""
        with storage_errors("cannot create", path), creation_errors(path):
            descriptor = os.open(
                path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600
            )
        sync_directory(path.parent)
        return cls(path, descriptor, 0, b"")

    @classmethod
    def open(cls, path: Path, offset: int, fingerprint: bytes) -> OutputLog:
        """Open a log of which `offset` bytes are committed.

        Raises:
            StateMismatch: It is shorter than that, or its committed tail is not what was written.
        """
        with storage_errors("cannot open", path):
            descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW)
            size = os.fstat(descriptor).st_size
            start = max(0, offset - TAIL_BYTES)
            tail = os.pread(descriptor, offset - start, start)
        if size < offset:
            os.close(descriptor)
            raise StateMismatch(
                f"{path} has {size} bytes, but {offset} were recorded: it was cut or replaced; put it back, "
                "or use --repair, which keeps what is whole and sends the rest again"
            )
        if _fingerprint(tail) != fingerprint:
            os.close(descriptor)
            raise StateMismatch(
                f"{path} was edited: its last recorded bytes are not those that were written; put it back, "
                "or use --repair, which keeps what is whole and sends the rest again"
            )
        return cls(path, descriptor, offset, tail)

    @property
    def fingerprint(self) -> bytes:
        """blake2b of the last 4 KiB before `offset`."""
        return _fingerprint(self._tail)

    def append(self, lines: Sequence[bytes]) -> None:
        """Append whole lines and make them durable. After an OSError the log must not be used again.

        Raises:
            StorageFailed: The bytes may not have reached the disk, or the file is no longer the one that was opened.
        """
        with storage_errors("cannot write", self.path):
            size = self._write(lines)
            os.fdatasync(self._descriptor)
            if size >= _BULK:
                os.posix_fadvise(self._descriptor, self.offset, size, os.POSIX_FADV_DONTNEED)
            opened, named = os.fstat(self._descriptor), self.path.lstat()
        if (named.st_dev, named.st_ino) != (opened.st_dev, opened.st_ino):
            raise StorageFailed(f"{self.path} was replaced by another file while it was written")
        if opened.st_size != self.offset + size:
            raise StorageFailed(f"{self.path} was changed by somebody else while it was written")
        self.offset += size

    def _write(self, lines: Sequence[bytes]) -> int:
        """Write pieces of about `_BLOCK` bytes, without a copy of it all, and return how much it was."""
        written = 0
        piece: list[bytes] = []
        room = _BLOCK
        for line in lines:
            piece.append(line)
            room -= len(line)
            if room <= 0:
                written += self._write_piece(b"".join(piece))
                piece.clear()
                room = _BLOCK
        return written + self._write_piece(b"".join(piece))

    def _write_piece(self, content: bytes) -> int:
        write_all(self._descriptor, content)
        self._tail = (self._tail + content[-TAIL_BYTES:])[-TAIL_BYTES:]
        return len(content)

    def tail_lines(self) -> Iterator[bytes]:
        """Yield the complete lines after `offset`, each with its newline, as long as the next one is complete."""
        position, rest = self.offset, b""
        while block := os.pread(self._descriptor, _BLOCK, position):
            position += len(block)
            *lines, rest = (rest + block).split(b"\n")
            for line in lines:
                yield line + b"\n"

    def accept(self, lines: list[bytes]) -> None:
        """Take `lines`, which follow `offset` in the file, as committed."""
        content = b"".join(lines)
        self.offset += len(content)
        self._tail = (self._tail + content)[-TAIL_BYTES:]

    def cut_tail(self, aside: Path) -> int:
        """Cut everything after `offset` off, keeping the bytes in `aside` first. Returns how many there were."""
        with storage_errors("cannot cut", self.path):
            size = os.fstat(self._descriptor).st_size
            if size == self.offset:
                return 0
            _copy(self._descriptor, self.offset, size, aside)
            os.ftruncate(self._descriptor, self.offset)
            os.fsync(self._descriptor)
        return size - self.offset

    def sync(self) -> None:
        """Make everything durable, the metadata included."""
        with storage_errors("cannot sync", self.path):
            os.fsync(self._descriptor)

    def close(self) -> None:
        """Let go of the file. Nothing happens where that was done before."""
        descriptor, self._descriptor = self._descriptor, _CLOSED
        if descriptor != _CLOSED:
            os.close(descriptor)


def tail_fingerprint(path: Path) -> tuple[int, bytes] | None:
    """Return the size and the tail fingerprint of a plain file, or None where there is none."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return None
    try:
        seen = os.fstat(descriptor)
        if not stat.S_ISREG(seen.st_mode):
            return None
        start = max(0, seen.st_size - TAIL_BYTES)
        return seen.st_size, _fingerprint(os.pread(descriptor, seen.st_size - start, start))
    finally:
        os.close(descriptor)


def _copy(source: int, start: int, end: int, target: Path) -> None:
    copy = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        while start < end:
            block = os.pread(source, min(_BLOCK, end - start), start)
            if not block:
                break
            write_all(copy, block)
            start += len(block)
        os.fsync(copy)
    finally:
        os.close(copy)
    sync_directory(target.parent)
