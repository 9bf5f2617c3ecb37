"""The runs in the usage log: one row each, which tells a dashboard what runs and how the last runs ended."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path
from typing import Any, NamedTuple

from pipeline.storage.state import Places, lock_holder

KEPT_DAYS = 400
"""Days for which runs, and what each spent, are kept apart."""
_DAY = 86_400


class RunRow(NamedTuple):
    """One run, as it stands or as it ended. Numbers are of this run alone, times are seconds since the epoch."""

    ledger_id: str
    run_no: int
    pid: int
    config: str
    """The path of its config."""
    job: str
    name: str
    endpoint: str
    model: str
    """Empty where every line brings its own."""
    output: str
    state_dir: str
    """Where its lock and its `status.json` are."""
    tags: tuple[str, ...]
    """As `key=value`."""
    started_at: float
    updated_at: float
    """When it last said something."""
    ended_at: float | None = None
    state: str = "running"
    """`running`, `complete`, `stopped`, `interrupted`, `failed`, or `died` without a last word."""
    exit_code: int | None = None
    records_total: int | None = None
    """Of the input, over all runs; None until it was read to its end."""
    records_ok: int = 0
    records_failed: int = 0
    spent_nusd: int = 0
    unknown_nusd: int = 0

    @property
    def is_dead(self) -> bool:
        """Whether it says that it is running and nobody holds its lock."""
        places = Places(Path(self.output), Path(self.state_dir))
        return self.state == "running" and lock_holder(places.lock) is None


_COLUMNS = ", ".join(RunRow._fields)
_TAGS = RunRow._fields.index("tags")
_WRITE = f"REPLACE INTO run({_COLUMNS}) VALUES ({', '.join('?' * len(RunRow._fields))})"  # noqa: S608 - no values
_LATEST = f"SELECT {_COLUMNS} FROM run ORDER BY started_at DESC, ledger_id, run_no DESC LIMIT ?"  # noqa: S608 - no values


def write_run(db: sqlite3.Connection, run: RunRow) -> None:
    """Make the log say of the run what `run` says."""
    db.execute(_WRITE, (*run[:_TAGS], json.dumps(sorted(run.tags)), *run[_TAGS + 1 :]))


def end_dead_runs(db: sqlite3.Connection, run: RunRow) -> None:
    """Mark earlier runs of the ledger, or of the state directory, that still say that they are running.

    The lock of `run` is held, so they are not.
    """
    db.execute(
        "UPDATE run SET state = 'died', ended_at = updated_at WHERE state = 'running' "
        "AND (ledger_id = ? OR state_dir = ?) AND NOT (ledger_id = ? AND run_no = ?)",
        (run.ledger_id, run.state_dir, run.ledger_id, run.run_no),
    )


def forget_old_runs(db: sqlite3.Connection, now: float) -> None:
    """Delete the rows of runs that began so long ago that their spend is no longer told apart."""
    db.execute("DELETE FROM run WHERE started_at < ?", (now - KEPT_DAYS * _DAY,))


def latest_runs(db: sqlite3.Connection, limit: int) -> list[RunRow]:
    """Return the runs that began last, the latest first; one that was killed as `died`."""
    return [_looked_at(row) for row in db.execute(_LATEST, (limit,))]


def _looked_at(stored: tuple[Any, ...]) -> RunRow:
    run = RunRow._make((*stored[:_TAGS], tuple(json.loads(stored[_TAGS])), *stored[_TAGS + 1 :]))
    return run._replace(state="died", ended_at=run.updated_at) if run.is_dead else run
