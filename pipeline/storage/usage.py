"""The usage log: what all jobs of a user spent, by day, model, endpoint and job, in one SQLite file.

A ledger is copied into it with absolute values, so that copying it twice, or again after a crash, changes nothing. The
log is a convenience: whatever happens to it, no job may fail for it. Every method raises `UsageLogError` and nothing
else, and the caller turns that into a notice.
"""

from __future__ import annotations

import json
import os
import sqlite3
import stat
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from datetime import date
from pathlib import Path
from typing import Any, Literal, NamedTuple

from pipeline.core.reconcile import Recorded

Kind = Literal["ok", "retried", "unknown"]
"""Answered at the first attempt; answered later; perhaps billed, but never answered."""

Grouping = Literal["day", "month", "model", "job", "name", "endpoint", "tag"]

_APPLICATION_ID = 0x70757367
_VERSION = 1
_WAIT = 5.0
"""Seconds that a writer waits for another."""

_SCHEMA = f"""
BEGIN;
CREATE TABLE usage(
    ledger_id TEXT NOT NULL, run_no INT NOT NULL, day TEXT NOT NULL, model TEXT NOT NULL, endpoint TEXT NOT NULL,
    job TEXT NOT NULL, name TEXT NOT NULL, kind TEXT NOT NULL, requests INT NOT NULL, input INT NOT NULL,
    cached INT NOT NULL, cache_write INT NOT NULL, output INT NOT NULL, reasoning INT NOT NULL, cost_nusd INT,
    price_source TEXT NOT NULL, tags TEXT NOT NULL, updated_at REAL NOT NULL,
    PRIMARY KEY (ledger_id, run_no, day, model, endpoint, job, name, kind)
) STRICT, WITHOUT ROWID;
CREATE INDEX usage_day ON usage(day);
PRAGMA application_id={_APPLICATION_ID};
PRAGMA user_version={_VERSION};
COMMIT;
"""

_GROUPS: Mapping[Grouping, tuple[str, str]] = {
    "day": ("day", "usage"),
    "month": ("substr(day, 1, 7)", "usage"),
    "model": ("model", "usage"),
    "job": ("job", "usage"),
    "name": ("name", "usage"),
    "endpoint": ("endpoint", "usage"),
    "tag": ("tag.value", "usage, json_each(iif(tags = '[]', '[\"\"]', tags)) AS tag"),
}
"""What is grouped by, and from which tables. A row counts for each of its tags; without one, for the empty tag."""

_TOTALS = """
SELECT {key} AS grouped, sum(requests), sum(input), sum(cached), sum(cache_write), sum(output), sum(reasoning),
    sum(iif(kind = 'ok', ifnull(cost_nusd, 0), 0)), sum(iif(kind = 'retried', ifnull(cost_nusd, 0), 0)),
    sum(iif(kind = 'unknown', ifnull(cost_nusd, 0), 0)), sum(iif(cost_nusd IS NULL, requests, 0))
FROM {tables} WHERE day >= ? GROUP BY grouped ORDER BY grouped
"""

_RECORDED = """
SELECT day, model, sum(iif(kind = 'unknown', 0, requests)), sum(input), sum(cached), sum(output),
    sum(iif(kind = 'unknown', 0, ifnull(cost_nusd, 0))), sum(iif(kind = 'unknown', requests, 0)),
    sum(iif(kind = 'unknown', ifnull(cost_nusd, 0), 0)), sum(iif(cost_nusd IS NULL, requests, 0))
FROM usage WHERE day BETWEEN ?1 AND ?2 AND iif(?3 = '[]', 1, endpoint IN (SELECT value FROM json_each(?3)))
GROUP BY day, model ORDER BY day, model
"""


class UsageLogError(Exception):
    """The usage log could not be written or read. No job fails for it: the caller shows a notice."""


class UsageRow(NamedTuple):
    """What one run spent on a model on a day. All numbers are totals of that run, not increments."""

    run_no: int
    day: str
    """In UTC, as `2026-11-21`."""
    model: str
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


def usage_log_path(environ: Mapping[str, str]) -> Path:
    """Return `usage.db` in `$PIPELINE_STATE`, else in the user's state folder (XDG); needs no `HOME`.

    Raises:
        UsageLogError: No folder is named and the user has no home.
    """
    if environ.get("PIPELINE_STATE"):
        return Path(environ["PIPELINE_STATE"]) / "usage.db"
    state = Path(environ.get("XDG_STATE_HOME", ""))
    if not state.is_absolute():
        home = Path(environ.get("HOME", ""))
        state = (home if home.is_absolute() else _home_on_record()) / ".local" / "state"
    return state / "pipeline" / "usage.db"


