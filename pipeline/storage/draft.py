"""A file that is written whole before it gets its name: private, durable, compressed where that is wanted."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pipeline.storage.compression import Codec, Encoder
from pipeline.storage.state import sync_directory, write_all

_BLOCK = 1 << 20


class Draft:
    """Takes bytes and writes them in large pieces.

    Attributes:
        size: Bytes that it was given, before any compression.
    """

    def __init__(self, descriptor: int, encoder: Encoder | None) -> None:
        self.size = 0
        self._descriptor = descriptor
        self._encoder = encoder
        self._waiting = bytearray()

    def write(self, content: bytes) -> None:
        self.size += len(content)
        self._waiting += content if self._encoder is None else self._encoder.compress(content)
        if len(self._waiting) >= _BLOCK:
            self._flush()

    def end(self) -> None:
        """Write the rest, and make it durable."""
        if self._encoder is not None:
            self._waiting += self._encoder.flush()
        self._flush()
        os.fsync(self._descriptor)

    def _flush(self) -> None:
        write_all(self._descriptor, bytes(self._waiting))
        self._waiting.clear()


@contextmanager
def new_draft(path: Path, codec: Codec | None = None) -> Iterator[Draft]:
    """Write `path` (0600) anew; a dead run may have left one there. It and its name are durable on leaving.

    Raises:
        OSError: The disk refused.
    """
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        draft = Draft(descriptor, codec.encoder() if codec is not None else None)
        yield draft
        draft.end()
    finally:
        os.close(descriptor)
    sync_directory(path.parent)
