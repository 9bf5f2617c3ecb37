"""Days as the user writes them."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta

import click

_DAYS_AGO = re.compile(r"(\d{1,5})d", re.ASCII)


def day(_context: click.Context, _option: click.Parameter, text: str | None) -> date | None:
    """Return the day (UTC) that an option names: `2026-11-01`, or `7d` for seven days ago."""
    if text is None:
        return None
    ago = _DAYS_AGO.fullmatch(text)
    try:
        return datetime.now(UTC).date() - timedelta(days=int(ago[1])) if ago else date.fromisoformat(text)
    except (ValueError, OverflowError):
        raise click.BadParameter(f"{text!r} is no day: write 2026-11-01, or 7d for the last seven days") from None
