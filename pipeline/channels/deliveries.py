"""Deliveries beside a run: nothing waits for one but the end of the run, and no longer than its time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from pipeline.channels.base import Undelivered

Send = Callable[[], Awaitable[None]]
"""Tries once; raises Undelivered."""

_WAITS = (0.0, 0.5, 2.0)
"""Seconds before each try."""


async def deliver(send: Send, seconds: float) -> Undelivered | None:
    """Try until it is delivered, is refused for good, or the time is over; return why it was not delivered.

    Args:
        send: Tries once.
        seconds: For everything.
    """
    failure = Undelivered(f"not done within {seconds:g} s", again=True)
    try:
        async with asyncio.timeout(seconds):
            for wait in _WAITS:
                await asyncio.sleep(wait)
                try:
                    await send()
                except Undelivered as error:
                    failure = error
                    if not error.again:
                        return error
                else:
                    return None
    except TimeoutError:
        pass  # the last failure says more
    except Exception as error:  # noqa: BLE001 - the boundary of a delivery: shown as a notice, and the run goes on
        return Undelivered(f"a bug in pipeline ({type(error).__name__})", again=False)
    return failure


class Deliveries:
    """Those of one run, each a task.

    Args:
        report: Takes what could not be delivered: to where, and why not.
    """

    def __init__(self, report: Callable[[str, Undelivered], None]) -> None:
        self._report = report
        self._tasks: set[asyncio.Task[None]] = set()

    def begin(self, place: str, send: Send, seconds: float) -> asyncio.Task[None]:
        """Start one; the arguments are those of `deliver`."""
        task = asyncio.create_task(self._deliver(place, send, seconds), name=f"notify {place}")
        self._tasks.add(task)
        return task

    async def finish(self) -> None:
        """Wait for all that have begun; each ends within its time."""
        if self._tasks:
            await asyncio.wait(self._tasks)

    def abandon(self) -> None:
        """Wait for none of them any longer."""
        for task in self._tasks:
            task.cancel()

    async def _deliver(self, place: str, send: Send, seconds: float) -> None:
        failure = await deliver(send, seconds)
        if failure is not None:
            self._report(place, failure)
