"""The limiter: no attempt goes before the endpoint's limits allow it, and none later than needed."""

from __future__ import annotations

import asyncio
import math
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from asyncio_throttle.throttler import Throttler

from pipeline.backends.base import Backend
from pipeline.clock import Clock
from pipeline.core.concurrency import AdaptiveConcurrency
from pipeline.core.lane import Charge, Lane
from pipeline.core.limits import Limits
from pipeline.core.meter import Stopwatch
from pipeline.core.per_second import PerSecond
from pipeline.core.queue import Queue, Waiter
from pipeline.errors import Ambiguous, JobStopped, Malformed, PipelineError, Rejected, Throttled, Unreachable
from pipeline.events import AttemptSent, Observers, Paused
from pipeline.types import Request, Response

_OVERLOADED = frozenset({"slow_down", "server_is_overloaded", "overloaded_error", "overloaded"})
"""Codes that are about the whole endpoint, whichever model was asked."""
_OVERLOADED_STATUSES = frozenset({503, 529})
_WORTH_SAYING = 0.1
"""Seconds by which a pause must grow for observers to hear of it again."""
_EARLIEST = 0.001
"""Seconds to the next look when a timer came early: event loops round to milliseconds."""
_POLL = 0.002
"""Seconds between two looks of asyncio-throttle."""
_STEP = 0.25
"""Seconds between two looks at who else uses the same limits."""


class Lanes(Protocol):
    """Makes the lanes, and keeps them in step with the other runs that use the same limits."""

    def lane(self, model: str, limits: Limits, now: float) -> Lane:
        """Return a new lane for `model`."""

    def refresh(self, now: float) -> None:
        """See who has come and who is gone; to be called every now and then."""


class OwnLanes:
    """Lanes of one run alone."""

    def lane(self, model: str, limits: Limits, now: float) -> Lane:  # noqa: ARG002 - every model's are alike
        return Lane(limits.rpm, limits.tpm, now)

    def refresh(self, now: float) -> None:
        """Nobody else is there."""


@dataclass(frozen=True, slots=True)
class ThrottleStatistics:
    """How the limiter stands."""

    waiting: int
    """Attempts that wait for quota or for a slot."""
    in_flight: int
    concurrency: int
    """The most attempts in flight at present."""
    utilisation: float
    """Part of the tightest limit used over the last seconds; 0 where no limit is known."""
    requests_per_minute: float
    tokens_per_minute: float
    paused: bool
    blocked: Mapping[str, float]
    """Seconds for which the first in line was held up, by requests, tokens, pause, concurrency or per_second."""


class _Waiter(Waiter):
    __slots__ = ("granted",)

    def __init__(self, lane: Lane, tokens: int, asked: float, granted: asyncio.Future[Charge]) -> None:
        super().__init__(lane, tokens, asked)
        self.granted = granted


