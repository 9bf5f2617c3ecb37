"""Days as the user writes them."""

from __future__ import annotations

import re
from calendar import monthrange
from datetime import UTC, date, datetime, timedelta

import click

_DAYS_AGO = re.compile(r"(\d{1,5})d", re.ASCII)
_MONTH = re.compile(r"\d{4}-\d{2}", re.ASCII)


def first_day(_context: click.Context, _option: click.Parameter, text: str | None) -> date | None:
    """Return the first day (UTC) that an option names: `2026-11-01`, the month `2026-11`, or `7d` for a week ago."""
    return None if text is None else _days(text)[0]


def last_day(_context: click.Context, _option: click.Parameter, text: str | None) -> date | None:
    """Return the last day that an option names, in the words of `first_day`."""
    return None if text is None else _days(text)[1]


def _days(text: str) -> tuple[date, date]:
    """The first and the last day that `text` names."""
    ago = _DAYS_AGO.fullmatch(text)
    try:
        if _MONTH.fullmatch(text):
            first = date.fromisoformat(f"{text}-01")
            return first, first.replace(day=monthrange(first.year, first.month)[1])
        day = datetime.now(UTC).date() - timedelta(days=int(ago[1])) if ago else date.fromisoformat(text)
    except (ValueError, OverflowError):
        raise click.BadParameter(
            f"{text!r} is no day: write 2026-11-01, 2026-11, or 7d for the last seven days"
        ) from None
    return day, day
