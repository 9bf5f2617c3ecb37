"""What requests that are not sent yet would cost, and where their prices are from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import NamedTuple

from pipeline.assembly import Parts
from pipeline.core.forecast import NOTHING, Forecast, forecast, in_batch_api
from pipeline.core.pricing import CACHED
from pipeline.planning.values import Cost
from pipeline.types import Item


class Priced(NamedTuple):
    """What one request would cost, in the tier that it asks for and in the Batch API."""

    asked: Forecast = NOTHING
    batch: Forecast = NOTHING


class Prices:
    """Prices requests and notes what is not known.

    Args:
        parts: What a run is made of.
        at: When the requests are sent, in seconds since the epoch.
        counts: Whether the tokens of requests to a model are counted with its vocabulary.

    Attributes:
        exact: Whether those of all requests so far are.
        models: Those that are asked for.
        unbounded: Whether nothing bounds the output of some request.
    """

    def __init__(self, parts: Parts, at: float, counts: Callable[[str], bool]) -> None:
        self._parts = parts
        self._at = at
        self._counts = lru_cache(CACHED)(counts)
        self._sources: tuple[set[str], set[str]] = (set(), set())
        self._unpriced = self._no_batch = False
        self.models: set[str] = set()
        self.exact = True
        self.unbounded = False

    def of(self, items: Sequence[Item], tokens_in: int, tokens_out: int) -> Priced:
        """Return what the request that holds `items` would cost."""
        body = self._parts.job.body(items)
        model, tier = str(body["model"]), body.get("service_tier")
        if len(self.models) < CACHED:  # lines may name as many as they like
            self.models.add(model)
        counted = self._counts(model)
        self.exact &= counted
        self.unbounded |= any(item.output_tokens is None for item in items)
        quotes = self._parts.prices.quotes(model, tier if isinstance(tier, str) else None, self._at)
        if quotes is None:
            self._unpriced = True
            return Priced()
        self._sources[0].add(quotes.asked.label)
        asked = forecast(quotes, tokens_in, tokens_out, counted=counted)
        batch = in_batch_api(quotes)
        if batch is None:
            self._no_batch = True
            return Priced(asked)
        self._sources[1].add(batch.asked.label)
        return Priced(asked, forecast(batch, tokens_in, tokens_out, counted=counted))

    def cost(self, sums: Forecast) -> Cost | None:
        """Return a sum for the plan; None where the price of some request is not known."""
        return None if self._unpriced else self._cost(sums, self._sources[0])

    def batch_api(self, sums: Forecast) -> Cost | None:
        """Return the same for the Batch API; None where some request has no known price there."""
        return None if self._unpriced or self._no_batch else self._cost(sums, self._sources[1])

    def _cost(self, sums: Forecast, sources: set[str]) -> Cost:
        return Cost(
            input_nusd=sums.input,
            cached_nusd=sums.cached,
            output_bound_nusd=None if self.unbounded else sums.output,
            least_nusd=sums.least,
            bound_nusd=None if self.unbounded else sums.most,
            price_source=", ".join(sorted(sources)) or None,
        )
