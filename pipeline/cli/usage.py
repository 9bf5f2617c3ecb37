"""`pipeline usage`: what all jobs have spent."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from typing import get_args

import click

from pipeline.cli.streams import say
from pipeline.cli.table import table
from pipeline.errors import StorageFailed
from pipeline.observers.progress import money
from pipeline.storage.usage import Grouping, UsageLog, UsageLogError, UsageTotal, usage_log_path

_DAYS_AGO = re.compile(r"(\d{1,5})d")


def _day(_context: click.Context, _option: click.Parameter, text: str | None) -> date | None:
    if text is None:
        return None
    ago = _DAYS_AGO.fullmatch(text)
    try:
        return datetime.now(UTC).date() - timedelta(days=int(ago[1])) if ago else date.fromisoformat(text)
    except (ValueError, OverflowError):
        raise click.BadParameter(f"{text!r} is no day: write 2026-11-01, or 7d for the last seven days") from None


@click.command()
@click.option("--by", type=click.Choice(get_args(Grouping)), default="day", show_default=True, help="One row for each.")
@click.option("--since", callback=_day, metavar="DATE", help="From this day (UTC) on: 2026-11-01, or 7d.")
@click.option("--json", "as_json", is_flag=True, help="One object on stdout.")
def usage(by: Grouping, since: date | None, as_json: bool) -> None:
    """Show what all jobs have spent, from the usage log.

    Example: pipeline usage --by model --since 30d
    """
    try:
        rows = UsageLog(usage_log_path(os.environ)).totals(by, since)
    except UsageLogError as error:
        raise StorageFailed(str(error)) from error
    if as_json:
        say(json.dumps(_as_dict(by, since, rows)), err=False)
    elif rows:
        say(_as_table(by, rows), err=False)
    else:
        say("The usage log holds nothing" + (f" since {since}." if since else " yet."))


def _as_dict(by: str, since: date | None, rows: Sequence[UsageTotal]) -> dict[str, object]:
    return {
        "schema_version": 1,
        "by": by,
        "since": since.isoformat() if since else None,
        "rows": [row._asdict() for row in rows],
    }


def _as_table(by: Grouping, rows: Sequence[UsageTotal]) -> str:
    """Return one row a group and, where no request stands in two of them, their sum."""
    shown = [_cells(row) for row in rows]
    if len(rows) > 1 and by != "tag":
        sums = [sum(numbers) for numbers in zip(*(row[1:] for row in rows), strict=True)]
        shown.append(_cells(UsageTotal("total", *sums)))
    return table([by, "requests", "input", "cached", "output", "spent", "retried", "unknown ≤", "unpriced"], shown)


def _cells(row: UsageTotal) -> list[str]:
    counts = [f"{count:,}" for count in (row.requests, row.input, row.cached, row.output)]
    sums = [money(nusd) for nusd in (row.ok_nusd + row.retried_nusd, row.retried_nusd, row.unknown_nusd)]
    return [row.key or "(none)", *counts, *sums, f"{row.unpriced:,}"]
