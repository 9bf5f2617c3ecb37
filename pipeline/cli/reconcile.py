"""`pipeline usage reconcile`: the usage log against a provider's usage export."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Sequence
from datetime import date
from fractions import Fraction
from pathlib import Path

import click

from pipeline.cli.days import first_day, last_day
from pipeline.cli.streams import say
from pipeline.cli.table import table
from pipeline.core.reconcile import Comparison, Quantity, Verdict
from pipeline.core.reconcile import reconcile as compare
from pipeline.errors import StorageFailed, UsageError
from pipeline.observers.log import printable
from pipeline.observers.progress import money
from pipeline.storage.usage import UsageLog, UsageLogError, usage_log_path
from pipeline.storage.usage_export import Export, read_export

_MORE_BILLED = 3
_PERCENT = re.compile(r"(\d{1,3}(?:\.\d{1,6})?)%|0", re.ASCII)
_WORDS: dict[Verdict, str] = {
    "log_only": "only in the log",
    "export_only": "only in the export",
    "more": "more billed",
    "less": "less billed",
}


def _share(_context: click.Context, _option: click.Parameter, text: str) -> Fraction:
    percent = _PERCENT.fullmatch(text)
    if percent is None:
        raise click.BadParameter(f"{text!r} is no share: write 1%, 0.5% or 0")
    return Fraction(percent[1] or 0) / 100


@click.command(short_help="Compare the usage log with a provider's usage export.")
@click.argument("files", metavar="FILE...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--since", callback=first_day, metavar="DATE", help="From this day (UTC) on; else from the export's first."
)
@click.option("--until", callback=last_day, metavar="DATE", help="To this day; else to the export's last.")
@click.option(
    "--tolerance",
    callback=_share,
    metavar="PERCENT",
    default="1%",
    show_default=True,
    help="A difference up to this is none.",
)
@click.option("--endpoint", "endpoints", multiple=True, metavar="NAME", help="Only what this endpoint was sent.")
@click.option("--json", "as_json", is_flag=True, help="One object on stdout, money in nano-USD.")
def reconcile(
    files: Sequence[Path],
    since: date | None,
    until: date | None,
    tolerance: Fraction,
    endpoints: Sequence[str],
    as_json: bool,
) -> int:
    """Compare the usage log with a provider's usage export, by day and model.

    FILE is JSON of OpenAI's usage API (completions, embeddings) or costs API, or a CSV with the columns date, model,
    requests, input_tokens, output_tokens and cost, or some of them. Several files, such as tokens and costs, are one
    export. Export with one API key, or one project, that only pipeline uses.

    Exit codes: 0 nothing was billed that is not in the log, 3 more was billed than recorded, 2 a file is refused.

    Example: pipeline usage reconcile usage.json costs.json --endpoint openai
    """
    export = _joined([read_export(path) for path in files])
    first = since or date.fromisoformat(min(export.days))
    last = until or date.fromisoformat(max(export.days))
    if last < first:
        raise UsageError(f"no day is compared: {last} is before {first}")
    billed = [line for line in export.lines if first.isoformat() <= line.day <= last.isoformat()]
    try:
        log = UsageLog(usage_log_path(os.environ))
        _refuse_unknown(endpoints, [total.key for total in log.totals("endpoint")])
        compared = compare(log.recorded(first, last, endpoints), billed, tolerance)
    except UsageLogError as error:
        raise StorageFailed(str(error)) from error
    if export.more_pages:
        say(f"The export says that more pages follow it; compared is what it holds, {first} to {last}.")
    shown = _as_json if as_json else _as_text
    say(shown(first, last, tolerance, compared), err=False)
    return _MORE_BILLED if any(each.billed_above for each in compared) else 0


def _joined(exports: Sequence[Export]) -> Export:
    return Export(
        [line for export in exports for line in export.lines],
        frozenset().union(*(export.days for export in exports)),
        any(export.more_pages for export in exports),
    )


def _refuse_unknown(endpoints: Sequence[str], known: Sequence[str]) -> None:
    for name in endpoints:
        if name not in known:
            raise UsageError(f"the usage log knows no endpoint {name!r}, only {', '.join(known) or 'none at all'}")


def _as_json(first: date, last: date, tolerance: Fraction, compared: Sequence[Comparison]) -> str:
    shape = {
        "schema_version": 1,
        "since": first.isoformat(),
        "until": last.isoformat(),
        "tolerance_percent": float(tolerance * 100),
        "compared": len(compared),
        "more_billed": any(each.billed_above for each in compared),
        "unpriced": sum(each.unpriced for each in compared),
        "cost_nusd": _numbers(_whole(compared)),
        "differences": [_difference(each) for each in compared if each.verdict != "agrees"],
    }
    return json.dumps(shape)


def _difference(each: Comparison) -> dict[str, object]:
    numbers: dict[str, object] = {number.name: _numbers(number) for number in each.quantities}
    return {"day": each.day, "model": each.model, "verdict": each.verdict, **numbers}


def _numbers(number: Quantity) -> dict[str, int | None]:
    return {
        "known": number.known,
        "most": number.most,
        "billed": number.billed,
        "difference": number.difference,
        "explained_by_unknown": number.explained,
    }


def _as_text(first: date, last: date, tolerance: Fraction, compared: Sequence[Comparison]) -> str:
    differing = [each for each in compared if each.verdict != "agrees"]
    agree = f"{first} to {last}: {len(compared) - len(differing)} of {len(compared)} days and models agree."
    last_line = " ".join([agree, *_remarks(compared)])
    rows = [_cells(each, number, word) for each in differing for number, word in _named(each, tolerance)]
    head = ["day", "model", "", "of", "log", "export", "difference", "unknown not billed"]
    return f"{table(head, rows)}\n{last_line}" if rows else last_line


def _named(each: Comparison, tolerance: Fraction) -> Iterator[tuple[Quantity, str]]:
    """Yield the numbers that differ, and how."""
    for number in each.quantities:
        own = number.verdict(tolerance)
        if own != "agrees":
            yield number, _WORDS[own if each.verdict in ("more", "less") else each.verdict]


def _cells(each: Comparison, number: Quantity, word: str) -> list[str]:
    is_money = number.name == "cost_nusd"
    apart = abs(number.difference)
    values = (number.recorded, number.billed, apart, number.explained)
    log, export, difference, explained = (_signed(value) if is_money else f"{value:,}" for value in values)
    sign = "+" if number.difference > 0 else "-"
    what = "cost" if is_money else number.name
    return [each.day, printable(each.model), word, what, log, export, sign + difference, explained]


def _remarks(compared: Sequence[Comparison]) -> Iterator[str]:
    cost = _whole(compared)
    if cost.recorded or cost.billed:
        yield f"In all, {money(cost.recorded)} was recorded and {_signed(cost.billed)} billed."
    if cost.recorded > cost.known:
        yield f"Of at most {money(cost.recorded - cost.known)} unknown, {money(cost.explained)} was not billed."
    unpriced = sum(each.unpriced for each in compared)
    if unpriced:
        yield f"{unpriced:,} requests have no known price: their cost was not compared."


def _whole(compared: Sequence[Comparison]) -> Quantity:
    """Return the cost of everything. It may agree where days differ: an unknown is recorded when it is found."""
    costs = [number for each in compared for number in each.quantities if number.name == "cost_nusd"]
    known, billed = sum(cost.known for cost in costs), sum(cost.billed for cost in costs)
    return Quantity("cost_nusd", known, sum(cost.recorded for cost in costs), billed)


def _signed(nusd: int) -> str:
    return f"-{money(-nusd)}" if nusd < 0 else money(nusd)
