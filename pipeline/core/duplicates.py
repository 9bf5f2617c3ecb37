"""How many records say what an earlier one said, in bounded memory.

Contents are told apart by 64-bit fingerprints. When there are too many to keep, only those count whose last bit is 0,
then whose last two bits are, and so on: each record that is looked at then stands for two, four … The same content is
always looked at or never, so that what is found is an unbiased estimate.
"""

from __future__ import annotations

from hashlib import blake2b

MOST = 1 << 18
"""Fingerprints kept: about 25 MiB."""


def fingerprint(content: bytes) -> int:
    """Return 64 bits that tell `content` from others, in every process the same."""
    return int.from_bytes(blake2b(content, digest_size=8).digest(), "little")


class Duplicates:
    """Looks for repeated contents.

    Attributes:
        each: How many records each that is looked at stands for; 1 for as long as the counts are exact.
    """

    def __init__(self, most: int = MOST) -> None:
        self._most = most
        self._seen: set[int] = set()
        self.each = 1

    def note(self, mark: int) -> int:
        """Take note of a fingerprint and return for how many duplicates it stands: 0 where it is none."""
        if mark & (self.each - 1):
            return 0
        if mark in self._seen:
            return self.each
        self._seen.add(mark)
        while len(self._seen) > self._most:
            self.each *= 2
            self._seen = {kept for kept in self._seen if not kept & (self.each - 1)}
        return 0
