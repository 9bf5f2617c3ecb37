"""The ledger: progress and money of one output, in one SQLite file that one thread owns.

Invariants, each checked by `check`:

    I1  bytes [0, out_off) of the output are whole lines, one per record with a result
    I2  spent + unknown + reserved never exceeds the hard budget because of a new reservation
    I3  every request that was ever on the wire has a durable `inflight` row first
    I4  what is recorded is never below what the provider billed
    I5  a record whose answer reached the disk is never sent again
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import orjson

from pipeline.core.budget import Budget
from pipeline.earlier import Where
from pipeline.errors import BudgetReached, StateMismatch, StorageFailed
from pipeline.storage.bitmap import Bitmap
from pipeline.storage.entries import Bury, Entry, Inflight, Kind, Read, Release, Reserve, Settle, Spend
from pipeline.storage.ledger_file import check_file, connect, create_file, named_errors, refused_by_the_disk
from pipeline.storage.lines import CHUNK_LINES, Chunk
from pipeline.storage.results import OutputLog
from pipeline.storage.witness import Witness, witness_path
from pipeline.types import DeadLetter, Json, Usage

_PHASES = ("running", "finishing", "complete", "rewriting")


class Ledger:
    """The open ledger. Every method belongs to the one thread that owns it.

    Attributes:
        name: Eight letters and digits that name this ledger in attempts and output lines.
        budget: Spent, unknown and reserved nano-USD against the cap.
        inflight: Attempts that may be on the wire.
        ambiguous: How often a record was sent with an unknown outcome because of the network, where at least once.
    """

    def __init__(self, connection: sqlite3.Connection, path: Path) -> None:
        self.path = path
        self._db = connection
        self.meta: dict[str, Json] = dict(connection.execute("SELECT k, v FROM meta"))
        _check_meta(self.meta)
        progress = connection.execute("SELECT out_off, tail, spent, unknown, next_attempt, ok FROM progress").fetchone()
        self.out_off, self.tail, spent, unknown, self.next_attempt, self.ok = progress
        self.budget = Budget(None, spent=spent, unknown=unknown)
        self.name = str(self.meta["ledger"])
        self._witness = Witness(witness_path(path), self.name)
        self.inflight = {
            attempt: Inflight(tuple(orjson.loads(lines)), reserve, model)
            for attempt, lines, reserve, model in connection.execute(
                "SELECT attempt, lines, reserve, model FROM inflight"
            )
        }
        for row in self.inflight.values():
            self.budget.reserve(row.reserve)
        self.ambiguous: dict[int, int] = dict(connection.execute("SELECT line, ambiguous FROM resent"))
        self.chunks = {row[0]: Chunk(*row) for row in connection.execute("SELECT * FROM chunk ORDER BY n")}
        self.done = Bitmap(dict(connection.execute("SELECT n, bits FROM done")))
        self.failed = connection.execute("SELECT count(*) FROM failed").fetchone()[0]
        self._rollup: dict[tuple[str, str, Kind], list[int]] = {
            (row[0], row[1], row[2]): list(row[3:]) for row in connection.execute("SELECT * FROM rollup")
        }
        self._changed_rollup: set[tuple[str, str, Kind]] = set()

    @classmethod
    def create(cls, path: Path, name: str, meta: dict[str, Json]) -> Ledger:
        """Create the ledger at `path`, which must not exist; it appears there whole or not at all."""
        create_file(path, {"ledger": name} | meta)
        return cls.open(path)

    @classmethod
    def open(cls, path: Path) -> Ledger:
        """Open an existing ledger.

        Raises:
            StateMismatch: It is no ledger of ours, or damaged.
            UsageError: A newer version of the program made it.
        """
        connection = connect(path)
        try:
            check_file(connection, path)
            return cls(connection, path)
        except (sqlite3.DatabaseError, ValueError, TypeError, KeyError) as error:
            connection.close()
            if refused_by_the_disk(error):
                raise StorageFailed(f"cannot read {path}: {error}") from error
            raise StateMismatch(f"{path} is damaged ({error}); restore it, or use --repair") from error

    def commit(self, ended: Sequence[Entry], intents: Sequence[Reserve], log: OutputLog) -> int:
        """Make entries durable: first the output's bytes, then one transaction.

        What ended makes room for what begins: intents are admitted in order for as long as they fit into the budget.
        After any error the ledger and the log must not be used again: what reached the disk is for recovery to find.

        Returns:
            How many of the intents were admitted.

        Raises:
            StorageFailed: The disk refused.
        """
        lines = [result.content for entry in ended if type(entry) is Settle for result in entry.results]
        if lines:
            log.append(lines)
            self.out_off, self.tail = log.offset, log.fingerprint
        with self.transaction():
            self._end(ended)
            return self._admit(intents)

    def budget_reached(self) -> BudgetReached:
        """Why no further intent fits."""
        budget = self.budget
        return BudgetReached(
            f"the next request does not fit into the budget: ${budget.spent / 1e9:.6f} spent and "
            f"${budget.unknown / 1e9:.6f} of unknown outcome, of ${(budget.cap or 0) / 1e9:.6f}; "
            "raise --budget and run again to go on"
        )

    @contextlib.contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """One durable transaction, with the progress row and everything changed in memory written at its end."""
        with named_errors(self.path):
            self._db.execute("BEGIN IMMEDIATE")
            yield self._db
            self._write_changes()
            self._db.execute("COMMIT")
        self._witness.note(self.next_attempt)

    def set_meta(self, **values: Json) -> None:
        """Set meta values; only within a transaction."""
        self.meta |= values
        self._db.executemany("REPLACE INTO meta VALUES (?, ?)", values.items())

    def settle_recovered(self, attempt: int, cost: int | None, lines: Iterable[int], usage: Usage, day: str) -> None:
        """Close an attempt of a dead run; only within a transaction.

        Args:
            attempt: Its number.
            cost: What it cost where every answer was found, else None: its reservation becomes unknown spend.
            lines: The records whose answers were found in the output's tail.
            usage: The sum of what those answers report.
            day: The day it is booked on.
        """
        row = self.inflight.pop(attempt)
        found = list(lines)
        for line in found:
            self._mark_ok(line)
        if cost is not None:
            self.budget.settle(row.reserve, cost)
            self._book(row.model, day, self._kind(row.lines), usage, cost)
        else:
            self._charge_unknown(row, day, counted=False, lines=set(row.lines) - set(found))
        self._db.execute("DELETE FROM inflight WHERE attempt = ?", (attempt,))

    def dead_letters(self) -> Iterator[DeadLetter]:
        """Yield the dead letters in the order of the input."""
        for row in self._db.execute("SELECT * FROM failed ORDER BY line"):
            yield DeadLetter(*row)

    def revive(self, where: Where) -> int:
        """Take dead letters back to be sent again, and return how many; only within a transaction."""
        rows = self._db.execute("SELECT line, code, custom_id FROM failed")
        lines = [line for line, code, custom_id in rows if where.means(line, code, custom_id)]
        self._db.executemany("DELETE FROM failed WHERE line = ?", ((line,) for line in lines))
        self._db.executemany("DELETE FROM resent WHERE line = ?", ((line,) for line in lines))
        for line in lines:
            self.done.clear(line)
            self.ambiguous.pop(line, None)
        self.failed -= len(lines)
        return len(lines)

    def forget(self, first: int, last: int) -> None:
        """Take back what became of the lines from `first` to `last`; only within a transaction. Money stays."""
        letters = self._db.execute("SELECT count(*) FROM failed WHERE line BETWEEN ? AND ?", (first, last)).fetchone()[
            0
        ]
        self._db.execute("DELETE FROM failed WHERE line BETWEEN ? AND ?", (first, last))
        self._db.execute("DELETE FROM resent WHERE line BETWEEN ? AND ?", (first, last))
        cleared = [line for line in range(first, last + 1) if line in self.done]
        for line in cleared:
            self.done.clear(line)
        self.ambiguous = {line: count for line, count in self.ambiguous.items() if not first <= line <= last}
        self.failed -= letters
        self.ok -= len(cleared) - letters

    def replace_chunks(self, chunks: Sequence[Chunk]) -> None:
        """Take `chunks` as what the input holds today; only within a transaction."""
        self._db.execute("DELETE FROM chunk")
        self.chunks = {}
        self._read(chunks)

    def adopt(self, done: Bitmap, next_attempt: int) -> None:
        """Take the results of an output that the ledger has not seen; only within a transaction, on a new ledger."""
        self.done, self.ok, self.next_attempt = done, done.total, next_attempt

    def book(self, model: str, day: str, kind: Kind, usage: Usage, cost: int, *, requests: int) -> None:
        """Book money that was spent before this ledger; only within a transaction."""
        if kind == "unknown":
            self.budget.unknown += cost
        else:
            self.budget.spent += cost
        self._book(model, day, kind, usage, cost, requests)

    def complete_chunk(self, number: int) -> bool:
        """Whether every record of the chunk is settled and the chunk was read to its end."""
        chunk = self.chunks.get(number)
        if chunk is None or chunk.lines < CHUNK_LINES:
            return False
        return self.done.count(number) == chunk.lines - chunk.blank

    @property
    def records_read(self) -> int:
        """Records in the part of the input that has been read, by this run or an earlier one."""
        return sum(chunk.lines - chunk.blank for chunk in self.chunks.values())

    @property
    def spends(self) -> list[Spend]:
        """The rollup."""
        return [
            Spend(*key, requests=row[0], usage=Usage(row[1], row[2], row[3], row[4], row[5]), cost=row[6])
            for key, row in self._rollup.items()
        ]

    def check(self) -> None:
        """Check the invariants that the ledger alone can see.

        Raises:
            StateMismatch: One does not hold.
        """
        if self._witness.next_attempt() > self.next_attempt:
            raise StateMismatch(
                f"{self.path} is damaged: it has lost attempts that it had recorded; restore it, or use --repair"
            )
        spent = sum(row[6] for key, row in self._rollup.items() if key[2] != "unknown")
        unknown = sum(row[6] for key, row in self._rollup.items() if key[2] == "unknown")
        if (spent, unknown) != (self.budget.spent, self.budget.unknown):
            raise StateMismatch(f"{self.path}: the spend by day does not add up to the total")
        if self.done.total != self.ok + self.failed:
            raise StateMismatch(
                f"{self.path}: {self.done.total} records are marked done, but {self.ok + self.failed} ended"
            )

    def close(self) -> None:
        self._db.close()
        self._witness.close()

    # One statement for all rows: each statement hands the interpreter lock over, a row within it does not.

    def _end(self, entries: Sequence[Entry]) -> None:
        closed: list[int] = []
        for entry in entries:
            match entry:
                case Settle():
                    self._settle(entry)
                    closed.append(entry.attempt)
                case Release():
                    self._release(entry)
                    closed.append(entry.attempt)
                case Bury():
                    self._bury(entry.dead)
                case Read():
                    self._read(entry.chunks)
        if closed:
            self._db.execute(
                "DELETE FROM inflight WHERE attempt IN (SELECT value FROM json_each(?))",
                (orjson.dumps(closed).decode(),),
            )

    def _admit(self, intents: Sequence[Reserve]) -> int:
        admitted = 0
        for intent in intents:
            if not self.budget.fits(intent.amount):
                break
            self.budget.reserve(intent.amount)
            self.inflight[intent.attempt] = Inflight(intent.lines, intent.amount, intent.model)
            self.next_attempt = max(self.next_attempt, intent.attempt + 1)
            admitted += 1
        if admitted:
            self._db.execute(
                "INSERT INTO inflight SELECT value->>0, value->>1, value->>2, value->>3, value->>4 FROM json_each(?)",
                (orjson.dumps([tuple(intent) for intent in intents[:admitted]]).decode(),),
            )
        return admitted

    def _settle(self, entry: Settle) -> None:
        row = self.inflight.pop(entry.attempt)
        self.budget.settle(row.reserve, entry.cost)
        self._book(entry.model, entry.day, self._kind(row.lines), entry.usage, entry.cost)
        for result in entry.results:
            self._mark_ok(result.line)
        if entry.dead:
            self._bury(entry.dead)

    def _release(self, entry: Release) -> None:
        row = self.inflight.pop(entry.attempt)
        if entry.billed:
            self._charge_unknown(row, entry.day, counted=entry.ambiguous, lines=row.lines)
        else:
            self.budget.release(row.reserve)

    def _charge_unknown(self, row: Inflight, day: str, *, counted: bool, lines: Iterable[int]) -> None:
        self.budget.charge_unknown(row.reserve)
        self._book(row.model, day, "unknown", Usage(), row.reserve)
        for line in lines:
            self.ambiguous[line] = self.ambiguous.get(line, 0) + counted
            self._db.execute("REPLACE INTO resent VALUES (?, ?)", (line, self.ambiguous[line]))

    def _kind(self, lines: Sequence[int]) -> Kind:
        if self.ambiguous and any(line in self.ambiguous for line in lines):
            return "retried"
        return "ok"

    def _book(self, model: str, day: str, kind: Kind, usage: Usage, cost: int, requests: int = 1) -> None:
        key: tuple[str, str, Kind] = (model, day, kind)
        row = self._rollup.get(key)
        if row is None:
            row = self._rollup[key] = [0, 0, 0, 0, 0, 0, 0]
        row[0] += requests
        row[1] += usage.input
        row[2] += usage.output
        row[3] += usage.cached
        row[4] += usage.cache_write
        row[5] += usage.reasoning
        row[6] += cost
        self._changed_rollup.add(key)

    def _mark_ok(self, line: int) -> None:
        self.done.set(line)
        self.ok += 1

    def _bury(self, dead: Sequence[DeadLetter]) -> None:
        for letter in dead:
            self.done.set(letter.line)
        self.failed += len(dead)
        self._db.executemany("INSERT INTO failed VALUES (?, ?, ?, ?, ?, ?, ?, ?)", dead)

    def _read(self, chunks: Sequence[Chunk]) -> None:
        for chunk in chunks:
            self.chunks[chunk.number] = chunk
        self._db.executemany("REPLACE INTO chunk VALUES (?, ?, ?, ?, ?, ?)", chunks)

    def _write_changes(self) -> None:
        self._db.executemany("REPLACE INTO done VALUES (?, ?)", self.done.take_changed())
        self._db.executemany(
            "REPLACE INTO rollup VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            [(*key, *self._rollup[key]) for key in self._changed_rollup],
        )
        self._changed_rollup.clear()
        self._db.execute(
            "UPDATE progress SET out_off = ?, tail = ?, spent = ?, unknown = ?, next_attempt = ?, ok = ?",
            (self.out_off, self.tail, self.budget.spent, self.budget.unknown, self.next_attempt, self.ok),
        )


def _check_meta(meta: dict[str, Json]) -> None:
    """Raise ValueError where a damaged page has lost what every ledger says of itself."""
    if (
        not {"ledger", "config"} <= meta.keys()
        or meta.get("phase") not in _PHASES
        or type(meta.get("run_no")) is not int
    ):
        raise ValueError("it does not say what it is the ledger of")
    orjson.loads(str(meta.get("requests", "[]")))
