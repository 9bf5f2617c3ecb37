"""The backlog between the reader and the workers."""

from __future__ import annotations

import asyncio

from pipeline.backlog import Backlog, Batch
from pipeline.types import Item, Record


def batch(number: int) -> Batch:
    return Batch((Item(Record(number, str(number), {}), "text", 1),))


ONE, TWO, THREE, FOUR = map(batch, range(1, 5))


async def turn() -> None:
    """Let every task that can go on do so."""
    for _ in range(5):
        await asyncio.sleep(0)


async def test_batches_come_out_in_the_order_in_which_they_went_in() -> None:
    backlog = Backlog(4)
    backlog.add(ONE)
    backlog.add(TWO)

    assert [backlog.take(), await backlog.get(), backlog.take()] == [ONE, TWO, None]


async def test_pieces_given_back_go_first_in_their_order() -> None:
    backlog = Backlog(4)
    backlog.add(ONE)
    backlog.add(FOUR)
    backlog.take()
    backlog.give_back([TWO, THREE])

    assert [backlog.take(), backlog.take(), backlog.take()] == [TWO, THREE, FOUR]


async def test_the_reader_waits_until_there_is_room() -> None:
    backlog = Backlog(2)
    backlog.add(ONE)
    backlog.add(TWO)
    reader = asyncio.create_task(backlog.room())
    await turn()

    assert (backlog.is_full, reader.done()) == (True, False)

    backlog.take()
    await turn()

    assert (backlog.is_full, reader.done()) == (False, True)


async def test_a_worker_waits_for_a_batch() -> None:
    backlog = Backlog(2)
    workers = [asyncio.create_task(backlog.get()) for _ in range(2)]
    await turn()
    backlog.add(ONE)
    await turn()

    assert [worker.done() for worker in workers] == [True, False]

    backlog.add(TWO)

    assert await asyncio.gather(*workers) == [ONE, TWO]


async def test_a_worker_that_was_cancelled_takes_nobodys_turn() -> None:
    backlog = Backlog(2)
    gone, staying = (asyncio.create_task(backlog.get()) for _ in range(2))
    await turn()
    gone.cancel()
    await turn()
    backlog.add(ONE)

    assert await staying == ONE


async def test_nothing_will_come_once_it_is_closed_and_empty() -> None:
    backlog = Backlog(2)
    waiting = asyncio.create_task(backlog.get())
    await turn()
    backlog.close()

    assert [await waiting, await backlog.get()] == [None, None]


async def test_idle_workers_stay_for_the_pieces_of_what_others_are_at() -> None:
    backlog = Backlog(2)
    backlog.add(ONE)
    backlog.close()
    backlog.take()
    idle = [asyncio.create_task(backlog.get()) for _ in range(2)]
    await turn()

    assert [worker.done() for worker in idle] == [False, False]

    backlog.give_back([TWO, THREE])
    backlog.done()

    assert await asyncio.gather(*idle) == [TWO, THREE]


async def test_idle_workers_go_when_the_last_batch_is_done() -> None:
    backlog = Backlog(2)
    backlog.add(ONE)
    backlog.close()
    backlog.take()
    idle = asyncio.create_task(backlog.get())
    await turn()
    backlog.done()

    assert await idle is None
