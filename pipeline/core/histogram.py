"""Durations by the thousand in a fixed space: percentiles to within 6 %, at a fraction of a microsecond each."""

from __future__ import annotations

from collections.abc import Mapping
from math import ceil, isfinite, log2
from typing import NamedTuple

from pipeline.types import Json

LEAST = 2.0**-10
"""Seconds (1 ms) below which a duration counts as none."""
ERROR = 0.06
"""The most that a percentile is off, as a share of it: half a bucket, the twelfth root of 2."""
_A_DOUBLING = 6
_DOUBLINGS = 20
"""Buckets go up to 1024 s; one more takes what is longer."""
_LAST = _A_DOUBLING * _DOUBLINGS + 1
_SHIFT = 1 - _A_DOUBLING * log2(LEAST)


class Percentiles(NamedTuple):
    """Seconds that half, 90 % and 99 % of the durations did not exceed, and the longest."""

    p50: float
    p90: float
    p99: float
    max: float


class Histogram:
    """Counts durations in buckets that grow by the sixth root of 2."""

    __slots__ = ("_counts", "longest", "total")

    def __init__(self) -> None:
        self._counts = [0] * (_LAST + 1)
        self.total = 0.0
        """Seconds, all together."""
        self.longest = 0.0

    def note(self, seconds: float) -> None:
        """Count one duration."""
        self.total += seconds
        self.longest = max(self.longest, seconds)
        if seconds < LEAST:
            self._counts[0] += 1
            return
        try:
            self._counts[int(log2(seconds) * _A_DOUBLING + _SHIFT)] += 1
        except IndexError:
            self._counts[_LAST] += 1

    def percentile(self, share: float) -> float:
        """Return the seconds that `share` of the durations (0 to 1) did not exceed; 0 where there is none."""
        rank = max(1, ceil(share * sum(self._counts)))
        seen = 0
        for bucket, count in enumerate(self._counts):
            seen += count
            if seen >= rank:
                return min(_middle(bucket), self.longest)
        return 0.0

    def percentiles(self) -> Percentiles:
        return Percentiles(self.percentile(0.5), self.percentile(0.9), self.percentile(0.99), self.longest)

    def add(self, other: Histogram) -> None:
        """Count what `other` has counted, too."""
        self._counts = [mine + theirs for mine, theirs in zip(self._counts, other._counts, strict=True)]
        self.total += other.total
        self.longest = max(self.longest, other.longest)

    def bins(self, a_doubling: int) -> list[Bin]:
        """Return the counts from the shortest duration to the longest, in bins that few enough stand side by side.

        Args:
            a_doubling: Bins from a duration to twice as much: 1, 2, 3 or 6.
        """
        step = _A_DOUBLING // a_doubling
        edges = [0, *range(1, _LAST + 1, step)]
        bins = [
            Bin(_lower(edge), _lower(edge + step if edge else 1), sum(self._counts[edge : edge + step if edge else 1]))
            for edge in edges
        ]
        seen = [number for number, each in enumerate(bins) if each.durations]
        return bins[seen[0] : seen[-1] + 1] if seen else []

    def as_dict(self) -> dict[str, Json]:
        """Return what `of` reads: no more than one number a bucket, however many durations there were."""
        counts = {str(bucket): count for bucket, count in enumerate(self._counts) if count}
        return {"counts": counts, "total": round(self.total, 3), "longest": round(self.longest, 6)}

    @classmethod
    def of(cls, data: Mapping[str, Json]) -> Histogram:
        """Return the histogram that `as_dict` described.

        Raises:
            KeyError, TypeError, ValueError, IndexError: Something else is described.
        """
        read = cls()
        for bucket, count in data["counts"].items():
            read._counts[int(bucket)] = int(count)
        read.total, read.longest = float(data["total"]), float(data["longest"])
        if not isfinite(read.total + read.longest):
            raise ValueError("a histogram's sums are numbers")
        return read


class Bin(NamedTuple):
    """Durations of at least `lower` and less than `upper` seconds."""

    lower: float
    upper: float
    durations: int


def _lower(bucket: int) -> float:
    """Return the shortest duration of a bucket."""
    if bucket == 0:
        return 0.0
    return float("inf") if bucket > _LAST else 2.0 ** ((bucket - _SHIFT) / _A_DOUBLING)


def _middle(bucket: int) -> float:
    if bucket == 0:
        return 0.0
    return float("inf") if bucket == _LAST else 2.0 ** ((bucket + 0.5 - _SHIFT) / _A_DOUBLING)
