"""Circuit: while the endpoint fails, one probe is sent and the others wait; what a person must mend ends it."""

from __future__ import annotations

import asyncio
from collections import deque

from pipeline.backends.base import Backend
from pipeline.clock import Clock
from pipeline.core.circuit import Breaker, CircuitPolicy
from pipeline.errors import (
    Ambiguous,
    BudgetReached,
    EndpointUnavailable,
    JobStopped,
    Malformed,
    PipelineError,
    Transient,
    Unreachable,
)
from pipeline.events import Observer, Paused
from pipeline.types import Request, Response

_SHORTEST_SLEEP = 0.001
"""Keeps a rounding error of the clock from becoming a busy loop."""


class Circuit:
    """Endpoint-wide breaker. Waiters are admitted first come, first served, by one timer.

    A JobStopped from below (a refused key, an empty account) opens the circuit for good: what is in flight may come
    back, nothing else is sent.

    Args:
        inner: The next backend.
        policy: When it opens and how it closes.
        clock: The waits.
        observers: Sees a Paused whenever the circuit opens.

    Raises:
        EndpointUnavailable: Nothing was answered for `policy.max_outage` seconds.
        JobStopped: What opened the circuit for good.
    """

    def __init__(self, inner: Backend, policy: CircuitPolicy, clock: Clock, observers: Observer | None = None) -> None:
        self._inner = inner
        self._clock = clock
        self._observers = observers
        self._breaker = Breaker(policy)
        self._waiters: deque[asyncio.Future[int]] = deque()
        self._timer: asyncio.Task[None] | None = None
        self._stop: JobStopped | None = None

    async def send(self, request: Request) -> Response:
        permit = self._admitted()
        if permit is None:
            permit = await self._turn()
        try:
            response = await self._inner.send(request)
        except PipelineError as error:
            self._judge(permit, error)
            raise
        except BaseException:
            self._breaker.released(permit)
            self._wake()
            raise
        self._breaker.answered(permit, self._clock.monotonic())
        if self._waiters:
            self._wake()
        return response

    def _admitted(self) -> int | None:
        """Return a permit, or None where the request must queue."""
        if self._stop is not None:
            raise _again(self._stop)
        return None if self._waiters else self._breaker.admit(self._clock.monotonic())

    async def _turn(self) -> int:
        waiter: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        self._wake()
        try:
            return await waiter
        except asyncio.CancelledError:
            self._leave(waiter)
            raise

    def _leave(self, waiter: asyncio.Future[int]) -> None:
        """Take back a cancelled waiter, or the permit that it was just given."""
        if waiter in self._waiters:
            self._waiters.remove(waiter)
        elif not waiter.cancelled() and waiter.exception() is None:
            self._breaker.released(waiter.result())
        self._wake()

    def _judge(self, permit: int, error: PipelineError) -> None:
        """Tell the breaker what `error` says about the endpoint.

        Raises:
            EndpointUnavailable: In place of `error`, where the outage has lasted too long.
        """
        breaker, now = self._breaker, self._clock.monotonic()
        if isinstance(error, JobStopped) and not isinstance(error, BudgetReached):
            self._stop = error
        elif isinstance(error, Transient | Unreachable | Ambiguous) and not isinstance(error, Malformed):
            self._fail(permit, error, now)
        elif error.status is not None:
            breaker.answered(permit, now)
        else:
            breaker.released(permit)
        self._wake()

    def _fail(self, permit: int, error: PipelineError, now: float) -> None:
        breaker = self._breaker
        generation = breaker.generation
        breaker.failed(permit, now)
        outage = breaker.unavailable(now)
        if outage is not None:
            self._stop = _unavailable(outage, error)
            self._wake()
            raise self._stop from error
        until = breaker.next_at(now)
        if breaker.generation != generation and until is not None and self._observers is not None:
            self._observers.see(Paused(until - now, f"the endpoint fails ({error.code})"))

    def _wake(self) -> None:
        """Admit who may go, and keep the timer running only while it is waited for."""
        self._admit_waiters()
        if not self._waiters and self._timer is not None:
            self._timer.cancel()
            self._timer = None
        elif self._waiters and self._timer is None:
            self._timer = asyncio.create_task(self._tick())

    def _admit_waiters(self) -> None:
        while self._waiters:
            waiter = self._waiters[0]
            if not waiter.done() and not self._served(waiter):
                return
            self._waiters.popleft()

    def _served(self, waiter: asyncio.Future[int]) -> bool:
        """Give the first waiter a permit, or the error that ends all waiting; False where it must wait on."""
        if self._stop is not None:
            waiter.set_exception(_again(self._stop))
            return True
        permit = self._breaker.admit(self._clock.monotonic())
        if permit is not None:
            waiter.set_result(permit)
        return permit is not None

    async def _tick(self) -> None:
        """Sleep until time alone admits more, for as long as somebody waits; an outcome wakes the others itself."""
        while self._waiters:
            now = self._clock.monotonic()
            at = self._breaker.next_at(now)
            if at is None:
                break
            await self._clock.sleep(max(at - now, _SHORTEST_SLEEP))
            self._admit_waiters()
        self._timer = None


def _again(stop: JobStopped) -> JobStopped:
    """Return an error like `stop`: one exception raised in many tasks would gather all their tracebacks."""
    return type(stop)(stop.message, code=stop.code, status=stop.status)


def _unavailable(outage: float, error: PipelineError) -> EndpointUnavailable:
    return EndpointUnavailable(
        f"the endpoint has answered nothing for {outage:.0f} s: run again when it does; {error.message}",
        code=error.code,
        status=error.status,
    )
