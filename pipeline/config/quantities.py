"""Durations, money and shares as users write them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import Decimal

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3_600.0, "d": 86_400.0}
_PART = re.compile(r"(\d{1,12}(?:\.\d{1,9})?)(ms|s|m|h|d)", re.ASCII)
_DURATION = re.compile(rf"(?:{_PART.pattern})+", re.ASCII)
_BARE = re.compile(r"\d{1,12}(?:\.\d{1,9})?", re.ASCII)
_SHARE = re.compile(r"(\d{1,3}(?:\.\d{1,6})?) ?%", re.ASCII)
_NANO = 1_000_000_000
_LEAST_USD = Decimal("0.000001")
_MOST_USD = 1_000_000_000
_FAIR_SAMPLE = 100

MOST_SECONDS = 366 * 86_400.0


def seconds(value: object) -> float:
    """Return a duration in seconds: a number of them, or `30s`, `15m`, `2h`, `1d`, `1h30m`, `500ms`.

    Raises:
        ValueError: It is none of these, negative, or longer than 366 days.
    """
    result = _seconds(value)
    if result is None or not 0 <= result <= MOST_SECONDS:
        raise ValueError("must be a duration up to 366 days: seconds, or 30s, 15m, 2h, 1d")
    return result


def _seconds(value: object) -> float | None:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return float(value) if abs(value) < _NANO else None
    if not isinstance(value, str):
        return None
    text = value.replace(" ", "")
    if _BARE.fullmatch(text):
        return float(text)
    if not _DURATION.fullmatch(text):
        return None
    return sum(float(number) * _UNITS[unit] for number, unit in _PART.findall(text))


def dollars(value: object) -> Decimal:
    """Return an amount in US dollars, exactly as it was written.

    Raises:
        ValueError: It is no plain number, below 0.000001, above a thousand million, or finer than a nano-dollar.
    """
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal):
        raise ValueError("must be a number of US dollars, such as 5 or 0.25")  # noqa: TRY004 - pydantic takes ValueError
    amount = Decimal(repr(value)) if isinstance(value, float) else Decimal(value)
    if not amount.is_finite() or not 0 < amount <= _MOST_USD:
        raise ValueError(f"must be above 0 and at most {_MOST_USD:,} US dollars")
    if amount * _NANO % 1:
        raise ValueError("is finer than 0.000000001 US dollars")
    if amount < _LEAST_USD:
        raise ValueError(f"must be at least {_LEAST_USD} US dollars: less buys nothing")
    return amount


def nano_usd(amount: Decimal) -> int:
    """Return an amount of dollars in nano-USD."""
    return int(amount * _NANO)


@dataclass(frozen=True, slots=True)
class FailureLimit:
    """How many records may fail before the run stops: a number, or a share of those read so far."""

    count: int | None = None
    share: Decimal | None = None
    """From 0 to 1."""

    def most(self, read: int) -> int | None:
        """Return the most failures among `read` records. A share says nothing of the first hundred."""
        if self.share is None:
            return self.count
        return int(self.share * read) if read >= _FAIR_SAMPLE else None

    def __str__(self) -> str:
        return str(self.count) if self.share is None else f"{(self.share * 100).normalize():f}%"


def failure_limit(value: object) -> FailureLimit:
    """Return what `max_failures` says: a whole number from 0, or a share such as `5%`. Raises ValueError."""
    if isinstance(value, FailureLimit):
        return value
    if type(value) is int and 0 <= value < _NANO:
        return FailureLimit(count=value)
    match = _SHARE.fullmatch(value) if isinstance(value, str) else None
    if match and Decimal(match[1]) <= 100:
        return FailureLimit(share=Decimal(match[1]) / 100)
    raise ValueError("must be a whole number from 0, or a share such as 5%")
