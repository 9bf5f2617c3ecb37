from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Sequence

import pytest

from pipeline.channels.base import Undelivered, in_daemon_thread
from pipeline.channels.deliveries import Deliveries, Send, deliver
from tests.virtual import virtual_time

LATER = Undelivered("later", again=True)
NEVER = Undelivered("never", again=False)
HANGS = "hangs"


class Script:
    """What becomes of each try; keeps when they were made."""

    def __init__(self, *outcomes: Exception | str | None) -> None:
        self._outcomes = list(outcomes)
        self.tries: list[float] = []

    async def __call__(self) -> None:
        self.tries.append(asyncio.get_running_loop().time())
        outcome = self._outcomes.pop(0)
        if outcome == HANGS:
            await asyncio.Event().wait()
        if isinstance(outcome, Exception):
            raise outcome


@pytest.mark.parametrize(
    ("outcomes", "tries", "failure"),
    [
        ([None], [0], None),
        ([LATER, None], [0, 0.5], None),
        ([LATER, LATER, None], [0, 0.5, 2.5], None),
        ([LATER, LATER, LATER], [0, 0.5, 2.5], "later"),
        ([NEVER], [0], "never"),
        ([LATER, NEVER], [0, 0.5], "never"),
        ([HANGS], [0], "not done within 10 s"),
        ([LATER, HANGS], [0, 0.5], "later"),
        ([ValueError("private words")], [0], "a bug in pipeline (ValueError)"),
    ],
)
def test_what_may_succeed_later_is_tried_three_times(
    outcomes: Sequence[Exception | str | None], tries: list[float], failure: str | None
) -> None:
    script = Script(*outcomes)

    @virtual_time
    async def run() -> None:
        found = await deliver(script, 10.0)
        assert (found and str(found)) == failure

    run()
    assert script.tries == tries


@virtual_time
async def test_no_try_begins_after_the_time() -> None:
    script = Script(LATER, LATER, None)
    began = asyncio.get_running_loop().time()

    assert str(await deliver(script, 1.0)) == "later"
    assert (script.tries, asyncio.get_running_loop().time() - began) == ([0, 0.5], 1.0)


@virtual_time
async def test_the_end_waits_for_all_and_no_longer_than_the_longest_time() -> None:
    reported: list[tuple[str, str]] = []
    deliveries = Deliveries(lambda place, failure: reported.append((place, str(failure))))
    sends: list[Send] = [Script(HANGS), Script(None), Script(HANGS)]
    for number, send in enumerate(sends):
        deliveries.begin(f"place {number}", send, 10.0 - number)
    await deliveries.finish()

    assert asyncio.get_running_loop().time() == 10.0
    assert reported == [("place 2", "not done within 8 s"), ("place 0", "not done within 10 s")]


@virtual_time
async def test_what_is_abandoned_is_not_waited_for_and_not_reported() -> None:
    reported: list[str] = []
    deliveries = Deliveries(lambda place, _: reported.append(place))
    deliveries.begin("place", Script(HANGS), 10.0)
    asyncio.get_running_loop().call_later(1.0, deliveries.abandon)
    await deliveries.finish()

    assert (asyncio.get_running_loop().time(), reported) == (1.0, [])


def test_a_thread_that_never_ends_holds_up_neither_the_loop_nor_the_end_of_the_process() -> None:
    """A name can take for ever to be looked up."""
    program = """
import asyncio, threading
from pipeline.channels.base import in_daemon_thread
from pipeline.channels.deliveries import deliver
print(asyncio.run(deliver(lambda: in_daemon_thread(threading.Event().wait), 0.1)))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=30)

    assert (done.stdout, done.stderr) == ("not done within 0.1 s\n", "")


async def test_what_a_thread_raises_is_raised_where_it_is_awaited() -> None:
    def work() -> None:
        raise LATER

    with pytest.raises(Undelivered):
        await in_daemon_thread(work)
