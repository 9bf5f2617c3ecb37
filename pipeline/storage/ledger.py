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
import threading
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import orjson

from pipeline.core.budget import Budget
from pipeline.core.days import day_of, month_of
from pipeline.earlier import Where
from pipeline.errors import BudgetReached, StateMismatch, StorageFailed
from pipeline.storage.bitmap import Bitmap
from pipeline.storage.commitments import Commitments, Used
from pipeline.storage.entries import Bury, Entry, Inflight, Kind, Read, Release, Remember, Reserve, Settle, Spend
from pipeline.storage.ledger_file import check_file, connect, create_file, named_errors, refused_by_the_disk
from pipeline.storage.lines import CHUNK_LINES, Chunk
from pipeline.storage.results import OutputLog
from pipeline.storage.rollup import ModelMonth, Rollup
from pipeline.storage.witness import Witness, witness_path
from pipeline.types import DeadLetter, Json, Usage

SOFT_WARNED = "soft_warned"
"""Key of the meta value that holds the soft budget, in nano-USD, that the user was warned of."""
_PHASES = ("running", "finishing", "complete", "rewriting")


class Ledger:
    """The open ledger. Every method belongs to the one thread that owns it.

    Attributes:
        name: Eight letters and digits that name this ledger in attempts and output lines.
        budget: Spent, unknown and reserved nano-USD against the cap.
        inflight: Attempts that may be on the wire.
        ambiguous: How often a record was sent with an unknown outcome because of the network, where at least once.
        run_no: The number of this run, from 1; 0 before `begin_run`.
        commitments: The monthly caps that are kept together with other runs; None where there are none.
    """

    def __init__(self, connection: sqlite3.Connection, path: Path) -> None:
        self.path = path
        self._db = connection
        self.meta: dict[str, Json] = dict(connection.execute("SELECT k, v FROM meta"))
        _check_meta(self.meta)
        progress = connection.execute("SELECT out_off, tail, spent, unknown, next_attempt, ok FROM progress").fetchone()
        self.out_off, self.tail, spent, unknown, self.next_attempt, self.ok = progress
        self.budget = Budget(None, spent=spent, unknown=unknown)
        self.budget.warned = int(self.meta.get(SOFT_WARNED, 0))
        self.name = str(self.meta["ledger"])
        self._witness = Witness(witness_path(path), self.name)
        self.inflight = {
            attempt: Inflight(tuple(orjson.loads(lines)), reserve, model, day_of(sent_at))
            for attempt, lines, reserve, model, sent_at in connection.execute("SELECT * FROM inflight")
        }
        for row in self.inflight.values():
            self.budget.reserve(row.reserve)
        self.ambiguous: dict[int, int] = dict(connection.execute("SELECT line, ambiguous FROM resent"))
        self.chunks = {row[0]: Chunk(*row) for row in connection.execute("SELECT * FROM chunk ORDER BY n")}
        self.done = Bitmap(dict(connection.execute("SELECT n, bits FROM done")))
        self.failed = connection.execute("SELECT count(*) FROM failed").fetchone()[0]
        self._rollup = Rollup(connection.execute("SELECT * FROM rollup"))
        self._uncommitted = threading.Lock()
        """Held while the rollup has what is not durable yet: other threads read it between two transactions."""
        self._is_durable = True
        self.run_no = 0
        self.commitments: Commitments | None = None

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
        if not ended and not self._fitting(intents[:1]):
            return 0
        lines = [result.content for entry in ended if type(entry) is Settle for result in entry.results]
        if lines:
            log.append(lines)
            self.out_off, self.tail = log.offset, log.fingerprint
        with self.transaction():
            self._end(ended)
            return self._admit(intents[: self._fitting(intents)])

    def refusal(self, intent: Reserve) -> BudgetReached | None:
        """Why an intent that was not admitted never fits, nothing being in flight here; None where it does or may."""
        if self.budget.fits(intent.amount):
            return None if self.commitments is None else self.commitments.reached()
        budget = self.budget
        return BudgetReached(
            f"the next request does not fit into the budget: ${budget.spent / 1e9:.6f} spent and "
            f"${budget.unknown / 1e9:.6f} of unknown outcome, of ${(budget.cap or 0) / 1e9:.6f}; "
            "raise --budget and run again to go on"
        )

    @contextlib.contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """One durable transaction, with the progress row and everything changed in memory written at its end."""
        with self._uncommitted, named_errors(self.path):
            self._db.execute("BEGIN IMMEDIATE")
            self._is_durable = False
            yield self._db
            self._write_changes()
            self._db.execute("COMMIT")
            self._is_durable = True
        self._witness.note(self.next_attempt)

    def set_meta(self, **values: Json) -> None:
        """Set meta values; only within a transaction."""
        self.meta |= values
        self._db.executemany("REPLACE INTO meta VALUES (?, ?)", values.items())

    def begin_run(self) -> None:
        """Count this run, the first time that it is called; only within a transaction. What follows is its spend."""
        if not self.run_no:
            self.run_no = int(self.meta["run_no"]) + 1
            self.set_meta(run_no=self.run_no)

    def settle_recovered(self, attempt: int, cost: int | None, lines: Iterable[int], usage: Usage) -> None:
        """Close an attempt of a dead run; only within a transaction.

        Args:
            attempt: Its number.
            cost: What it cost where every answer was found, else None: its reservation becomes unknown spend.
            lines: The records whose answers were found in the output's tail.
            usage: The sum of what those answers report.
        """
        row = self.inflight.pop(attempt)
        found = list(lines)
        for line in found:
            self._mark_ok(line)
        if cost is not None:
            self.budget.settle(row.reserve, cost)
            self._book(row, row.model, self._kind(row.lines), usage, cost)
        else:
            self._charge_unknown(row, counted=False, lines=set(row.lines) - set(found))
        self._db.execute("DELETE FROM inflight WHERE attempt = ?", (attempt,))

    def dead_letters(self) -> Iterator[DeadLetter]:
        """Yield the dead letters in the order of the input."""
        for row in self._db.execute("SELECT * FROM failed ORDER BY line"):
            yield DeadLetter(*row)

    def failures(self) -> Iterator[tuple[str, int, str, str]]:
        """Yield code, line, custom_id and message of the dead letters in the order of the input.

        Raises:
            StorageFailed: They cannot be read.
        """
        with named_errors(self.path):
            yield from self._db.execute("SELECT code, line, custom_id, message FROM failed ORDER BY line")

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

    def needs(self) -> dict[ModelMonth, Used]:
        """What is spent, or may be, and what is reserved, by month and model that was asked for."""
        needs = {key: Used(spent) for key, spent in self._rollup.by_month(self.run_no).items()}
        for row in self.inflight.values():
            key = (row.day[:7], row.model)
            spent, reserved = needs.get(key, Used())
            needs[key] = Used(spent, reserved + row.reserve)
        return needs

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
        self._rollup.add((0, day, model, model, kind), usage, cost, requests)

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
    def lines_read(self) -> int:
        """The last line of the input that has been read, by this run or an earlier one."""
        return max((chunk.last_line for chunk in self.chunks.values()), default=0)

    @property
    def spends(self) -> list[Spend]:
        """The rollup."""
        return self._rollup.spends()

    def committed_spends(self) -> list[Spend] | None:
        """The rollup as it is on disk, for other threads; None where the disk refused the last transaction."""
        with self._uncommitted:
            return self.spends if self._is_durable else None

    def check(self) -> None:
        """Check the invariants that the ledger alone can see.

        Raises:
            StateMismatch: One does not hold.
        """
        if self._witness.next_attempt() > self.next_attempt:
            raise StateMismatch(
                f"{self.path} is damaged: it has lost attempts that it had recorded; restore it, or use --repair"
            )
        if self._rollup.totals() != (self.budget.spent, self.budget.unknown):
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
                case Remember():
                    self.set_meta(**{entry.key: entry.value})
        if closed:
            self._db.execute(
                "DELETE FROM inflight WHERE attempt IN (SELECT value FROM json_each(?))",
                (orjson.dumps(closed).decode(),),
            )

    def _fitting(self, intents: Sequence[Reserve]) -> int:
        """How many of the intents fit into the budget and under the monthly caps, in order."""
        total = count = 0
        for intent in intents:
            total += intent.amount
            if not self.budget.fits(total):
                break
            count += 1
        if self.commitments is None or not count:
            return count
        wants = [((month_of(intent.at), intent.model), intent.amount) for intent in intents[:count]]
        return self.commitments.admit(self.needs(), wants)

    def _admit(self, intents: Sequence[Reserve]) -> int:
        for intent in intents:
            self.budget.reserve(intent.amount)
            self.inflight[intent.attempt] = Inflight(intent.lines, intent.amount, intent.model, day_of(intent.at))
            self.next_attempt = max(self.next_attempt, intent.attempt + 1)
        if intents:
            self._db.execute(
                "INSERT INTO inflight SELECT value->>0, value->>1, value->>2, value->>3, value->>4 FROM json_each(?)",
                (orjson.dumps([tuple(intent) for intent in intents]).decode(),),
            )
        return len(intents)

    def _settle(self, entry: Settle) -> None:
        row = self.inflight.pop(entry.attempt)
        self.budget.settle(row.reserve, entry.cost)
        self._book(row, entry.model, self._kind(row.lines), entry.usage, entry.cost)
        for result in entry.results:
            self._mark_ok(result.line)
        if entry.dead:
            self._bury(entry.dead)

    def _release(self, entry: Release) -> None:
        row = self.inflight.pop(entry.attempt)
        if entry.billed:
            self._charge_unknown(row, counted=entry.ambiguous, lines=row.lines)
        else:
            self.budget.release(row.reserve)

    def _charge_unknown(self, row: Inflight, *, counted: bool, lines: Iterable[int]) -> None:
        self.budget.charge_unknown(row.reserve)
        self._book(row, row.model, "unknown", Usage(), row.reserve)
        for line in lines:
            self.ambiguous[line] = self.ambiguous.get(line, 0) + counted
            self._db.execute("REPLACE INTO resent VALUES (?, ?)", (line, self.ambiguous[line]))

    def _kind(self, lines: Sequence[int]) -> Kind:
        if self.ambiguous and any(line in self.ambiguous for line in lines):
            return "retried"
        return "ok"

    def _book(self, attempt: Inflight, model: str, kind: Kind, usage: Usage, cost: int) -> None:
        self._rollup.add((self.run_no, attempt.day, attempt.model, model, kind), usage, cost, 1)

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
            "REPLACE INTO rollup VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            self._rollup.take_changed(),
        )
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
