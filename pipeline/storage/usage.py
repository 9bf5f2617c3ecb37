"""The usage log: what all jobs of a user spent, by run, day, model, endpoint and job, in one SQLite file.

What it says of a run is what the run's ledger says, and never an increment: writing it again, or after a crash, changes
nothing, and the sum over the log is the sum over the ledgers. The log is a convenience: whatever happens to it, no job
may fail for it. Every method raises `UsageLogError` and nothing else, and the caller turns that into a notice.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any, Literal, NamedTuple

from pipeline.core.reconcile import Recorded
from pipeline.storage.usage_file import WAIT, UsageFile, UsageLogError, usage_log_path
from pipeline.storage.usage_rows import Kind, UsageRow, agree_with_ledger, first_day_kept, replace_run
from pipeline.storage.usage_runs import RunRow, end_dead_runs, forget_old_runs, latest_runs, write_run

__all__ = ["Grouping", "Kind", "RunRow", "UsageLog", "UsageLogError", "UsageRow", "UsageTotal", "usage_log_path"]

Grouping = Literal["day", "month", "model", "job", "name", "endpoint", "tag", "run"]

_GROUPS: Mapping[Grouping, tuple[str, str, str]] = {
    "day": ("day", "usage", "grouped"),
    "month": ("substr(day, 1, 7)", "usage", "grouped"),
    "model": ("model", "usage", "grouped"),
    "job": ("job", "usage", "grouped"),
    "name": ("name", "usage", "grouped"),
    "endpoint": ("endpoint", "usage", "grouped"),
    "tag": ("tag.value", "usage, json_each(iif(tags = '[]', '[\"\"]', tags)) AS tag", "grouped"),
    "run": ("name || ' ' || ledger_id || '-' || run_no", "usage", "name, ledger_id, run_no"),
}
"""What is grouped by, from which tables, and in which order. A row counts for each of its tags; without one, for the
empty tag. Run 0 of a ledger is all that it spent before runs were told apart, and what is older than the detail kept.
"""

_TOTALS = """
SELECT {key} AS grouped, sum(requests), sum(input), sum(cached), sum(cache_write), sum(output), sum(reasoning),
    sum(iif(kind = 'ok', cost_nusd, 0)), sum(iif(kind = 'retried', cost_nusd, 0)),
    sum(iif(kind = 'unknown', cost_nusd, 0)), sum(unpriced), sum(saved_nusd)
FROM {tables} WHERE day BETWEEN ? AND ? GROUP BY {order} ORDER BY {order}
"""

_RECORDED = """
SELECT day, model, sum(iif(kind = 'unknown', 0, requests)), sum(input), sum(cached), sum(output),
    sum(iif(kind = 'unknown', 0, cost_nusd)), sum(iif(kind = 'unknown', requests, 0)),
    sum(iif(kind = 'unknown', cost_nusd, 0)), sum(unpriced)
