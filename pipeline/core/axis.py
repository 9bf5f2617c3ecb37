"""Axes of charts: where they end and where their ticks are, in numbers that people read easily."""

from __future__ import annotations

from math import floor, log10
from typing import NamedTuple

_NICE = (1, 2, 3, 4, 5, 6, 8, 10)
_STEPS = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10_800, 21_600, 43_200, 86_400)
_DAY = 86_400


class Tick(NamedTuple):
    """A mark on an axis."""

    at: float
    """Share of the axis, from 0 to 1."""
    label: str


def ceiling(value: float) -> float:
    """Return the least easy number that is at least `value`: 1, 2, 3, 4, 5, 6 or 8 with zeros. 1 where it is 0."""
    if value <= 0:
        return 1.0
    unit = 10.0 ** floor(log10(value))
    # A value that is easy already must not grow by the error of its division.
    return next(nice * unit for nice in _NICE if nice * unit >= value * (1 - 1e-9))


def time_ticks(seconds: float, most: int = 7) -> list[Tick]:
    """Return ticks at round times from 0 to `seconds`, at most `most` of them."""
    if seconds <= 0:
        return [Tick(0.0, "0:00")]
    step = next((step for step in _STEPS if seconds / step < most), None) or _days(seconds, most)
    return [Tick(at / seconds, _label(at, step, seconds)) for at in range(0, int(seconds) + 1, step)]


def clock(seconds: float) -> str:
    """Return a time since the start: `2:05` or `1:02:05`."""
    hours, rest = divmod(int(seconds), 3600)
    return f"{hours}:{rest // 60:02}:{rest % 60:02}" if hours else f"{rest // 60}:{rest % 60:02}"


def _label(at: int, step: int, seconds: float) -> str:
    if step >= _DAY:
        return f"{at // _DAY} d"
    return clock(at) if seconds < 3600 else f"{at // 3600}:{at % 3600 // 60:02} h"


def _days(seconds: float, most: int) -> int:
    return _DAY * (int(seconds / _DAY / most) + 1)
