"""Claims under monthly caps in the shared file: real SQLite, real locks, several ledgers in one process."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.core.days import month_of
from pipeline.core.monthly import Caps, MonthlyCap
from pipeline.errors import BudgetReached, StorageFailed
from pipeline.storage.commit import Journal
from pipeline.storage.commitments import Commitments, Used
from pipeline.storage.entries import Settle
from pipeline.storage.ledger import Ledger
from pipeline.storage.results import OutputLog
from pipeline.storage.state import Lock
from pipeline.storage.usage import UsageLog, UsageRow
from pipeline.types import Usage
from tests.storage.outputs import open_both, places_in, result

MONTH = month_of(time.time())
KEY = (MONTH, "m")
CAP = 10_000


class Time:
    """A clock that is set."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class Party:
    """Runs that share a file."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.path = folder / "usage.db"
        self.clock = Time()
        self.locks: dict[str, Lock] = {}

    def join(self, name: str, cap: int = CAP, used: int = 0) -> Commitments:
        """A run begins; its lock is held until `dies`."""
        lock = self.folder / f"{name}.lock"
        self.locks[name] = Lock.take(lock)
        caps = Caps([MonthlyCap("budget.monthly_usd", cap)])
        commitments = Commitments(self.path, caps, name, "e", lock, self.clock)
        commitments.begin({KEY: Used(used)})
        return commitments

    def dies(self, name: str) -> None:
        self.locks.pop(name).release()

    def claims(self) -> dict[str, tuple[int, int]]:
        with contextlib.closing(sqlite3.connect(self.path)) as db:
            found = db.execute("SELECT ledger_id, spent_nusd, held_nusd FROM commitment WHERE month = ?", (MONTH,))
            return {name: (spent, held) for name, spent, held in found}


@pytest.fixture
def party(tmp_path: Path) -> Iterator[Party]:
    shared = Party(tmp_path)
    yield shared
    for lock in shared.locks.values():
        lock.release()


def want(amount: int) -> list[tuple[tuple[str, str], int]]:
    return [(KEY, amount)]


def test_a_claim_is_there_before_the_attempt_is_admitted_and_is_lowered_when_it_has_ended(party: Party) -> None:
    one = party.join("one")
    assert one.admit({}, want(4_000)) == 1
    before = party.claims()
    party.clock.now += 5
    one.rest({KEY: Used(1_000)}, keep=False)

    assert before["one"][0] == 0
    assert before["one"][1] >= 4_000
    assert party.claims() == {"one": (1_000, 0)}
    one.close()


def test_what_one_run_claims_another_cannot_have_until_it_is_given_back(party: Party) -> None:
    one, two = party.join("one"), party.join("two")
    assert one.admit({}, want(8_000)) == 1
    assert two.admit({}, want(4_000)) == 0
    waits, reached = two.waits, two.reached()
    one.rest({KEY: Used(2_000)}, keep=False)

    assert waits is not None
    assert "budget.monthly_usd is full" in waits
    assert reached is None
    assert two.admit({}, want(4_000)) == 1
    one.close()
    two.close()


def test_who_finds_no_room_where_nobody_can_give_back_is_refused_with_cap_sum_and_month(party: Party) -> None:
    one, two = party.join("one"), party.join("two")
    one.rest({KEY: Used(9_000)}, keep=False)
    assert two.admit({}, want(4_000)) == 0
    reached = two.reached()

    assert two.waits is None
    assert isinstance(reached, BudgetReached)
    assert (reached.exit_code, reached.code) == (4, "monthly_cap_reached")
    assert "budget.monthly_usd of $0.000010" in reached.message
    assert f"$0.000009 of it in {MONTH}" in reached.message
    one.close()
    two.close()


def test_what_a_dead_run_held_stays_counted_and_gives_no_hope_until_it_is_resumed(party: Party) -> None:
    one, two = party.join("one"), party.join("two")
    one.admit({}, want(8_000))
    one.close()
    party.dies("one")
    assert two.admit({}, want(4_000)) == 0
    hopeless = two.reached()
    again = party.join("one", used=3_000)

    assert hopeless is not None
    assert two.admit({}, want(4_000)) == 1
    assert again.admit({KEY: Used(3_000)}, want(4_000)) == 0
    again.close()
    two.close()


def test_a_new_ledger_in_the_place_of_a_dead_one_gives_no_hope_for_what_that_held(party: Party) -> None:
    one, two = party.join("one"), party.join("two")
    one.admit({}, want(8_000))
    one.close()
    caps = Caps([MonthlyCap("budget.monthly_usd", CAP)])
    fresh = Commitments(party.path, caps, "fresh", "e", party.folder / "one.lock", party.clock)
    fresh.begin({})

    assert two.admit({}, want(4_000)) == 0
    assert two.reached() is not None
    fresh.close()
    two.close()


def test_claims_begin_with_the_first_attempt_that_needs_one(party: Party) -> None:
    caps = Caps([MonthlyCap("limits.m*.monthly_usd of endpoint e", CAP, "e", "m*")], ["m*"])
    late = Commitments(party.path, caps, "late", "e", party.folder / "late.lock", party.clock)
    other, twin = (MONTH, "other"), (MONTH, "m-twin")
    free = late.admit({twin: Used(9_000)}, [(other, 5_000)])
    untouched = party.path.exists()

    assert (free, untouched) == (1, False)
    assert late.admit({twin: Used(9_000)}, want(1_001)) == 0, "what the other model of the cap has spent counts"
    assert late.admit({twin: Used(9_000)}, want(1_000)) == 1
    late.close()


def test_what_the_usage_log_knows_counts_where_no_claim_says_more(party: Party) -> None:
    def logged(cost: int, day: str = f"{MONTH}-05") -> UsageRow:
        return UsageRow(1, day, "m", "e", "j", "n", "ok", 1, 0, 0, 0, 0, 0, cost, "list")

    log = UsageLog(party.path)
    log.sync("without", [logged(3_000)], now=1)
    log.sync("long-ago", [logged(9_000, "2001-01-05")], now=1)
    one, two = party.join("one", used=2_000), party.join("two")
    log.sync("one", [logged(1_500)], now=1)

    assert two.admit({}, want(5_001)) == 0
    assert two.admit({}, want(5_000)) == 1
    log.sync("one", [logged(2_500)], now=1)
    assert two.admit({KEY: Used(0, 4_500)}, want(501)) == 0
    one.close()
    two.close()


def test_claims_ahead_are_a_second_s_worth_and_are_kept_while_they_are_used(party: Party) -> None:
    one = party.join("one", cap=100_000_000)
    party.clock.now = 1.0
    one.admit({}, want(1_000))
    party.clock.now = 3.0
    one.admit({KEY: Used(9_000)}, want(1_000))
    held = party.claims()["one"]
    covered = [one.admit({KEY: Used(spent)}, want(1_000)) for spent in (10_000, 11_000, 12_000)]

    assert held == (9_000, 1_000 + 4_500), "9,000 in two seconds"
    assert covered == [1, 1, 1]
    assert party.claims()["one"] == held, "the file was not written for these"
    party.clock.now = 20.0
    one.rest({KEY: Used(12_000)}, keep=True)
    assert one.is_idle is False
    one.rest({KEY: Used(12_000)}, keep=False)
    assert (party.claims()["one"], one.is_idle) == ((12_000, 0), True)
    one.close()


def test_what_cost_more_than_was_reserved_is_claimed_at_once(party: Party) -> None:
    one, two = party.join("one"), party.join("two")
    one.admit({}, want(4_000))
    one.rest({KEY: Used(9_500)}, keep=True)

    assert party.claims()["one"] == (9_500, 0)
    assert two.admit({}, want(501)) == 0
    one.close()
    two.close()


def test_a_month_that_ends_lets_go_of_what_was_claimed_ahead(party: Party) -> None:
    one = party.join("one")
    old, new = ("2026-01", "m"), KEY
    assert one.admit({}, [(old, 4_000)]) == 1
    assert one.admit({old: Used(0, 4_000)}, [(new, CAP)]) == 1
    one.rest({old: Used(1_000), new: Used(0, CAP)}, keep=False)
    with contextlib.closing(sqlite3.connect(party.path)) as db:
        found = dict(db.execute("SELECT month, spent_nusd + held_nusd FROM commitment").fetchall())

    assert found == {"2026-01": 1_000, MONTH: CAP}
    one.close()


def test_a_run_without_a_cap_takes_the_claims_of_its_ledger_back_when_the_log_has_its_spend(party: Party) -> None:
    from tests.storage.test_usage_runs import begun, spent  # noqa: PLC0415 - the one user

    one = party.join("one")
    one.admit({}, want(8_000))
    one.close()
    log = UsageLog(party.path)
    log.begin_run(begun(party.folder, ledger="one"), [spent(1, 600)], capped=True)
    kept = party.claims()
    log.begin_run(begun(party.folder, 2, ledger="one"), [spent(1, 600)])

    assert list(kept) == ["one"]
    assert party.claims() == {}


def test_a_file_that_cannot_be_used_stops_the_run(party: Party) -> None:
    one = party.join("one")
    with contextlib.closing(sqlite3.connect(party.path)) as db:
        db.execute("DROP TABLE commitment")

    with pytest.raises(StorageFailed, match="the monthly cap cannot be kept") as failed:
        one.admit({}, want(1))
    assert failed.value.exit_code == 74
    one.close()


class Member:
    """A ledger with its writer thread, that takes part."""

    def __init__(self, party: Party, name: str, cap: int) -> None:
        folder = party.folder / name
        folder.mkdir()
        self.ledger: Ledger
        self.log: OutputLog
        self.ledger, self.log, _ = open_both(places_in(folder))
        self.ledger.commitments = party.join(name, cap)
        self.remarks: list[str] = []
        self.journal = Journal(self.ledger, self.log, linger=0, remark=self.remarks.append)
        self.journal.start()

    async def spend(self, line: int, reserve: int, cost: int) -> None:
        attempt = int((await self.journal.reserve((line,), reserve, "m"))[9:])
        await asyncio.sleep(0)
        await self.journal.settle(Settle(attempt, cost, Usage(3), "m", [result(self.ledger, attempt, line, cost)], []))

    async def all_it_can(self, reserve: int, cost: int) -> int:
        """Spend until refused, eight at a time; return what was spent."""
        lines = iter(range(1, 100_000))

        async def worker() -> None:
            with contextlib.suppress(BudgetReached):
                while True:
                    await self.spend(next(lines), reserve, cost)

        await asyncio.gather(*(worker() for _ in range(8)))
        return self.ledger.budget.spent

    async def end(self) -> None:
        await self.journal.close()
        if self.ledger.commitments is not None:
            self.ledger.commitments.close()
        self.ledger.check()
        self.ledger.close()
        self.log.close()


async def test_several_ledgers_use_a_cap_up_and_never_exceed_it(party: Party) -> None:
    cap = 400_000
    members = [Member(party, name, cap) for name in ("one", "two", "three")]
    shares = await asyncio.gather(*(member.all_it_can(2_000 + 500 * n, 900) for n, member in enumerate(members)))
    for member in members:
        await member.end()

    assert 0.98 * cap <= sum(shares) <= cap
    assert party.claims() == {name: (share, 0) for name, share in zip(("one", "two", "three"), shares, strict=True)}


async def test_a_run_gives_back_what_it_claimed_ahead_when_it_has_nothing_to_do(party: Party) -> None:
    one = Member(party, "one", 1_000_000_000)
    for line in range(1, 4):
        await one.spend(line, 2_000, 900)
    until = time.monotonic() + 10
    while party.claims()["one"] != (2_700, 0) and time.monotonic() < until:
        await asyncio.sleep(0.05)  # the writer is a thread: it can only be watched

    assert party.claims()["one"] == (2_700, 0)
    await one.end()


async def test_who_waits_says_so_once_and_is_let_in_when_another_gives_back(party: Party) -> None:
    one, two = Member(party, "one", 10_000), Member(party, "two", 10_000)
    attempt = await one.journal.reserve((1,), 9_000, "m")
    waiting = [asyncio.create_task(two.spend(line, 4_000, 500)) for line in (1, 2)]
    await asyncio.wait(waiting, timeout=0.6)
    held_up = [task.done() for task in waiting]
    one.journal.release(attempt, billed=False, ambiguous=False)
    await asyncio.wait_for(asyncio.gather(*waiting), 10)

    assert held_up == [False, False]
    assert len(two.remarks) == 1
    assert two.ledger.budget.spent == 1_000
    await one.end()
    await two.end()


async def test_who_waits_is_refused_at_once_when_the_job_stops(party: Party) -> None:
    one, two = Member(party, "one", 10_000), Member(party, "two", 10_000)
    await one.journal.reserve((1,), 9_000, "m")
    waiting = asyncio.create_task(two.spend(1, 4_000, 500))
    await asyncio.wait([waiting], timeout=0.3)
    two.journal.refuse_waiting()

    with pytest.raises(BudgetReached, match="stopping"):
        await asyncio.wait_for(waiting, 5)
    await one.end()
    await two.end()


async def test_a_smaller_attempt_behind_one_that_never_fits_is_let_in(party: Party) -> None:
    one = Member(party, "one", 10_000)
    large = asyncio.create_task(one.spend(1, 20_000, 500))
    small = asyncio.create_task(one.spend(2, 4_000, 500))

    with pytest.raises(BudgetReached):
        await asyncio.wait_for(large, 5)
    await asyncio.wait_for(small, 5)
    assert one.ledger.budget.spent == 500
    await one.end()
