from __future__ import annotations

import asyncio

from pipeline.backends.fake import FakeBackend
from pipeline.middleware.backpressure import Backpressure
from pipeline.types import Item, Record, Request
from tests.rig import echo
from tests.virtual import virtual_time

REQUEST = Request("/completions", b'{"prompt": ["x"]}', (Item(Record(1, "1", {}), "x", 1),), "m", 1, 1, 0)


@virtual_time
async def test_nothing_is_sent_until_there_is_room() -> None:
    fake, room = FakeBackend(echo), asyncio.Event()
    waiting = [asyncio.create_task(Backpressure(fake, room).send(REQUEST)) for _ in range(3)]
    await asyncio.sleep(60)
    before = len(fake.requests)
    room.set()
    await asyncio.gather(*waiting)

    assert (before, len(fake.requests)) == (0, 3)


@virtual_time
async def test_where_there_is_room_a_request_goes_at_once() -> None:
    fake, room = FakeBackend(echo), asyncio.Event()
    room.set()
    await Backpressure(fake, room).send(REQUEST)

    assert asyncio.get_running_loop().time() == 0
