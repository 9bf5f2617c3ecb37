"""`pipeline usage`: what all jobs have spent, and whether the provider says the same."""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Sequence
from datetime import date
from typing import get_args

import click
from click.core import ParameterSource

from pipeline.cli.days import first_day, last_day
from pipeline.cli.reconcile import reconcile
from pipeline.cli.streams import say
from pipeline.cli.table import table
from pipeline.errors import StorageFailed
from pipeline.observers.log import printable
from pipeline.observers.progress import money
from pipeline.storage.usage import Grouping, UsageLog, UsageLogError, UsageTotal, usage_log_path

_HEAD = (
    "requests", "input", "cached", "written", "output", "reasoning", "spent", "retried", "unknown ≤", "saved",
    "unpriced",
)  # fmt: skip


@click.group(invoke_without_command=True)
@click.option("--by", type=click.Choice(get_args(Grouping)), default="day", show_default=True, help="One row for each.")
@click.option("--since", callback=first_day, metavar="DATE", help="From this day (UTC) on: 2026-11-01, 2026-11, or 7d.")
@click.option("--until", callback=last_day, metavar="DATE", help="To this day, or to the end of this month.")
@click.option("--csv", "as_csv", is_flag=True, help="Rows on stdout, money in nano-USD.")
@click.option("--json", "as_json", is_flag=True, help="One object on stdout, money in nano-USD.")
@click.pass_context
def usage(
    context: click.Context, by: Grouping, since: date | None, until: date | None, as_csv: bool, as_json: bool
) -> None:
    """Show what all jobs have spent, from the usage log.

    With --by tag a job counts in full under each of its tags, so the rows may add up to more than the total. Saved is
    what cached input would have cost more at the full price. Runs are kept apart for 400 days, then by month.

    Examples:
      pipeline usage --by model --since 30d
      pipeline usage --by job --since 2026-10 --until 2026-10
    """
    if context.invoked_subcommand is not None:
        _refuse_own_options(context)
        return
    if as_csv and as_json:
        raise click.UsageError("--csv and --json exclude each other")
    if since and until and until < since:
        raise click.UsageError(f"there is no day from {since} to {until}")
    try:
        log = UsageLog(usage_log_path(os.environ))
        rows = log.totals(by, since, until)
        # No request stands in two rows, except under two tags.
        total = log.total(since, until) if by == "tag" else _sum(rows)
    except UsageLogError as error:
        raise StorageFailed(str(error)) from error
    if as_json:
        say(json.dumps(_as_dict(by, since, until, rows, total)), err=False)
    elif as_csv:
        say(_as_csv(by, rows), err=False)
    elif rows:
        say(_as_table(by, rows, total), err=False)
    else:
        say(f"The usage log holds nothing{_between(since, until)}.")


usage.add_command(reconcile)


def _refuse_own_options(context: click.Context) -> None:
    for name in context.params:
        if context.get_parameter_source(name) is not ParameterSource.DEFAULT:
            raise click.UsageError(
                f"--{name.removeprefix('as_')} belongs after {context.invoked_subcommand}, if at all"
            )


def _between(since: date | None, until: date | None) -> str:
    return (f" since {since}" if since else "") + (f" until {until}" if until else "") or " yet"


def _sum(rows: Sequence[UsageTotal]) -> UsageTotal:
    numbers: list[tuple[int, ...]] = [row[1:] for row in rows] or [(0,) * (len(UsageTotal._fields) - 1)]
    return UsageTotal("total", *(sum(column) for column in zip(*numbers, strict=True)))


def _as_dict(
    by: str, since: date | None, until: date | None, rows: Sequence[UsageTotal], total: UsageTotal
) -> dict[str, object]:
    return {
        "schema_version": 1,
        "by": by,
        "since": since.isoformat() if since else None,
        "until": until.isoformat() if until else None,
        "rows": [row._asdict() for row in rows],
        "total": total._asdict(),
    }


def _as_csv(by: str, rows: Sequence[UsageTotal]) -> str:
    """Return a head and the rows, without their sum."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([by, *UsageTotal._fields[1:]])
    for row in rows:
        writer.writerow([_not_a_formula(row.key), *row[1:]])
    return text.getvalue().removesuffix("\n")


def _not_a_formula(name: str) -> str:
    """Return a name that a spreadsheet takes as text. Models are named by servers, so a name may be anything."""
    return f"'{name}" if name.lstrip()[:1] in ("=", "+", "-", "@") or name[:1] in ("\t", "\r") else name


def _as_table(by: Grouping, rows: Sequence[UsageTotal], total: UsageTotal) -> str:
    """Return one row a group and, where there are several, the total."""
    shown = [_cells(row) for row in rows]
    if len(rows) > 1:
        shown.append(_cells(total))
    return table([by, *_HEAD], shown)


def _cells(row: UsageTotal) -> list[str]:
    counts = [row.requests, row.input, row.cached, row.cache_write, row.output, row.reasoning]
    sums = [row.ok_nusd + row.retried_nusd, row.retried_nusd, row.unknown_nusd, row.saved_nusd]
    shown = [*(f"{count:,}" for count in counts), *map(money, sums), f"{row.unpriced:,}"]
    return [printable(row.key) or "(none)", *shown]
