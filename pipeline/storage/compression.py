"""gzip and Zstandard with bounded memory, in and out. What is read may have any number of members or frames."""

from __future__ import annotations

import io
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Protocol

import zstandard

from pipeline.storage.lines import DamagedError

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

_PIECE = 2048
"""Compressed bytes decoded at once: four bytes of Zstandard can expand to 128 KiB, so one piece to at most 64 MiB."""
_BLOCK = 1 << 20
BOMB_RATIO = 1000
BOMB_FLOOR = 64 * 1024 * 1024
"""Decompressed bytes without a record before the ratio is judged."""


class Decoder(Protocol):
    """Decodes one member or frame."""

    @property
    def eof(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, /) -> bytes: ...


class Encoder(Protocol):
    """Encodes one member or frame."""

    def compress(self, data: bytes, /) -> bytes: ...
    def flush(self) -> bytes: ...


class Codec(NamedTuple):
    """A compression format."""

    name: str
    suffixes: tuple[str, ...]
    magic: bytes
    decoder: Callable[[], Decoder]
    encoder: Callable[[], Encoder]
    """Its bytes depend on nothing but what it is given, and end in a checksum."""
    error: type[Exception]
    padding: bytes
    """Bytes that may follow a member (tape blocks are filled up with zeros)."""


GZIP = Codec(
    "gzip",
    (".gz",),
    b"\x1f\x8b",
    lambda: zlib.decompressobj(wbits=31),
    lambda: zlib.compressobj(wbits=31),
    zlib.error,
    b"\0",
)
ZSTD = Codec(
    "zstd",
    (".zst", ".zstd"),
    b"\x28\xb5\x2f\xfd",
    lambda: zstandard.ZstdDecompressor().decompressobj(),
    lambda: zstandard.ZstdCompressor(write_checksum=True).compressobj(),
    zstandard.ZstdError,
    b"",
)
CODECS = (GZIP, ZSTD)


def codec_of(name: str) -> Codec | None:
    """Return how a file of that name is compressed; None where it is not."""
    return next((codec for codec in CODECS if name.lower().endswith(codec.suffixes)), None)


@contextmanager
def inflated(path: Path) -> Iterator[io.BufferedReader]:
    """Open a file for reading, decompressed where its name says that it is compressed.

    Raises:
        OSError: It cannot be opened; reading raises it too, or DamagedError as `Inflated` does.
    """
    codec = codec_of(path.name)
    with path.open("rb") as file:
        yield file if codec is None else io.BufferedReader(Inflated(file, codec), _BLOCK)


class Inflated(io.RawIOBase):
    """The decompressed bytes of `source`.

    Reading raises DamagedError where the compressed data is truncated, corrupt, followed by something else, or where
    more than 64 MiB without a record expand more than 1000-fold; all that was decoded before is handed out first.
    """

    def __init__(self, source: io.BufferedReader, codec: Codec) -> None:
        self._source = source
        self._codec = codec
        self._decoder: Decoder | None = None
        self._ready = memoryview(b"")
        self._fault: DamagedError | None = None
        self._ended = False
        self._read = self._written = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        view = memoryview(buffer).cast("B")
        filled = 0
        while filled < len(view) and self._more():
            part = self._ready[: len(view) - filled]
            view[filled : filled + len(part)] = part
            self._ready = self._ready[len(part) :]
            filled += len(part)
        if not filled and self._fault is not None:
            raise self._fault
        return filled

    def _more(self) -> bool:
        """Whether decoded bytes are ready; decodes some where there are none."""
        while not self._ready and not self._ended and self._fault is None:
            piece = self._source.read1(_PIECE)
            self._ended = not piece
            if piece:
                decoded = b"".join(self._decode(piece))
                self._judge(len(piece), decoded)
                self._ready = memoryview(decoded)
            elif self._decoder is not None:
                self._fault = DamagedError(f"the {self._codec.name} data ends in the middle")
        return bool(self._ready)

    def _decode(self, piece: bytes) -> list[bytes]:
        decoded = []
        while piece:
            if self._decoder is None:
                piece = piece.lstrip(self._codec.padding)
                if not piece:
                    break
                self._decoder = self._codec.decoder()
            try:
                decoded.append(self._decoder.decompress(piece))
            except self._codec.error:
                self._fault = DamagedError(f"the {self._codec.name} data is corrupt, or something else follows it")
                break
            piece = self._decoder.unused_data if self._decoder.eof else b""
            if self._decoder.eof:
                self._decoder = None
        return decoded

    def _judge(self, read: int, decoded: bytes) -> None:
        """Records, however alike, are no bomb: the ratio is that of a stretch of pieces without any."""
        if b"{" in decoded:
            self._read = self._written = 0
            return
        self._read += read
        self._written += len(decoded)
        if self._written > BOMB_FLOOR and self._written > BOMB_RATIO * self._read:
            self._fault = DamagedError(f"the {self._codec.name} data expands {BOMB_RATIO}-fold: refused as a bomb")
