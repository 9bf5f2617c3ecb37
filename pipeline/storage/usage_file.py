"""The SQLite file that all jobs of a user share: where it lies, its tables, and how it is opened."""

from __future__ import annotations

import os
import sqlite3
import stat
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from pathlib import Path

_APPLICATION_ID = 0x70757367
_VERSION = 2
WAIT = 5.0
"""Seconds that a writer waits for another."""

_TABLES = """
CREATE TABLE usage(
    ledger_id TEXT NOT NULL, run_no INT NOT NULL, day TEXT NOT NULL, asked TEXT NOT NULL, model TEXT NOT NULL,
    endpoint TEXT NOT NULL, job TEXT NOT NULL, name TEXT NOT NULL, tags TEXT NOT NULL, kind TEXT NOT NULL,
    requests INT NOT NULL, input INT NOT NULL, cached INT NOT NULL, cache_write INT NOT NULL, output INT NOT NULL,
    reasoning INT NOT NULL, cost_nusd INT NOT NULL, saved_nusd INT NOT NULL, unpriced INT NOT NULL,
    price_source TEXT NOT NULL, updated_at REAL NOT NULL,
    PRIMARY KEY (ledger_id, run_no, day, asked, model, endpoint, job, name, tags, kind)
) STRICT, WITHOUT ROWID;
CREATE INDEX usage_day ON usage(day);
CREATE TABLE run(
    ledger_id TEXT NOT NULL, run_no INT NOT NULL, pid INT NOT NULL, config TEXT NOT NULL, job TEXT NOT NULL,
    name TEXT NOT NULL, endpoint TEXT NOT NULL, model TEXT NOT NULL, output TEXT NOT NULL, state_dir TEXT NOT NULL,
    tags TEXT NOT NULL, started_at REAL NOT NULL, updated_at REAL NOT NULL, ended_at REAL, state TEXT NOT NULL,
    exit_code INT, records_total INT, records_ok INT NOT NULL, records_failed INT NOT NULL, spent_nusd INT NOT NULL,
    unknown_nusd INT NOT NULL,
    PRIMARY KEY (ledger_id, run_no)
) STRICT, WITHOUT ROWID;
CREATE INDEX run_started ON run(started_at);
CREATE TABLE commitment(
    ledger_id TEXT NOT NULL, month TEXT NOT NULL, endpoint TEXT NOT NULL, asked TEXT NOT NULL, spent_nusd INT NOT NULL,
    held_nusd INT NOT NULL, lock TEXT NOT NULL, updated_at REAL NOT NULL,
    PRIMARY KEY (month, ledger_id, endpoint, asked)
) STRICT, WITHOUT ROWID;
"""
_CREATE = f"""
BEGIN;
{_TABLES}
PRAGMA application_id={_APPLICATION_ID};
PRAGMA user_version={_VERSION};
COMMIT;
"""
_FROM_VERSION_1 = f"""
DROP INDEX usage_day;
ALTER TABLE usage RENAME TO usage_1;
{_TABLES}
INSERT INTO usage
    SELECT ledger_id, run_no, day, model, model, endpoint, job, name, tags, kind, requests, input, cached, cache_write,
        output, reasoning, ifnull(cost_nusd, 0), 0, iif(cost_nusd IS NULL, requests, 0), price_source, updated_at
    FROM usage_1;
DROP TABLE usage_1;
PRAGMA user_version={_VERSION};
"""  # noqa: S608 - no values
"""Version 1 had no runs and no commitments, and a cost of NULL where the price was not known."""


class UsageLogError(Exception):
    """The usage log could not be written or read. Only a run that has a monthly cap to keep may fail for it."""


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


class UsageFile:
    """The file at `path`. A connection belongs to one thread at a time.

    Args:
        path: Made where it does not exist, as soon as something is written.
        wait: Seconds to wait for another writer.
    """

    def __init__(self, path: Path, *, wait: float = WAIT) -> None:
        self.path = path
        self._wait = wait

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection | None]:
        """Open it for a look; None where there is no file.

        Raises:
            UsageLogError: It is there and cannot be read.
        """
        with self.translated():
            if not self.path.exists():
                yield None
                return
            with closing(self._connect("ro")) as db:
                if self._version(db) == _VERSION:
                    yield db
                    return
            with closing(self.open()) as db:
                yield db

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """Open it for one transaction, which is seen by all others as a whole.

        Raises:
            UsageLogError: Nothing was written.
        """
        with self.translated(), closing(self.open()) as db, db:
            db.execute("PRAGMA synchronous=NORMAL")
            db.execute("BEGIN IMMEDIATE")
            yield db

    def open(self) -> sqlite3.Connection:
        """Open the file for writing, made or brought to this version where need be; within `translated`."""
        self._make()
        db = self._connect("rw")
        try:
            if self._version(db) < _VERSION:
                self._upgrade(db)
        except BaseException:
            db.close()
            raise
        return db

    @contextmanager
    def translated(self) -> Iterator[None]:
        """Translate what SQLite and the system raise into UsageLogError."""
        try:
            yield
        except (sqlite3.Error, OSError, OverflowError, UnicodeError) as error:
            raise UsageLogError(f"the usage log {self.path}: {error}") from error

    def _make(self) -> None:
        """Put an empty log, complete and for the owner's eyes only, in its place, unless one is there."""
        try:
            status = self.path.lstat()
        except FileNotFoundError:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            _link_new(self.path)
            return
        if not stat.S_ISREG(status.st_mode):
            raise UsageLogError(f"{self.path} is no regular file")
        if status.st_mode & 0o077:
            self.path.chmod(0o600)

    def _connect(self, mode: str) -> sqlite3.Connection:
        uri = f"{self.path.absolute().as_uri()}?mode={mode}"
        return sqlite3.connect(uri, uri=True, timeout=self._wait, isolation_level=None, check_same_thread=False)

    def _version(self, db: sqlite3.Connection) -> int:
        if db.execute("PRAGMA application_id").fetchone()[0] != _APPLICATION_ID:
            raise UsageLogError(f"{self.path} is no usage log")
        version: int = db.execute("PRAGMA user_version").fetchone()[0]
        if version > _VERSION:
            raise UsageLogError(f"{self.path} was made by a newer version of pipeline; update the program")
        return version

    def _upgrade(self, db: sqlite3.Connection) -> None:
        with db:
            db.execute("BEGIN IMMEDIATE")
            if self._version(db) < _VERSION:  # nobody else did it meanwhile
                for statement in _FROM_VERSION_1.split(";"):
                    db.execute(statement)


def _link_new(path: Path) -> None:
    # Two processes that switch one file to WAL at once lock each other out, so each makes its own and one wins.
    descriptor, name = tempfile.mkstemp(prefix=".usage-", dir=path.parent)
    os.close(descriptor)
    try:
        with closing(sqlite3.connect(name, isolation_level=None)) as db:
            db.execute("PRAGMA journal_mode=WAL")
            db.executescript(_CREATE)
        with suppress(FileExistsError):
            os.link(name, path)
    finally:
        Path(name).unlink()
