"""Days and months in UTC, as they are written."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import lru_cache

_DAY = 86_400


def day_of(at: float) -> str:
    """Return the day of a time in seconds since the epoch, as `2026-11-21`."""
    return _day(int(at // _DAY))


def month_of(at: float) -> str:
    """Return the month of a time in seconds since the epoch, as `2026-11`."""
    return day_of(at)[:7]


def month_before(month: str) -> str:
    """Return the month before `month`."""
    year, number = divmod(int(month[:4]) * 12 + int(month[5:]) - 2, 12)
    return f"{year:04}-{number + 1:02}"


@lru_cache(maxsize=8)
def _day(number: int) -> str:
    return datetime.fromtimestamp(number * _DAY, UTC).date().isoformat()
