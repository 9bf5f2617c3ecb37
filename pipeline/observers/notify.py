"""Tells whoever wants to know how a run goes. No run is slower for it, or fails."""

from __future__ import annotations

import asyncio
import secrets
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial

from pipeline.channels.base import Channel, Undelivered
from pipeline.channels.deliveries import Deliveries
from pipeline.channels.heartbeat import Heartbeat
from pipeline.core.notification import Event, Notification, RunEvent, event_at_end, notification
from pipeline.events import Event as Seen
from pipeline.events import Notice, Observer, RunStarted, SoftBudgetReached
from pipeline.observers.outcome import cost, headline, nothing_to_do
from pipeline.observers.summary import Summary
from pipeline.types import Json

_BUG = 1
_LOCKED = 75


@dataclass(frozen=True, slots=True)
class Audience:
    """Who is told, and of what.

    Attributes:
        channels: How they are reached.
        on: What they are told.
        timeout: Seconds for a delivery.
        heartbeat: What is pinged.
        heartbeat_timeout: Seconds for a ping.
        problems: What cannot be reached, and why not.
    """

    channels: Sequence[Channel]
    on: Sequence[RunEvent]
    timeout: float
    heartbeat: Heartbeat | None
    heartbeat_timeout: float
    problems: Sequence[tuple[str, Undelivered]] = ()


class Notifier:
    """Notifications and heartbeats of one run; an observer of what happens under way.

    Args:
        audience: Who is told.
        observers: See what could not be delivered, once.
        summary: Returns how the run stands.
        now: Seconds since the epoch.
    """

    def __init__(
        self, audience: Audience, observers: Observer, summary: Callable[[], Summary], now: Callable[[], float]
    ) -> None:
        self._audience = audience
        self._observers = observers
        self._summary = summary
        self._now = now
        self._deliveries = Deliveries(self._failed)
        self._said: set[str] = set()
        self._start_ping: asyncio.Task[None] | None = None
        self._abandoned = False

    def see(self, event: Seen) -> None:
        kind = type(event)
        if kind is RunStarted:
            self._started()
        elif kind is SoftBudgetReached:
            self._tell("soft_budget", self._summary().as_dict())

    async def ended(self, summary: Summary, stop: str | None) -> None:
        """Tell how the run ended, where it did anything, and wait for all deliveries, each no longer than its time.

        Args:
            summary: Of the run.
            stop: The code of the error that stopped it.
        """
        exit_code = summary.exit_code
        if self._abandoned or exit_code is None:
            return
        if exit_code != _LOCKED:
            self._ping_end(exit_code)
        said = summary.as_dict()
        if not nothing_to_do(said):
            self._tell(event_at_end(exit_code, stop), said)
        await self._deliveries.finish()

    async def broke(self) -> None:
        """Tell that a bug ended the run; as `ended`."""
        message = "a bug in pipeline ended the run; its log says where"
        await self.ended(replace(self._summary(), state="failed", exit_code=_BUG, message=message), None)

    def abandon(self) -> None:
        """Wait for no delivery any longer, and begin none."""
        self._abandoned = True
        self._deliveries.abandon()

    def _started(self) -> None:
        self._report_problems()
        heartbeat = self._audience.heartbeat
        if heartbeat is not None:
            self._start_ping = self._deliveries.begin(
                heartbeat.place, heartbeat.started, self._audience.heartbeat_timeout
            )

    def _ping_end(self, exit_code: int) -> None:
        heartbeat = self._audience.heartbeat
        if heartbeat is not None:
            send = partial(_ping_after, self._start_ping, heartbeat, exit_code)
            self._deliveries.begin(heartbeat.place, send, self._audience.heartbeat_timeout)

    def _tell(self, event: RunEvent, summary: Json) -> None:
        if event not in self._audience.on:
            return
        self._report_problems()
        told = compose(event, summary, self._now())
        for channel in self._audience.channels:
            self._deliveries.begin(channel.place, partial(channel.deliver, told), self._audience.timeout)

    def _report_problems(self) -> None:
        for place, problem in self._audience.problems:
            self._failed(place, problem)

    def _failed(self, place: str, problem: Undelivered) -> None:
        text = f"{place}: not delivered: {problem}"
        if text not in self._said:
            self._said.add(text)
            self._observers.see(Notice("warning", text))


def compose(event: Event, summary: Json, now: float) -> Notification:
    """Return what is told of an event.

    Args:
        event: What happened.
        summary: As in `run.json`.
        now: Seconds since the epoch.
    """
    said = {"soft_budget": "the soft budget is reached, and the run goes on", "test": "a test; nothing has happened"}
    text = f"{summary['name']}: {said.get(event) or headline(summary)}"
    if summary["requests"]["sent"]:
        text += f"; cost: {cost(summary)}"
    at = datetime.fromtimestamp(now, UTC).isoformat(timespec="milliseconds")
    return notification(event, text, summary, identity=secrets.token_hex(16), host=socket.gethostname(), at=at)


async def _ping_after(before: asyncio.Task[None] | None, heartbeat: Heartbeat, exit_code: int) -> None:
    """Ping once the ping of the start is through: in the wrong order, an ended run would look like a running one."""
    if before is not None:
        await asyncio.wait([before])
    await heartbeat.ended(exit_code)