FROM usage WHERE day BETWEEN ?1 AND ?2 AND iif(?3 = '[]', 1, endpoint IN (SELECT value FROM json_each(?3)))
GROUP BY day, model ORDER BY day, model
"""


class UsageTotal(NamedTuple):
    """The sum over one day, model, job …"""

    key: str
    requests: int
    input: int
    cached: int
    cache_write: int
    output: int
    reasoning: int
    ok_nusd: int
    """Cost of requests answered at the first attempt."""
    retried_nusd: int
    """Cost of requests answered after a retry."""
    unknown_nusd: int
    """Upper bound of what was perhaps billed without an answer."""
    unpriced: int
    """Requests whose price is not known; their cost is in none of the sums."""
    saved_nusd: int = 0
    """What the cached input would have cost more at the full price of input."""


class UsageLog:
    """The usage log at `path`. Each call opens the file anew, so that any thread and any process may use it."""

    def __init__(self, path: Path, *, wait: float = WAIT) -> None:
        self._file = UsageFile(path, wait=wait)

    def begin_run(self, run: RunRow, rows: Sequence[UsageRow] = (), *, capped: bool = False) -> None:
        """Note that a run has begun, and make the log agree with its ledger. The run's lock must be held.

        Earlier runs of the output that have not ended are dead. Detail of more than 400 days is folded into months.

        Args:
            run: The run, as it stands; a short one may have ended already.
            rows: All that its ledger holds. What the log says of earlier runs keeps its names and tags.
            capped: Whether the run has a monthly cap to keep; where not, its ledger has no commitment any more.

        Raises:
            UsageLogError: Nothing was written.
        """
        with self._file.writing() as db:
            forget_old_runs(db, run.updated_at)
            end_dead_runs(db, run)
            write_run(db, run)
            agree_with_ledger(db, run.ledger_id, rows, run.updated_at)
            if not capped:
                db.execute("DELETE FROM commitment WHERE ledger_id = ?", (run.ledger_id,))

    def agree(self, ledger_id: str, rows: Sequence[UsageRow], *, now: float) -> None:
        """Make the log agree with a ledger of which no run goes on. Arguments as `begin_run` and `sync`.

        Raises:
            UsageLogError: Nothing was written.
        """
        with self._file.writing() as db:
            agree_with_ledger(db, ledger_id, rows, now)

    def sync_run(self, run: RunRow, rows: Sequence[UsageRow]) -> None:
        """Make the log say of a run that goes on what `run` and `rows`, all of this run, say.

        Raises:
            UsageLogError: Nothing was written.
        """
        first = first_day_kept(run.updated_at)  # what recovery booked on days before has been folded by `begin_run`
        with self._file.writing() as db:
            write_run(db, run)
            replace_run(db, run.ledger_id, run.run_no, [row for row in rows if row.day >= first], run.updated_at)

    def end_run(self, run: RunRow, rows: Sequence[UsageRow]) -> None:
        """Note how a run ended, and what it spent. Arguments as `sync_run`.

        Raises:
            UsageLogError: Nothing was written.
        """
        self.sync_run(run, rows)

    def runs(self, limit: int = 100) -> list[RunRow]:
        """Return the runs that began last, the latest first. Those whose process was killed are in the state `died`.

        Raises:
            UsageLogError: The log is there and cannot be read.
        """
        with self._file.reading() as db:
            return [] if db is None else latest_runs(db, limit)

    def sync(self, ledger_id: str, rows: Sequence[UsageRow], *, now: float) -> None:
        """Make the log say of this ledger's runs what `rows` say; runs not named stay as they are.

        Args:
            ledger_id: Identity of the ledger.
            rows: Totals by run, day, model, endpoint, job, name and kind.
            now: Seconds since the epoch.

        Raises:
            UsageLogError: Nothing was written.
        """
        with self._file.writing() as db:
            for run_no in sorted({row.run_no for row in rows}):
                replace_run(db, ledger_id, run_no, [row for row in rows if row.run_no == run_no], now)

    def totals(self, by: Grouping, since: date | None = None, until: date | None = None) -> list[UsageTotal]:
        """Return the sums by day, month, model …, in the order of their keys; from `since` to `until` (UTC).

        Raises:
            UsageLogError: The log is there and cannot be read.
        """
        key, tables, order = _GROUPS[by]
        statement = _TOTALS.format(key=key, tables=tables, order=order)
        return [UsageTotal(*row) for row in self._read(statement, *_days(since, until))]

    def total(self, since: date | None = None, until: date | None = None) -> UsageTotal:
        """Return the sum over everything from `since` to `until` (UTC); a row with several tags counts once.

        Raises:
            UsageLogError: The log is there and cannot be read.
        """
        found = self._read(_TOTALS.format(key="'total'", tables="usage", order="grouped"), *_days(since, until))
        return UsageTotal(*found[0]) if found else UsageTotal("total", *[0] * (len(UsageTotal._fields) - 1))

    def recorded(self, first: date, last: date, endpoints: Sequence[str] = ()) -> list[Recorded]:
        """Return what was recorded by day and model from `first` to `last`, of these endpoints or of all.

        Raises:
            UsageLogError: The log is there and cannot be read.
        """
        found = self._read(_RECORDED, first.isoformat(), last.isoformat(), json.dumps(list(endpoints)))
        return [Recorded(*row) for row in found]

    def _read(self, statement: str, *values: str) -> list[tuple[Any, ...]]:
        with self._file.reading() as db:
            return [] if db is None else db.execute(statement, values).fetchall()


def _days(since: date | None, until: date | None) -> tuple[str, str]:
    return (since or date.min).isoformat(), (until or date.max).isoformat()
