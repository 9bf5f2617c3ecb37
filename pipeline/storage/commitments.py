"""A run's claims under monthly caps, in the file that all runs of a user share.

Order is everything: a claim is durable there before the ledger reserves for it, and is lowered only when the ledger has
made durable what it was for. A run that is killed leaves its claims behind; they count until it is resumed.
"""

from __future__ import annotations

import contextlib
import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache, partial
from pathlib import Path
from typing import NamedTuple

from pipeline.core.days import month_before, month_of
from pipeline.core.monthly import Caps, Claim, Grant, Key, Refusal, Want, covered, grant, lowered, worth
from pipeline.errors import BudgetReached, StorageFailed, UsageError
from pipeline.storage.filesystem import NETWORK, type_of
from pipeline.storage.state import lock_holder, sync_directory
from pipeline.storage.usage_file import UsageFile, UsageLogError

_WAIT = 15.0
"""Seconds to wait for the other runs, each of which needs the file for milliseconds."""
_REST = 1.0
"""Seconds between two looks at what was claimed ahead and is not needed."""

_CLAIMED = """
SELECT ledger_id, endpoint, asked, spent_nusd + held_nusd, held_nusd, lock, updated_at
FROM commitment WHERE month = ? AND ledger_id <> ?
"""
_LOGGED = """
SELECT ledger_id, endpoint, asked, sum(cost_nusd)
FROM usage WHERE day BETWEEN ?1 || '-01' AND ?1 || '-31' AND ledger_id <> ?2 GROUP BY ledger_id, endpoint, asked
"""


class Used(NamedTuple):
    """What a ledger needs of a month for one model, in nano-USD."""

    spent: int = 0
    """What was spent, or may have been."""
    reserved: int = 0

    @property
    def total(self) -> int:
        return self.spent + self.reserved


Needs = Mapping[Key, Used]


@contextlib.contextmanager
def _required() -> Iterator[None]:
    """Without the shared file no cap can be kept: translate its error into one that stops the run."""
    try:
        yield
    except UsageLogError as error:
        raise StorageFailed(
            f"the monthly cap cannot be kept: {error}; nothing more was sent, run again to go on", code="no_monthly_cap"
        ) from error


