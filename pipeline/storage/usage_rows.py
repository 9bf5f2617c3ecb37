"""The spend in the usage log: what one run spent on a model on a day, by kind.

Days that are long past are thinned: their rows become one a month of the ledger's run 0, and no sum changes.
"""

from __future__ import annotations

import json
import sqlite3
from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Literal, NamedTuple

from pipeline.storage.usage_runs import KEPT_DAYS

Kind = Literal["ok", "retried", "unknown"]
"""Answered at the first attempt; answered later; perhaps billed, but never answered."""

_NAMES = ("ledger_id", "run_no", "day", "asked", "model", "endpoint", "job", "name", "tags", "kind")
_NUMBERS = (
    "requests", "input", "cached", "cache_write", "output", "reasoning", "cost_nusd", "saved_nusd", "unpriced",
)  # fmt: skip
_OF_LEDGER = 7
"""How many of the numbers a ledger has; the others follow from prices."""
_REST = ("price_source", "updated_at")
_COLUMNS = ", ".join((*_NAMES, *_NUMBERS, *_REST))
_INSERT = f"INSERT INTO usage({_COLUMNS}) VALUES ({', '.join('?' * len(_COLUMNS.split(', ')))})"  # noqa: S608 - no values
_IS_OLD = "day < ?1 AND NOT (run_no = 0 AND substr(day, 9) = '01')"
_THIN = f"""
INSERT INTO usage({_COLUMNS})
    SELECT ledger_id, 0, substr(day, 1, 7) || '-01', asked, model, endpoint, job, name, tags, kind,
        {", ".join(f"sum({number})" for number in _NUMBERS)}, max(price_source), max(updated_at)
    FROM usage WHERE {_IS_OLD}
    GROUP BY ledger_id, substr(day, 1, 7), asked, model, endpoint, job, name, tags, kind
    ON CONFLICT DO UPDATE SET {", ".join(f"{number} = {number} + excluded.{number}" for number in _NUMBERS)}
"""  # noqa: S608 - no values


class UsageRow(NamedTuple):
    """What one run spent on a model on a day. All numbers are totals of that run, not increments."""

    run_no: int
    day: str
    """In UTC, as `2026-11-21`."""
    model: str
    """The one that answered."""
    endpoint: str
    job: str
    name: str
    kind: Kind
    requests: int
    input: int
    cached: int
    cache_write: int
    output: int
    reasoning: int
    cost_nusd: int | None
    """None where the price is not known."""
    price_source: str
    tags: tuple[str, ...] = ()
    """As `key=value`."""
    saved_nusd: int = 0
    """What the cached input would have cost more at the full price of input."""
    asked: str = ""
    """The model in the requests; empty where it is the one that answered."""


_Group = tuple[int, str, str, str, str]
"""Run, day, model asked for, model that answered, kind: what one row of a ledger is."""


class _Stored(NamedTuple):
    """A row as the file has it."""

    group: _Group
    names: tuple[str, str, str, str]
    """Endpoint, job, name and tags."""
    numbers: tuple[int, ...]
    price_source: str


def replace_run(db: sqlite3.Connection, ledger_id: str, run_no: int, rows: Iterable[UsageRow], now: float) -> None:
    """Make the log say of one run what `rows` say, and nothing else."""
    db.execute("DELETE FROM usage WHERE ledger_id = ? AND run_no = ?", (ledger_id, run_no))
    _insert(db, ledger_id, [_stored(row) for row in rows], now)


def agree_with_ledger(db: sqlite3.Connection, ledger_id: str, rows: Sequence[UsageRow], now: float) -> None:
    """Thin the log, and make it say of a ledger what `rows`, all that it holds, say.

    Where the two agree already, which they do unless a run was killed, nothing is written. Where not, the numbers
    are the ledger's, and endpoint, job, name and tags are those that the log has for the run.
    """
    first = first_day_kept(now)
    thin(db, first)
    told = _grouped(_in_its_group(_stored(row), first) for row in rows)
    known = _grouped(_known(db, ledger_id))
    names = {group[0]: stored[-1].names for group, stored in known.items()} | _names_of_runs(db, ledger_id)
    for group in told.keys() | known.keys():
        if _sum(told[group])[:_OF_LEDGER] == _sum(known[group])[:_OF_LEDGER]:
            continue
        db.execute(
            "DELETE FROM usage WHERE ledger_id = ? AND run_no = ? AND day = ? AND asked = ? AND model = ? AND kind = ?",
            (ledger_id, *group),
        )
        if told[group]:
            row = told[group][-1]
            own = known[group][-1].names if known[group] else names.get(group[0], row.names)
            _insert(db, ledger_id, [row._replace(numbers=_sum(told[group]), names=own)], now)


def thin(db: sqlite3.Connection, first: str) -> None:
    """Fold rows of days before `first` into one a month, ledger, model, endpoint, job, name and kind."""
    db.execute(_THIN, (first,))
    db.execute(f"DELETE FROM usage WHERE {_IS_OLD}", (first,))  # noqa: S608 - no values


def first_day_kept(now: float) -> str:
    """Return the first day whose rows are not folded into their month."""
    day = (datetime.fromtimestamp(now, UTC) - timedelta(days=KEPT_DAYS)).date()
    return day.replace(day=1).isoformat()


def _stored(row: UsageRow) -> _Stored:
    cost, unpriced = (0, row.requests) if row.cost_nusd is None else (row.cost_nusd, 0)
    tokens = (row.input, row.cached, row.cache_write, row.output, row.reasoning)
    return _Stored(
        (row.run_no, row.day, row.asked or row.model, row.model, row.kind),
        (row.endpoint, row.job, row.name, json.dumps(sorted(row.tags))),
        (row.requests, *tokens, cost, row.saved_nusd, unpriced),
        row.price_source,
    )


def _in_its_group(row: _Stored, first: str) -> _Stored:
    """The row as it stands in a thinned log."""
    _, day, asked, model, kind = row.group
    return row if day >= first else row._replace(group=(0, f"{day[:7]}-01", asked, model, kind))


def _grouped(rows: Iterable[_Stored]) -> defaultdict[_Group, list[_Stored]]:
    groups: defaultdict[_Group, list[_Stored]] = defaultdict(list)
    for row in rows:
        groups[row.group].append(row)
    return groups


def _sum(rows: Sequence[_Stored]) -> tuple[int, ...]:
    return tuple(sum(column) for column in zip(*(row.numbers for row in rows), strict=True))


def _known(db: sqlite3.Connection, ledger_id: str) -> Iterable[_Stored]:
    """What the log says of a ledger, the latest last."""
    found = db.execute(
        f"SELECT run_no, day, asked, model, kind, endpoint, job, name, tags, {', '.join(_NUMBERS)}, price_source "  # noqa: S608 - no values
        "FROM usage WHERE ledger_id = ? ORDER BY updated_at",
        (ledger_id,),
    )
    return [_Stored(row[:5], row[5:9], row[9:-1], row[-1]) for row in found]


def _names_of_runs(db: sqlite3.Connection, ledger_id: str) -> dict[int, tuple[str, str, str, str]]:
    found = db.execute("SELECT run_no, endpoint, job, name, tags FROM run WHERE ledger_id = ?", (ledger_id,))
    return {row[0]: row[1:] for row in found}


def _insert(db: sqlite3.Connection, ledger_id: str, rows: Iterable[_Stored], now: float) -> None:
    db.executemany(
        _INSERT,
        [(ledger_id, *row.group[:4], *row.names, row.group[4], *row.numbers, row.price_source, now) for row in rows],
    )
