"""Which records are settled: one bit a line, 8192 lines a chunk, one kilobyte a chunk."""

from __future__ import annotations

from collections.abc import Mapping

from pipeline.storage.lines import CHUNK_LINES

_CHUNK_BYTES = CHUNK_LINES // 8


class Bitmap:
    """Bits of lines (from 1), by chunk (from 0), and which chunks have changed since they were last written."""

    def __init__(self, chunks: Mapping[int, bytes] | None = None) -> None:
        self._chunks = {number: bytearray(bits) for number, bits in (chunks or {}).items()}
        if any(len(bits) != _CHUNK_BYTES for bits in self._chunks.values()):
            raise ValueError("a chunk of the bitmap has the wrong length")
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
        """Return the chunks that changed since the last call."""
        changed = [(number, bytes(self._chunks[number])) for number in self._changed]
        self._changed.clear()
        return changed
