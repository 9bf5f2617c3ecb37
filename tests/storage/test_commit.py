from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from pipeline.errors import BudgetReached, StorageFailed
from pipeline.storage.commit import Journal
from pipeline.storage.entries import Settle
from pipeline.storage.ledger import Ledger
from pipeline.storage.lines import Chunk
from pipeline.types import Usage
from tests.storage.outputs import dead, open_both, places_in, result


async def settle(journal: Journal, ledger: Ledger, attempt: str, line: int, cost: int = 100) -> None:
    number = int(attempt[9:])
    await journal.settle(Settle(number, cost, Usage(3), "m", [result(ledger, number, line, cost)], []))


async def test_an_intent_is_durable_before_the_request_may_be_sent(tmp_path: Path) -> None:
    places = places_in(tmp_path)
    ledger, log, _ = open_both(places)
    journal = Journal(ledger, log, linger=0)
    journal.start()
    attempt = await journal.reserve((1, 2), 500, "m")

    assert ledger.inflight[1].lines == (1, 2)
    assert attempt == f"{ledger.name}-1"
    await journal.close()
    assert (ledger.budget.unknown, ledger.inflight) == (500, {}), "what is still in flight at the end is unknown spend"
    assert [(spend.kind, spend.key.asked) for spend in ledger.spends] == [("unknown", "m")]
    assert ledger.ambiguous == {1: 0, 2: 0}, "our own end is not held against a record"
    ledger.close()
    log.close()


async def test_many_records_settle_together(tmp_path: Path) -> None:
    places = places_in(tmp_path)
    ledger, log, _ = open_both(places)
    journal = Journal(ledger, log, linger=0)
    journal.start()

    async def one(line: int) -> None:
        await settle(journal, ledger, await journal.reserve((line,), 500, "m"), line)

    await asyncio.gather(*(one(line) for line in range(1, 501)))
    await journal.bury([dead(501)])
    await journal.close()

    assert (ledger.ok, ledger.failed, ledger.budget.spent) == (500, 1, 50_000)
    assert places.partial.read_bytes().count(b"\n") == 500
    ledger.check()
    ledger.close()
    log.close()


async def test_an_intent_that_does_not_fit_waits_for_room(tmp_path: Path) -> None:
    ledger, log, _ = open_both(places_in(tmp_path))
    ledger.budget.cap = 1_000
    journal = Journal(ledger, log, linger=0)
    journal.start()
    first = await journal.reserve((1,), 900, "m")
    second = asyncio.create_task(journal.reserve((2,), 900, "m"))
    await settle(journal, ledger, first, 1, cost=100)

    assert await second == f"{ledger.name}-2"
    await journal.close()
    ledger.close()
    log.close()


async def test_an_intent_that_can_never_fit_is_refused_once_nothing_is_in_flight(tmp_path: Path) -> None:
    ledger, log, _ = open_both(places_in(tmp_path))
    ledger.budget.cap = 1_000
    journal = Journal(ledger, log, linger=0)
    journal.start()
    first = await journal.reserve((1,), 900, "m")
    second = asyncio.create_task(journal.reserve((2,), 900, "m"))
    await settle(journal, ledger, first, 1, cost=900)

    with pytest.raises(BudgetReached):
        await second
    await journal.close()
    ledger.close()
    log.close()


async def test_an_intent_that_fits_is_not_refused_with_the_larger_one_before_it(tmp_path: Path) -> None:
    ledger, log, _ = open_both(places_in(tmp_path))
    ledger.budget.cap = 1_000
    journal = Journal(ledger, log, linger=0)
    journal.start()
    first = await journal.reserve((1,), 900, "m")
    large = asyncio.create_task(journal.reserve((2, 3, 4), 300, "m"))
    small = asyncio.create_task(journal.reserve((5,), 100, "m"))
    await settle(journal, ledger, first, 1, cost=900)

    with pytest.raises(BudgetReached):
        await large
    assert await small == f"{ledger.name}-3"
    await journal.close()
    ledger.close()
    log.close()