class Throttle:
    """Lets attempts through first come first served, as fast as the limits allow.

    Each model has a lane of its own; the concurrency slots are shared. An attempt holds its slot from the grant until
    the inner backend returns or raises. Where neither rpm nor tpm is configured, concurrency adapts to the server.

    Args:
        inner: Where admitted attempts go.
        limits: The limits of each lane and of all together.
        models: Limits of single models that differ; only their rpm and tpm count.
        jitter: Returns numbers from 0 to 1, for pauses whose length the provider does not say.
        lanes: Makes the lanes; those of other runs may share their limits while `keep_in_step` runs.

    Raises:
        Rejected: `request_too_large`: the request's charge is above the limit a minute.
    """

    def __init__(
        self,
        inner: Backend,
        limits: Limits,
        clock: Clock,
        observers: Observers,
        *,
        models: Mapping[str, Limits] | None = None,
        jitter: Callable[[], float] = random.random,
        lanes: Lanes | None = None,
    ) -> None:
        self._inner = inner
        self._limits = limits
        self._models = models or {}
        self._clock = clock
        self._observers = observers
        self._jitter = jitter
        self._maker = lanes or OwnLanes()
        self._lanes: dict[str, Lane] = {}
        self._queue: Queue[_Waiter] = Queue()
        self._in_flight = 0
        self._waiting = 0
        self._closed = (0.0, 0.0)
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = 0.0
        self._adaptive = None if limits.rpm or limits.tpm else AdaptiveConcurrency(limits.concurrency)
        self._per_second = PerSecond(limits.per_second) if limits.per_second else None
        self._throttler = Throttler(0, retry_interval=_POLL)  # each use says how much
        self._feeder: asyncio.Task[None] | None = None
        self._blocked = Stopwatch()

    def __repr__(self) -> str:
        lanes = ", ".join(f"{model}: {lane!r}" for model, lane in self._lanes.items())
        return f"<Throttle [{self._in_flight} of {self._slots} in flight, {self._waiting} waiting | {lanes}]>"

    def statistics(self) -> ThrottleStatistics:
        """Return how the limiter stands now."""
        now = self._clock.monotonic()
        lanes = self._lanes.values()
        used = [lane.used(now) for lane in lanes]
        return ThrottleStatistics(
            waiting=self._waiting,
            in_flight=self._in_flight,
            concurrency=self._slots,
            utilisation=max((lane.utilisation(now) for lane in lanes), default=0.0),
            requests_per_minute=sum(requests for requests, _ in used),
            tokens_per_minute=sum(tokens for _, tokens in used),
            paused=any(now < lane.paused_until for lane in lanes),
            blocked=self._blocked.read(now),
        )

    async def send(self, request: Request) -> Response:
        """Send `request` when its turn has come.

        Raises:
            Rejected: `request_too_large`: the request's charge is above the limit a minute, so it could never go.
        """
        asked = self._clock.monotonic()
        lane = self._lane(request.model, asked)
        charge = self._admit_at_once(lane, request.tokens, asked) or await self._wait(lane, request.tokens, asked)
        load = self._in_flight
        try:
            self._observers.see(AttemptSent(charge.at - asked))
            response = await self._inner.send(request)
        except BaseException as error:
            self._failed(lane, charge, error)
            raise
        else:
            self._served(lane, charge, response, load)
            return response
        finally:
            self._release()

    async def keep_in_step(self) -> None:
        """Follow the other runs that use the same limits, until cancelled."""
        while True:
            await self._clock.sleep(_STEP)
            self._maker.refresh(self._clock.monotonic())
            if self._waiting:
                self._dispatch()

    @property
    def _slots(self) -> int:
        return self._limits.concurrency if self._adaptive is None else self._adaptive.limit

    def _lane(self, model: str, now: float) -> Lane:
        lane = self._lanes.get(model)
        if lane is None:
            lane = self._lanes[model] = self._maker.lane(model, self._models.get(model, self._limits), now)
            lane.hold(*self._closed, now)
        return lane

    def _admit_at_once(self, lane: Lane, tokens: int, now: float) -> Charge | None:
        if not lane.fits(tokens):
            raise _too_large(lane, tokens)
        if self._per_second is not None or self._in_flight >= self._slots or self._queue.waits_for(lane):
            return None
        if lane.wait(tokens, now) > 0:
            return None
        charge = lane.claim(tokens, now)
        self._in_flight += charge is not None
        return charge

    async def _wait(self, lane: Lane, tokens: int, asked: float) -> Charge:
        waiter = _Waiter(lane, tokens, asked, asyncio.get_running_loop().create_future())
        changed = not self._queue.waits_for(lane)
        self._queue.join(waiter)
        self._waiting += 1
        if changed:
            self._dispatch()
        try:
            return await waiter.granted
        except asyncio.CancelledError:
            self._abandon(waiter)
            raise

    def _abandon(self, waiter: _Waiter) -> None:
        """Undo a wait that was cancelled, granted or not."""
        if not waiter.gone:
            self._waiting -= 1
            self._queue.leave(waiter)
            self._dispatch()
        elif not waiter.granted.cancelled() and waiter.granted.exception() is None:
            waiter.lane.unsent(waiter.granted.result(), self._clock.monotonic())
            self._release()

    def _release(self) -> None:
        self._in_flight -= 1
        if self._waiting:
            self._dispatch()

    def _dispatch(self) -> None:
        """Grant all that may go now."""
        now = self._clock.monotonic()
        if self._per_second is None:
            while (waiter := self._next(now)) is not None:
                self._grant(waiter, now)
        elif self._feeder is None and self._next(now) is not None:
            self._feeder = asyncio.get_running_loop().create_task(self._feed(self._per_second))

    async def _feed(self, per_second: PerSecond) -> None:
        """Grant one by one, at the pace of asyncio-throttle, which polls: no other task ever waits for it."""
        throttler = self._throttler
        try:
            while self._next(now := self._clock.monotonic()) is not None:
                self._blocked.note("per_second", now)
                part = per_second.part(max(lane.runs for lane in self._lanes.values()), now)
                throttler.rate_limit, throttler.period = part.requests, part.seconds
                if part.after:
                    await self._clock.sleep(part.after)
                await throttler.acquire()  # type: ignore[no-untyped-call]
                if (waiter := self._next(now := self._clock.monotonic())) is not None:
                    self._grant(waiter, now)
        finally:
            self._feeder = None

    def _next(self, now: float) -> _Waiter | None:
        """Return the waiter that may go now; where there is none, see to it that the next is looked at in time."""
        if self._in_flight >= self._slots:
            self._blocked.note("concurrency" if self._waiting else None, now)
            return None
        ready, first, wait = self._queue.turn(now)
        if ready is None:
            self._blocked.note(None if first is None else first.lane.bound(first.tokens, now), now)
            self._set_timer(wait, now)
        return ready

    def _grant(self, waiter: _Waiter, now: float) -> None:
        lane, granted = waiter.lane, waiter.granted
        fits = lane.fits(waiter.tokens)
        charge = lane.claim(waiter.tokens, now) if fits and not granted.cancelled() else None
        if fits and charge is None and not granted.cancelled():
            return
        self._queue.leave(waiter)
        self._waiting -= 1
        if charge is not None:
            self._in_flight += 1
            granted.set_result(charge)
        elif not fits and not granted.cancelled():
            granted.set_exception(_too_large(lane, waiter.tokens))

    def _set_timer(self, wait: float, now: float) -> None:
        at = now + max(wait, _EARLIEST)
        if wait == math.inf or (self._timer is not None and self._timer_at <= at):
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_later(at - now, self._wake)
        self._timer_at = at

    def _wake(self) -> None:
        self._timer = None
        self._dispatch()

    def _served(self, lane: Lane, charge: Charge, response: Response, load: int) -> None:
        now = self._clock.monotonic()
        usage = response.usage
        used = None if usage.estimated else (usage.input + usage.output) or None
        lane.served(charge, used, response.limits, now)
        if self._adaptive is not None:
            self._adaptive.succeeded(charge.at, load, now)

    def _failed(self, lane: Lane, charge: Charge, error: BaseException) -> None:
        now = self._clock.monotonic()
        if _never_sent(error):
            lane.unsent(charge, now)
        elif isinstance(error, Throttled):
            lane.refused(charge, error.limits, now)
            self._pause(lane, charge, error, now)
        else:
            lane.failed(charge, error.limits if isinstance(error, PipelineError) else None, now)
        if self._adaptive is not None and _overloads(error):
            self._adaptive.failed(charge.at, now)

    def _pause(self, lane: Lane, charge: Charge, error: Throttled, now: float) -> None:
        everything = error.code in _OVERLOADED or error.status in _OVERLOADED_STATUSES
        ramp, jitter = error.code == "slow_down", self._jitter()
        added = lane.pause(charge, error.hint, jitter, now, ramp=ramp)
        if everything:
            self._closed = (lane.paused_until, charge.tokens.charge)
            for other in self._lanes.values():
                if other is not lane:
                    other.pause(charge, error.hint, jitter, now, ramp=ramp)
        if added >= _WORTH_SAYING:
            self._observers.see(Paused(lane.paused_until - now, error.code))


def _never_sent(error: BaseException) -> bool:
    """Whether the endpoint cannot have counted the attempt: what stopped it came from us, before any answer."""
    if isinstance(error, Unreachable):
        return True
    return isinstance(error, Rejected | JobStopped) and error.status is None


def _overloads(error: BaseException) -> bool:
    return isinstance(error, Throttled) or (isinstance(error, Ambiguous) and not isinstance(error, Malformed))


def _too_large(lane: Lane, tokens: int) -> Rejected:
    message = f"the request is charged {tokens} tokens, more than the limit of {lane.tokens.limit} tokens a minute"
    return Rejected(message, code="request_too_large")