def _home_on_record() -> Path:
    import pwd  # noqa: PLC0415 - not on every system

    try:
        return Path(pwd.getpwuid(os.getuid()).pw_dir)
    except KeyError:
        raise UsageLogError("the user has no home: set PIPELINE_STATE to a folder for the usage log") from None


class UsageLog:
    """The usage log at `path`. Each call opens the file anew, so that any thread and any process may use it."""

    def __init__(self, path: Path, *, wait: float = _WAIT) -> None:
        self._path = path
        self._wait = wait

    def sync(self, ledger_id: str, rows: Sequence[UsageRow], *, now: float) -> None:
        """Make the log say of this ledger what `rows` say; rows not named stay as they are.

        Args:
            ledger_id: Identity of the ledger.
            rows: Totals by run, day, model, endpoint, job, name and kind.
            now: Seconds since the epoch.

        Raises:
            UsageLogError: Nothing was written.
        """
        values = [(ledger_id, *row[:-1], json.dumps(sorted(row.tags)), now) for row in rows]
        with self._translated():
            self._make_file()
            with closing(self._connect("rw")) as db, db:
                self._check(db)
                db.execute("PRAGMA synchronous=NORMAL")
                db.execute("BEGIN IMMEDIATE")
                db.executemany(f"REPLACE INTO usage VALUES ({', '.join('?' * 18)})", values)  # noqa: S608 - no values

    def totals(self, by: Grouping, since: date | None = None) -> list[UsageTotal]:
        """Return the sums by day, month, model …, in the order of their keys; from `since` (UTC) on.

        Raises:
            UsageLogError: The log is there and cannot be read.
        """
        key, tables = _GROUPS[by]
        return [UsageTotal(*row) for row in self._read(_TOTALS.format(key=key, tables=tables), _first_day(since))]

    def total(self, since: date | None = None) -> UsageTotal:
        """Return the sum over everything from `since` (UTC) on; a row with several tags counts once.

        Raises:
            UsageLogError: The log is there and cannot be read.
        """
        found = self._read(_TOTALS.format(key="'total'", tables="usage"), _first_day(since))
        return UsageTotal(*found[0]) if found else UsageTotal("total", *[0] * (len(UsageTotal._fields) - 1))

    def recorded(self, first: date, last: date, endpoints: Sequence[str] = ()) -> list[Recorded]:
        """Return what was recorded by day and model from `first` to `last`, of these endpoints or of all.

        Raises:
            UsageLogError: The log is there and cannot be read.
        """
        found = self._read(_RECORDED, first.isoformat(), last.isoformat(), json.dumps(list(endpoints)))
        return [Recorded(*row) for row in found]

    def _read(self, statement: str, *values: str) -> list[tuple[Any, ...]]:
        with self._translated():
            if not self._path.exists():
                return []
            with closing(self._connect("ro")) as db:
                self._check(db)
                return db.execute(statement, values).fetchall()

    def _make_file(self) -> None:
        """Put an empty log, complete and for the owner's eyes only, in its place, unless one is there."""
        try:
            status = self._path.lstat()
        except FileNotFoundError:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            _link_new(self._path)
            return
        if not stat.S_ISREG(status.st_mode):
            raise UsageLogError(f"{self._path} is no regular file")
        if status.st_mode & 0o077:
            self._path.chmod(0o600)

    def _connect(self, mode: str) -> sqlite3.Connection:
        uri = f"{self._path.absolute().as_uri()}?mode={mode}"
        return sqlite3.connect(uri, uri=True, timeout=self._wait, isolation_level=None)

    def _check(self, db: sqlite3.Connection) -> None:
        if db.execute("PRAGMA application_id").fetchone()[0] != _APPLICATION_ID:
            raise UsageLogError(f"{self._path} is no usage log")
        if db.execute("PRAGMA user_version").fetchone()[0] > _VERSION:
            raise UsageLogError(f"{self._path} was made by a newer version of pipeline; update the program")

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError, OverflowError, UnicodeError) as error:
            raise UsageLogError(f"the usage log {self._path}: {error}") from error


def _first_day(since: date | None) -> str:
    return since.isoformat() if since else ""


def _link_new(path: Path) -> None:
    # Two processes that switch one file to WAL at once lock each other out, so each makes its own and one wins.
    descriptor, name = tempfile.mkstemp(prefix=".usage-", dir=path.parent)
    os.close(descriptor)
    try:
        with closing(sqlite3.connect(name, isolation_level=None)) as db:
            db.execute("PRAGMA journal_mode=WAL")
            db.executescript(_SCHEMA)
        with suppress(FileExistsError):
            os.link(name, path)
    finally:
        Path(name).unlink()
