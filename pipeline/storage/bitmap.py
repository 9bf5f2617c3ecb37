"""Which records are settled: one bit a line, 8192 lines a chunk, one kilobyte a chunk."""

from __future__ import annotations

from collections.abc import Mapping
from zlib import crc32

from pipeline.storage.lines import CHUNK_LINES

_CHUNK_BYTES = CHUNK_LINES // 8


class Bitmap:
    """Bits of lines (from 1), by chunk (from 0), and which chunks have changed since they were last written.

    Args:
        chunks: What `take_changed` returned, by number.

    Raises:
        ValueError: A chunk is damaged, or stands under another number than its own.
    """

    def __init__(self, chunks: Mapping[int, bytes] | None = None) -> None:
        self._chunks = {number: _opened(number, sealed) for number, sealed in (chunks or {}).items()}
        self._changed: set[int] = set()
        self.total = sum(self.count(number) for number in self._chunks)

    def __contains__(self, line: int) -> bool:
        number, bit = divmod(line - 1, CHUNK_LINES)
        bits = self._chunks.get(number)
        return bits is not None and bool(bits[bit >> 3] & (1 << (bit & 7)))

    def set(self, line: int) -> None:
        """Mark a line settled.

        Raises:
            ValueError: It already is: it would have two outcomes.
        """
        number, bit = divmod(line - 1, CHUNK_LINES)
        bits = self._chunks.get(number)
        if bits is None:
            bits = self._chunks[number] = bytearray(_CHUNK_BYTES)
        mask = 1 << (bit & 7)
        if bits[bit >> 3] & mask:
            raise ValueError(f"line {line} already has an outcome")
        bits[bit >> 3] |= mask
        self._changed.add(number)
        self.total += 1

    def clear(self, line: int) -> None:
        """Take a line's mark away.

        Raises:
            ValueError: It has none.
        """
        if line not in self:
            raise ValueError(f"line {line} has no outcome")
        number, bit = divmod(line - 1, CHUNK_LINES)
        self._chunks[number][bit >> 3] &= ~(1 << (bit & 7))
        self._changed.add(number)
        self.total -= 1

    def count(self, number: int) -> int:
        """How many lines of a chunk are settled."""
        bits = self._chunks.get(number)
        return 0 if bits is None else int.from_bytes(bits, "little").bit_count()

    def take_changed(self) -> list[tuple[int, bytes]]:
        """Return the chunks that changed since the last call, each with a checksum: SQLite has none of its own."""
        changed = [(number, _sealed(number, self._chunks[number])) for number in self._changed]
        self._changed.clear()
        return changed


def _sealed(number: int, bits: bytes | bytearray) -> bytes:
    return bytes(bits) + crc32(bits, number & 0xFFFFFFFF).to_bytes(4, "little")


def _opened(number: int, sealed: bytes) -> bytearray:
    bits = sealed[:_CHUNK_BYTES]
    if sealed != _sealed(number, bits) or len(bits) != _CHUNK_BYTES:
        raise ValueError("a chunk of the bitmap is damaged")
    return bytearray(bits)
