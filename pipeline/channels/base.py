"""What a notification goes through, and what can become of it."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable
from typing import Protocol, TypeVar

from pipeline.core.notification import Notification

_T = TypeVar("_T")


class Undelivered(Exception):
    """Something could not be delivered. No job fails for it: it is shown as a notice.

    Args:
        reason: What happened, without what the other side said and without a secret.
        again: Whether the same may succeed a moment later.
    """

    def __init__(self, reason: str, *, again: bool) -> None:
        super().__init__(reason)
        self.again = again


class Channel(Protocol):
    """One way to reach somebody."""

    @property
    def place(self) -> str:
        """What is reached, in words that hold no secret."""

    async def deliver(self, notification: Notification) -> None:
        """Try once. Whoever awaits it bounds its time: cancelled, it leaves nothing behind that lasts.

        Raises:
            Undelivered: Why not.
        """


async def in_daemon_thread(work: Callable[[], _T]) -> _T:
    """Run what blocks in a thread of its own, which the end of the process does not wait for.

    Raises:
        Undelivered: No thread can be started.
    """
    loop = asyncio.get_running_loop()
    ended: asyncio.Future[_T] = loop.create_future()

    def settle(outcome: _T | Exception) -> None:
        if ended.done():
            return  # nobody waits any more
        if isinstance(outcome, Exception):
            ended.set_exception(outcome)
        else:
            ended.set_result(outcome)

    def run() -> None:
        try:
            outcome: _T | Exception = work()
        except Exception as error:  # noqa: BLE001 - the boundary of a thread: raised where it is awaited
            outcome = error
        with contextlib.suppress(RuntimeError):  # the loop is closed: the run has ended without us
            loop.call_soon_threadsafe(settle, outcome)

    try:
        threading.Thread(target=run, name="notify", daemon=True).start()
    except RuntimeError:
        raise Undelivered("no thread can be started", again=True) from None
    return await ended