class Commitments:
    """The claims of one run. Every method belongs to the thread that owns the ledger, as the ledger does.

    Args:
        path: The usage log.
        caps: The caps that hold.
        ledger_id: Whose claims these are.
        endpoint: Where its requests go.
        lock: The lock that is held for as long as the run lives.
        clock: Time that only goes forward, in seconds.

    Attributes:
        left: What could still be claimed when the file was last looked at, for the model that was wanted last, in
            nano-USD; None where no cap holds for it.
        is_idle: Whether nothing is claimed that is not used.
    """

    def __init__(
        self,
        path: Path,
        caps: Caps,
        ledger_id: str,
        endpoint: str,
        lock: Path,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._file = UsageFile(path, wait=_WAIT)
        self._caps = caps
        self._ledger_id = ledger_id
        self._endpoint = endpoint
        self._lock = str(lock.absolute())
        self._clock = clock
        self._db: sqlite3.Connection | None = None
        self._claims: Mapping[Key, int] = {}
        self._dead: dict[str, float] = {}
        """Locks that were found free, with when their runs last wrote: looked at once, and not with each question."""
        self._used_before = 0
        self._wrote_at = clock()
        self._refusal: Refusal | None = None
        self.left: int | None = None
        self.is_idle = True

    def begin(self, needs: Needs) -> None:
        """Claim what the ledger has used, no more and no less: nothing for which a cap holds is in flight.

        It is done before anything is sent where the run is known to have a cap, else with the first that needs one.

        Raises:
            StorageFailed: The file cannot be used, so that no cap can be kept.
            UsageError: It is on a network file system.
        """
        with _required(), self._file.translated():
            self._db = self._file.open()
            self._db.execute("PRAGMA synchronous=FULL")
        _refuse_network(self._file.path)
        sync_directory(self._file.path.parent)
        month = month_of(time.time())
        with self._transaction() as db:
            db.execute("DELETE FROM commitment WHERE month < ?", (month_before(month),))
            # Of ledgers that were set aside: the lock is ours now, and nobody will give back what they held.
            db.execute("UPDATE commitment SET lock = '' WHERE lock = ?", (self._lock,))
            mine = db.execute("SELECT month, asked FROM commitment WHERE ledger_id = ?", (self._ledger_id,))
            keys = {(row[0], row[1]) for row in mine} | {key for key in needs if key[0] == month}
            self._write(db, {key: needs.get(key, Used()).total for key in keys if self._caps.on(key[1])}, needs)

    def admit(self, needs: Needs, wants: Sequence[Want]) -> int:
        """Claim what attempts need, and return how many of them may be reserved, in order.

        Args:
            needs: What the ledger will have used when what has ended is durable.
            wants: The attempts.

        Raises:
            StorageFailed: The file cannot be used.
        """
        used = _totals(needs)
        self._refusal = None
        if covered(self._caps, self._claims, used, wants):
            return len(wants)
        if self._db is None:
            self.begin(needs)
        ahead = worth(sum(used.values()) - self._used_before, self._clock() - self._wrote_at)
        with self._transaction() as db:
            given = self._grant(db, used, wants, ahead)
            if given.claims != self._claims:
                self._write(db, given.claims, needs)
        self._refusal, self.left = given.refusal, given.left
        return given.admitted

    def rest(self, needs: Needs, *, keep: bool) -> None:
        """Give back what is claimed and not needed, at once or, to `keep` what the next second needs, now and then.

        Args:
            needs: What the ledger has used; it is durable.
            keep: Whether more will be wanted soon.

        Raises:
            StorageFailed: The file cannot be used.
        """
        used = _totals(needs)
        spare = {key: claim - used.get(key, 0) for key, claim in self._claims.items()}
        seconds = self._clock() - self._wrote_at
        ahead = worth(sum(used.values()) - self._used_before, seconds) if keep else 0
        self.is_idle = not any(spare.values())
        if keep and min(spare.values(), default=0) >= 0 and (seconds < _REST or sum(spare.values()) <= 2 * ahead):
            return
        claims = lowered(self._claims, used, month_of(time.time()), ahead)
        if claims != self._claims:
            with self._transaction() as db:
                self._write(db, claims, needs)
        self.is_idle = not ahead

    def reached(self) -> BudgetReached | None:
        """Why the attempt that was last refused never fits; None where it may, or where none was refused."""
        refusal = self._refusal
        if refusal is None or not refusal.hopeless:
            return None
        cap = refusal.cap
        return BudgetReached(
            f"the next request does not fit into the monthly cap {cap.name} of ${cap.nusd / 1e9:.6f}: all runs "
            f"together have ${refusal.claimed / 1e9:.6f} of it in {refusal.month}; raise it, or run again next month",
            code="monthly_cap_reached",
        )

    @property
    def waits(self) -> str | None:
        """What is waited for, in words; None where nothing is."""
        refusal = self._refusal
        if refusal is None or refusal.hopeless:
            return None
        return f"the monthly cap {refusal.cap.name} is full: waiting for what other runs hold and may not need"

    def close(self) -> None:
        if self._db is not None:
            self._db.close()

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        """One durable transaction, alone with the file, which is open."""
        if self._db is None:
            raise RuntimeError("claims are made before the run has begun")
        with _required(), self._file.translated(), self._db as db:
            db.execute("BEGIN IMMEDIATE")
            yield db

    def _grant(self, db: sqlite3.Connection, used: Mapping[Key, int], wants: Sequence[Want], ahead: int) -> Grant:
        given = grant(self._caps, self._claims, used, wants, cache(partial(self._others, db, look=False)), ahead)
        if given.refusal is None or given.refusal.hopeless:
            return given
        return grant(self._caps, self._claims, used, wants, cache(partial(self._others, db, look=True)), ahead)

    def _others(self, db: sqlite3.Connection, month: str, *, look: bool) -> Sequence[Claim]:
        """What other ledgers have claimed or, where that is more, what the usage log knows that they spent.

        Args:
            db: The file.
            month: The month.
            look: Whether to see which of their runs are alive; else all are taken to be.
        """
        mine = (month, self._ledger_id)
        claims = {
            (ledger, endpoint, asked): Claim(endpoint, asked, nusd, held > 0 and not (look and self._is_dead(lock, at)))
            for ledger, endpoint, asked, nusd, held, lock, at in db.execute(_CLAIMED, mine)
        }
        for ledger, endpoint, asked, nusd in db.execute(_LOGGED, mine):
            claim = claims.get((ledger, endpoint, asked), Claim(endpoint, asked, 0))
            claims[ledger, endpoint, asked] = claim._replace(nusd=max(claim.nusd, nusd))
        return list(claims.values())

    def _is_dead(self, lock: str, wrote_at: float) -> bool:
        if not lock:
            return True
        if self._dead.get(lock) != wrote_at and lock_holder(Path(lock)) is None:
            self._dead[lock] = wrote_at
        return self._dead.get(lock) == wrote_at

    def _write(self, db: sqlite3.Connection, claims: Mapping[Key, int], needs: Needs) -> None:
        now = time.time()
        rows = [(*key, *_split(claim, needs.get(key, Used()))) for key, claim in claims.items()]
        db.execute("DELETE FROM commitment WHERE ledger_id = ?", (self._ledger_id,))
        db.executemany(
            "INSERT INTO commitment(ledger_id, month, endpoint, asked, spent_nusd, held_nusd, lock, updated_at) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            [
                (self._ledger_id, month, self._endpoint, asked, spent, held, self._lock, now)
                for month, asked, spent, held in rows
            ],
        )
        db.execute("COMMIT")
        self._claims = claims
        self._used_before = sum(_totals(needs).values())
        self._wrote_at = self._clock()


def _refuse_network(path: Path) -> None:
    kind = type_of(path.parent)
    if kind in NETWORK:
        raise UsageError(
            f"a monthly cap needs the usage log on a local disk, and {path} is on a network file system ({kind}): "
            "set PIPELINE_STATE to a folder of this machine"
        )


def _totals(needs: Needs) -> dict[Key, int]:
    return {key: used.total for key, used in needs.items()}


def _split(claim: int, used: Used) -> tuple[int, int]:
    """A claim as what is spent of it and what is held."""
    spent = min(claim, used.spent)
    return spent, claim - spent
