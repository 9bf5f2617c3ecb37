from __future__ import annotations

import contextlib

import pytest

from pipeline.backends.fake import FakeBackend
from pipeline.clock import SystemClock
from pipeline.errors import PipelineError, Throttled
from pipeline.events import Exchange
from pipeline.middleware.exchanges import Exchanges
from pipeline.types import Item, Record, Request, Response, Usage

ITEMS = tuple(Item(Record(line, str(line), {"secret": "prompt"}), "secret prompt", 1) for line in (21, 22, 40))
REQUEST = Request("/embeddings", b"secret prompt", ITEMS, "m", 1, 1, 0, attempt="abcdefgh-7")
ANSWER = Response(200, {}, b"", usage=Usage(60, 5), model="m-1", received=900)


async def seen(outcome: Response | PipelineError) -> tuple[Exchange, Exchange]:
    """What two watchers see of one attempt."""
    found: list[Exchange] = []
    backend = Exchanges(FakeBackend([outcome]), SystemClock(), [found.append, found.append])
    with contextlib.suppress(PipelineError):
        await backend.send(REQUEST)
    first, second = found
    return first, second


async def test_every_watcher_sees_all_of_an_answered_attempt_but_its_content() -> None:
    first, second = await seen(ANSWER)

    assert first is second
    assert first[:6] == ("abcdefgh-7", "/embeddings", "m", 21, 40, 3)
    assert first[8:] == (len(REQUEST.body), 900, None, None, 200, Usage(60, 5), "m-1")
    assert "secret" not in repr(first)


@pytest.mark.parametrize("status", [429, None])
async def test_a_failed_attempt_is_seen_with_its_error(status: int | None) -> None:
    first, _ = await seen(Throttled("secret", code="slow_down", status=status))

    assert first[8:] == (len(REQUEST.body), 0, "Throttled", "slow_down", status, None, None)
    assert first.seconds >= 0
    assert "secret" not in repr(first)