async def test_a_disk_that_refuses_fails_everyone_and_nothing_is_tried_again(tmp_path: Path) -> None:
    ledger, log, _ = open_both(places_in(tmp_path))
    journal = Journal(ledger, log, linger=0)
    journal.start()
    attempt = await journal.reserve((1,), 500, "m")
    log.path.unlink()

    with pytest.raises(StorageFailed):
        await settle(journal, ledger, attempt, 1)
    with pytest.raises(StorageFailed):
        await journal.reserve((2,), 500, "m")
    await journal.close()
    assert isinstance(journal.failure, StorageFailed)
    ledger.close()
    log.close()


async def test_a_bug_in_the_writer_is_reported_and_does_not_hang(tmp_path: Path) -> None:
    ledger, log, _ = open_both(places_in(tmp_path))
    journal = Journal(ledger, log, linger=0)
    journal.start()
    await journal.bury([dead(1)])

    with pytest.raises(StorageFailed, match="ValueError"):
        await journal.bury([dead(1)])
    assert journal.failure is not None
    assert isinstance(journal.failure.__cause__, ValueError)
    ledger.close()
    log.close()


async def test_when_the_writer_dies_everyone_who_waits_is_told(tmp_path: Path) -> None:
    ledger, log, _ = open_both(places_in(tmp_path))
    ledger.budget.cap = 1_000
    journal = Journal(ledger, log, linger=0)
    journal.start()
    await journal.reserve((1,), 900, "m")
    waiting = asyncio.create_task(journal.reserve((2,), 900, "m"))
    await journal.bury([dead(5)])
    log.path.unlink()
    doomed = [asyncio.create_task(journal.bury([dead(5)])) for _ in range(3)]

    outcomes = await asyncio.gather(waiting, *doomed, return_exceptions=True)

    assert all(isinstance(outcome, StorageFailed) for outcome in outcomes)
    assert {outcome.code for outcome in outcomes if isinstance(outcome, StorageFailed)} == {"writer_died"}
    assert journal.failure is not None
    assert "ValueError" in journal.failure.message
    await asyncio.wait_for(journal.close(), 5)
    ledger.close()
    log.close()


async def test_attempts_go_on_counting_where_the_last_run_ended(tmp_path: Path) -> None:
    places = places_in(tmp_path)
    for expected in (1, 2, 3):
        ledger, log, _ = open_both(places)
        journal = Journal(ledger, log, linger=0)
        journal.start()
        assert await journal.reserve((1,), 5, "m") == f"{ledger.name}-{expected}"
        await journal.close()
        ledger.close()
        log.close()


async def test_unknown_outcomes_are_counted_at_once_and_remembered(tmp_path: Path) -> None:
    places = places_in(tmp_path)
    ledger, log, _ = open_both(places)
    journal = Journal(ledger, log, linger=0)
    journal.start()
    first = await journal.reserve((1, 2), 50, "m")
    second = await journal.reserve((2, 3), 50, "m")
    journal.release(first, billed=True, ambiguous=True)
    journal.release(second, billed=True, ambiguous=True)
    third = await journal.reserve((3,), 50, "m")
    journal.release(third, billed=False, ambiguous=False)
    counted = dict(journal.ambiguous)
    await journal.close()
    ledger.close()
    log.close()
    ledger, log, _ = open_both(places)

    assert counted == {1: 1, 2: 2, 3: 1}
    assert Journal(ledger, log).ambiguous == counted
    assert (ledger.budget.unknown, ledger.budget.reserved) == (100, 0)
    ledger.close()
    log.close()


async def test_how_far_the_input_was_read_is_recorded(tmp_path: Path) -> None:
    places = places_in(tmp_path)
    ledger, log, _ = open_both(places)
    journal = Journal(ledger, log, linger=0.001)
    journal.start()
    chunks = [Chunk(0, 0, 100, 10, 1, b"a"), Chunk(0, 0, 200, 20, 1, b"b")]
    for chunk in chunks:
        journal.read((chunk,))
    await journal.close()
    ledger.close()
    log.close()
    again = Ledger.open(places.ledger)

    assert again.chunks == {0: chunks[1]}
    assert again.records_read == 19
    again.close()
