"""Retry: sends a request again where the error says that it may succeed later. Waits without holding a slot."""

from __future__ import annotations

from collections.abc import Callable

from pipeline.backends.base import Backend
from pipeline.clock import Clock
from pipeline.core.backoff import GiveUp, RetryBudget, RetryPolicy, Tries, decide
from pipeline.errors import PipelineError, Retryable
from pipeline.types import Request, Response


class Retry:
    """The outermost middleware. Final errors leave it with `attempts` and `first_at` set.

    Args:
        inner: The next backend.
        policy: How long to keep trying.
        budget: Shared by all requests to the endpoint.
        clock: The waits.
        random: A uniform random number in [0, 1).

    Raises:
        Malformed: Of several records, for the engine to send singly; nothing else that is Retryable.
        Rejected: The record is at fault, or (`halve` is False) every attempt failed.
        EndpointUnavailable: The server asked for a longer wait than `policy.max_wait`.
    """

    def __init__(
        self, inner: Backend, policy: RetryPolicy, budget: RetryBudget, clock: Clock, random: Callable[[], float]
    ) -> None:
        self._inner = inner
        self._policy = policy
        self._budget = budget
        self._clock = clock
        self._random = random

    async def send(self, request: Request) -> Response:
        began = self._clock.monotonic()
        first_at = self._clock.now() if request.first_at is None else request.first_at
        sent = counted = 0
        while True:
            try:
                response = await self._inner.send(request)
            except Retryable as error:
                sent += 1
                counted += error.counted
                tries = Tries(sent, counted, request.attempts, self._clock.monotonic() - began, len(request.items))
                seconds = self._wait(error, tries, first_at)
            except PipelineError as error:
                _mark(error, request.attempts + counted + 1, first_at)
                raise
            else:
                if not sent:
                    self._budget.earn()
                return response
            await self._clock.sleep(seconds)

    def _wait(self, error: Retryable, tries: Tries, first_at: float) -> float:
        """Return the seconds until the next attempt, or raise the final error."""
        decision = decide(error, tries, self._policy, now=self._clock.now(), jitter=self._random())
        if isinstance(decision, GiveUp):
            final = decision.error
            _mark(final, tries.before + tries.counted, first_at)
            raise final from (None if final is error else error)
        if not error.counted:
            return decision.seconds
        return max(decision.seconds, self._budget.spend(self._clock.monotonic()))


def _mark(error: PipelineError, attempts: int, first_at: float) -> None:
    error.attempts = attempts
    error.first_at = first_at
