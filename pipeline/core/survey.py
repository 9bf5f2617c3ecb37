"""Totals of a file from a sample of its lines, with the interval in which they lie 95 times in 100.

The bytes of the file are cut into equal strata, and a block of each is looked at. Two lines are drawn from it: the one
that holds a certain byte, so that a line is drawn in proportion to its size, and one of the records that begin in the
block, which are counted. So a total can be estimated in two ways:

    by size      the mean of value / size over the lines drawn by size, times the bytes of the file (Hansen, Hurwitz)
    by record    the mean value of the lines drawn by record, each for all in its block, times the records of the file

The first is tight for what grows with the size of a line, such as tokens, and misses no giant; the second for what does
not, such as the most output. Their variance is that of the draws, as if they were independent, with the
finite-population correction: draws spread evenly over a file vary no more than that, and less where it is sorted.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import hypot, sqrt
from statistics import fmean
from typing import NamedTuple

CONFIDENCE = 0.95
_DEVIATIONS = 2.2
"""Standard deviations on either side. Not the 1.96 of a normal distribution: what is drawn by size is skewed."""
_MISSED = 3
"""Over the number of draws: the largest share of a file that they can have missed, 95 times in 100."""
_GIANT = 10
"""Times the mean of a record."""
_STEPS = (0.7548776662466927, 0.5698402909980532)
"""Multiples of them, modulo 1, fill a square evenly (the powers of the plastic number): no period in the file can be in
step with the places that are looked at."""


class Stratum(NamedTuple):
    """The block [start, end) that is looked at for one part of the file, and the byte whose line is drawn by size."""

    start: int
    end: int
    at: int
    within: float
    """Which of the records that begin in the block is drawn: from 0, the first, to 1, behind the last."""


class Estimate(NamedTuple):
    """A total and the half width of its interval."""

    value: float
    margin: float

    @property
    def least(self) -> float:
        return max(0.0, self.value - self.margin)

    @property
    def most(self) -> float:
        return self.value + self.margin

    def times(self, factor: float) -> Estimate:
        return Estimate(self.value * factor, self.margin * factor)

    def plus(self, other: Estimate) -> Estimate:
        """The sum, as uncertain as both together."""
        return Estimate(self.value + other.value, self.margin + other.margin)


class Draw(NamedTuple):
    """What one stratum showed."""

    size: int
    """Bytes of the line drawn by size, with its newline."""
    begun: int
    """Records that begin in the block."""
    block: int
    """Bytes of the block."""


def strata(size: int, count: int, block: int) -> list[Stratum]:
    """Return `count` strata of a file of `size` bytes, with blocks of at most `block` bytes; always the same ones."""
    found = []
    for number in range(count):
        first, last = number * size // count, (number + 1) * size // count
        width = min(block, last - first)
        across, within = ((number + 0.5) * step % 1 for step in _STEPS)
        # Anywhere in the stratum, though the block may reach into the next: every byte is as likely to be looked at.
        start = first if width == last - first else min(first + int((last - first) * across), size - width)
        found.append(Stratum(start, start + width, start + int(width * within), within))
    return found


class Survey:
    """What the draws say of the whole file.

    Args:
        size: Bytes of the file.
        draws: At least two.
        distinct: How many different lines were drawn.
    """

    def __init__(self, size: int, draws: Sequence[Draw], distinct: int) -> None:
        self._size = size
        self._draws = draws
        self._begun = fmean(draw.begun for draw in draws)
        seen = sum(draw.block for draw in draws)
        error = _error([draw.begun / draw.block for draw in draws]) if seen < size else 0.0
        self.records = Estimate(size * sum(draw.begun for draw in draws) / seen, size * error)
        """Lines that are no blank ones: exact where the blocks cover the file."""
        self._undrawn = sqrt(max(0.0, 1 - distinct / max(1.0, self.records.value)))

    def total(self, by_size: Sequence[float], by_record: Sequence[float]) -> Estimate:
        """Return the total of an amount.

        Where giants have much of it, the few that are drawn by record, or none, would say too little of them.

        Args:
            by_size: The values of the lines drawn by size, in the order of the draws; 0 for blank lines.
            by_record: The values of those drawn by record; 0 where no record begins in the block.
        """
        one, other = self._by_size(by_size), self.count(by_record)
        if max(by_size) * self.records.value > _GIANT * other.value:
            return one
        return min(one, other, key=lambda estimate: estimate.margin)

    def count(self, by_record: Sequence[float]) -> Estimate:
        """Return how many records have what those drawn by record have (1) or have not (0)."""
        if not self._begun:
            return Estimate(0.0, float("inf"))
        pairs = list(zip(by_record, [draw.begun for draw in self._draws], strict=True))
        mean = fmean(value * begun for value, begun in pairs) / self._begun
        error = _error([(value - mean) * begun for value, begun in pairs]) / self._begun
        of_number = self.records.margin * mean
        return Estimate(self.records.value * mean, hypot(of_number, self.records.value * self._unsure(mean, error)))

    def _by_size(self, values: Sequence[float]) -> Estimate:
        densities = [value / draw.size for value, draw in zip(values, self._draws, strict=True)]
        mean = fmean(densities)
        return Estimate(mean, self._unsure(mean, _error(densities))).times(self._size)

    def _unsure(self, mean: float, error: float) -> float:
        """The half width of the interval around a mean over the draws: they may also have missed a kind of line."""
        return hypot(error, mean * _MISSED / len(self._draws)) * self._undrawn


def resampled(draws: Sequence[Draw], count: int) -> list[int]:
    """Return the numbers of `count` draws, in order, each as often as records begin in its block."""
    step, reached, number, found = sum(draw.begun for draw in draws) / count, 0, -1, []
    for place in range(count):
        while reached <= (place + 0.5) * step and number < len(draws) - 1:
            number += 1
            reached += draws[number].begun
        found.append(number)
    return found


def _error(values: Sequence[float]) -> float:
    """The half width of the interval around the mean of `values`."""
    mean, count = fmean(values), len(values)
    return _DEVIATIONS * sqrt(sum((value - mean) ** 2 for value in values) / (count - 1) / count)
