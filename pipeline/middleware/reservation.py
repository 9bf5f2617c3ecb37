"""Reservation: nothing is sent before its intent and the most it can cost are durable."""

from __future__ import annotations

from collections.abc import Callable
from math import ceil
from typing import Protocol

from pipeline.backends.base import Backend
from pipeline.clock import Clock
from pipeline.errors import Malformed, PipelineError, Rejected, Retryable
from pipeline.types import Request, Response

MOST_AMBIGUOUS = 2
_MOST_RAISED = 100.0
"""Times the bound: a usage that is beyond all reason must not make every further request unaffordable."""


class Intents(Protocol):
    """What the reservation needs of the ledger."""

    ambiguous: dict[int, int]
    """How often each record was sent with an unknown outcome because of the network."""

    async def reserve(self, lines: tuple[int, ...], amount: int, model: str) -> str:
        """Make the intent durable; raises BudgetReached where `amount` nano-USD do not fit."""

    def release(self, attempt: str, *, billed: bool, ambiguous: bool) -> None:
        """Record that the attempt brought no answer."""


class Prices(Protocol):
    """What a request costs, in nano-USD. Times are seconds since the epoch."""

    def bound(self, request: Request, at: float) -> int:
        """The most that `request` can cost when sent at `at`."""

    def cost(self, request: Request, response: Response, at: float) -> int:
        """What `response` cost."""


class Reservation:
    """Reserves before the request is sent, prices the response, and releases what failed.

    Args:
        inner: The next backend.
        intents: The ledger's asyncio side.
        prices: The price of requests.
        clock: For the day of the price.
        allow_rebill: Send records again however often their outcome stayed unknown.
        shrink: Returns a tighter bound on the input tokens of a request (exact counts); asked where money is short.
        scarce: Whether an amount in nano-USD is large against what is left of the budget.
    """

    def __init__(
        self,
        inner: Backend,
        intents: Intents,
        prices: Prices,
        clock: Clock,
        *,
        allow_rebill: bool = False,
        shrink: Callable[[Request], int] | None = None,
        scarce: Callable[[int], bool] | None = None,
    ) -> None:
        self._inner = inner
        self._intents = intents
        self._prices = prices
        self._clock = clock
        self._allow_rebill = allow_rebill
        self._shrink = shrink
        self._scarce = scarce
        self._raised = 1.0

    async def send(self, request: Request) -> Response:
        if self._intents.ambiguous and not self._allow_rebill:
            self._refuse_third(request)
        at = self._clock.now()
        lines = tuple([item.record.line for item in request.items])
        bound = self._prices.bound(request, at)
        if self._shrink is not None and self._scarce is not None and self._scarce(bound):
            # What a usage that is not believed costs is bounded with it.
            request = request._replace(input_bound=self._shrink(request))
            bound = self._prices.bound(request, at)
        attempt = await self._intents.reserve(lines, ceil(bound * self._raised), request.model)
        try:
            response = await self._inner.send(request.named(attempt))
            cost = self._prices.cost(request, response, at)
            if cost > bound > 0:
                # More than should be possible (hidden reasoning, a dearer model): what follows sets as much aside.
                self._raised = min(_MOST_RAISED, max(self._raised, cost / bound))
            return response.priced(attempt, cost)
        except PipelineError as error:
            ambiguous = error.billed and isinstance(error, Retryable) and not isinstance(error, Malformed)
            self._intents.release(attempt, billed=error.billed, ambiguous=ambiguous)
            raise
        except Exception:  # a bug: it may have been billed, and others may be waiting for the money set aside
            self._intents.release(attempt, billed=True, ambiguous=False)
            raise

    def _refuse_third(self, request: Request) -> None:
        """Refuse records whose outcome stayed unknown too often; of several, each is then looked at alone."""
        most = max(self._intents.ambiguous.get(item.record.line, 0) for item in request.items)
        if most >= MOST_AMBIGUOUS:
            raise Rejected(
                f"sent {most} times without a usable answer, each of which may have been billed; "
                "`pipeline retry` sends it again",
                code="ambiguous_limit",
            )
