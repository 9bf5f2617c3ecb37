"""The ledger's SQLite file: its tables, its settings, and whether it is one of ours."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Iterator, Mapping
from pathlib import Path

from pipeline.errors import StateMismatch, StorageFailed, UsageError
from pipeline.storage.results import NO_TAIL
from pipeline.storage.state import storage_errors, sync_directory
from pipeline.types import Json

APPLICATION_ID = 0x70697065
VERSION = 2
_SCHEMA = """
CREATE TABLE meta(k TEXT PRIMARY KEY, v) WITHOUT ROWID;
CREATE TABLE progress(
    one INTEGER PRIMARY KEY CHECK (one = 1),
    out_off INT NOT NULL, tail BLOB NOT NULL, spent INT NOT NULL, unknown INT NOT NULL,
    next_attempt INT NOT NULL, ok INT NOT NULL);
CREATE TABLE chunk(
    n INTEGER PRIMARY KEY, start INT NOT NULL, "end" INT NOT NULL, lines INT NOT NULL, blank INT NOT NULL,
    digest BLOB NOT NULL);
CREATE TABLE done(n INTEGER PRIMARY KEY, bits BLOB NOT NULL);
CREATE TABLE inflight(attempt INTEGER PRIMARY KEY, lines TEXT NOT NULL, reserve INT NOT NULL, model TEXT NOT NULL,
    sent_at REAL NOT NULL);
CREATE TABLE failed(
    line INTEGER PRIMARY KEY, custom_id TEXT NOT NULL, code TEXT NOT NULL, message TEXT NOT NULL,
    attempts INT NOT NULL, first_at REAL, last_at REAL, record BLOB NOT NULL);
CREATE TABLE resent(line INTEGER PRIMARY KEY, ambiguous INT NOT NULL);
"""
_ROLLUP = """
CREATE TABLE rollup(
    run INT, day TEXT, asked TEXT, model TEXT, kind TEXT, requests INT NOT NULL, input INT NOT NULL,
    output INT NOT NULL, cached INT NOT NULL, cache_write INT NOT NULL, reasoning INT NOT NULL, cost INT NOT NULL,
    PRIMARY KEY (run, day, asked, model, kind)) WITHOUT ROWID;
"""
_FROM_VERSION_1 = f"""
ALTER TABLE rollup RENAME TO rollup_1;
{_ROLLUP}
INSERT INTO rollup
    SELECT 0, day, model, model, kind, requests, input, output, cached, cache_write, reasoning, cost FROM rollup_1;
DROP TABLE rollup_1;
"""  # noqa: S608 - no values
"""Version 1 added up all runs and did not say which model was asked for."""


def create_file(path: Path, meta: Mapping[str, Json]) -> None:
    """Create an empty ledger at `path`, which must not exist; it appears there whole or not at all.

    Raises:
        StorageFailed: The disk refused.
    """
    draft = path.with_name(path.name + ".new")
    with storage_errors("cannot create", path):
        for leftover in draft.parent.glob(draft.name + "*"):
            leftover.unlink()
        os.close(os.open(draft, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600))
    connection = connect(draft)
    with named_errors(path):
        connection.execute("BEGIN EXCLUSIVE")
        for statement in (_SCHEMA + _ROLLUP).split(";"):
            connection.execute(statement)
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version = {VERSION}")
        connection.execute("INSERT INTO progress VALUES (1, 0, ?, 0, 0, 1, 0)", (NO_TAIL,))
        connection.executemany("INSERT INTO meta VALUES (?, ?)", meta.items())
        connection.execute("COMMIT")
        # Closing would move it from the WAL into the file too, but without a word where that fails.
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        connection.close()
    with storage_errors("cannot create", path):
        draft.rename(path)
    sync_directory(path.parent)


def connect(path: Path) -> sqlite3.Connection:
    """Open a ledger for this process alone, every commit synced.

    Raises:
        StateMismatch: It is damaged.
        StorageFailed: The disk refused.
    """
    with named_errors(path):
        connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=0)
    try:
        for pragma in ("locking_mode=EXCLUSIVE", "journal_mode=WAL", "synchronous=FULL"):
            connection.execute(f"PRAGMA {pragma}").fetchone()
    except (sqlite3.DatabaseError, UnicodeDecodeError) as error:  # the second: it complains of a damaged text
        connection.close()
        if refused_by_the_disk(error):
            raise StorageFailed(f"cannot open {path}: {error}") from error
        raise StateMismatch(f"{path} is damaged ({error}); restore it, or use --repair") from error
    return connection


_DISK = frozenset(
    {
        sqlite3.SQLITE_BUSY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_LOCKED,
        sqlite3.SQLITE_NOMEM, sqlite3.SQLITE_PERM, sqlite3.SQLITE_READONLY,
    }
)  # fmt: skip


def refused_by_the_disk(error: Exception) -> bool:
    """Whether an error says that the file could not be read or written, and not that its content is wrong.

    A text that is no UTF-8 is an OperationalError too, but one that SQLite knows nothing of.
    """
    if not isinstance(error, sqlite3.OperationalError) or not hasattr(error, "sqlite_errorcode"):
        return False
    return error.sqlite_errorcode & 0xFF in _DISK


def check_file(connection: sqlite3.Connection, path: Path) -> None:
    """Check that a file is a whole ledger, and bring one of an earlier version to this.

    Raises:
        StateMismatch: It is no ledger of ours, or damaged.
        UsageError: A newer version of the program made it.
    """
    application = connection.execute("PRAGMA application_id").fetchone()[0]
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    if application != APPLICATION_ID:
        raise StateMismatch(
            f"{path} is not a ledger of this program; move it away, or choose another place with --state"
        )
    if version > VERSION:
        raise UsageError(f"{path} was made by a newer version of pipeline; update the program")
    problem = connection.execute("PRAGMA quick_check").fetchone()[0]
    if problem != "ok":
        raise StateMismatch(f"{path} is damaged ({problem}); restore it, or use --repair")
    if version < VERSION:
        _upgrade(connection)


def _upgrade(connection: sqlite3.Connection) -> None:
    """Bring a ledger of version 1 to this one, in one transaction."""
    connection.execute("BEGIN EXCLUSIVE")
    for statement in _FROM_VERSION_1.split(";"):
        connection.execute(statement)
    connection.execute(f"PRAGMA user_version = {VERSION}")
    connection.execute("COMMIT")


@contextlib.contextmanager
def named_errors(path: Path) -> Iterator[None]:
    """Translate an error of SQLite into StorageFailed that names the file."""
    try:
        yield
    except sqlite3.Error as error:
        name = getattr(error, "sqlite_errorname", type(error).__name__)
        raise StorageFailed(
            f"cannot write {path}: {error} ({name}); nothing more was sent, run again to resume"
        ) from error
