"""What a usage costs: integer nano-USD, exact, rounded up once per request.

Prices are those of text tokens. Fees that no `usage` reports (searches, stored files) are not in them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from functools import lru_cache
from typing import Literal, NamedTuple

from pipeline.errors import UsageError
from pipeline.types import Usage

Tier = Literal["standard", "flex", "priority", "batch"]

TIERS: Mapping[str | None, Tier] = {
    None: "standard",
    "auto": "standard",
    "default": "standard",
    "standard": "standard",
    "on_demand": "standard",
    "scale": "standard",
    "flex": "flex",
    "fast": "priority",
    "priority": "priority",
    "batch": "batch",
}
"""What a `service_tier` may say; `batch` is ours, for the Batch API."""
_NO_DEARER: Mapping[Tier, Tier] = {"flex": "standard", "batch": "standard"}
"""Tiers that are discounts: a model without a price for one is charged the other at the most."""

_MTOK = 1_000_000
_MOST_NUSD = 10**15
"""No request costs a million dollars; a cost is cut there so that sums fit the 64-bit integers of the ledger."""
MINUTE = 60
"""Prices change at midnight UTC and, for the few with off-peak hours, at a whole minute: one look-up a minute."""
CACHED = 1024
"""Look-ups kept: a server may name as many models as it likes."""


class Rates(NamedTuple):
    """Nano-USD per million tokens, by kind. Each token is of exactly one kind."""

    input: int
    """Neither cached nor written to the cache."""
    cached: int
    cache_write: int
    output: int
    """Without reasoning."""
    reasoning: int

    @classmethod
    def of(
        cls,
        tokens_in: int,
        tokens_out: int,
        *,
        cached: int | None = None,
        cache_write: int | None = None,
        reasoning: int | None = None,
    ) -> Rates:
        """A kind that has no rate of its own (None) is billed as what it is a part of."""
        return cls(
            tokens_in,
            tokens_in if cached is None else cached,
            tokens_in if cache_write is None else cache_write,
            tokens_out,
            tokens_out if reasoning is None else reasoning,
        )


@dataclass(frozen=True, slots=True)
class Price:
    """The prices of one model in one service tier at one time."""

    rates: Rates
    long_input: tuple[tuple[int, Rates], ...] = ()
    """(N, rates) in ascending order: the rates of all tokens of a request with more than N input tokens."""
    request: int = 0
    """Nano-USD for each request, whatever its tokens."""
    source: str = ""
    """Where the price is from: `genai-prices 0.2.3`, `prices.yaml` or `free`."""
    checked: date | None = None
    """When it was last compared with the provider's page, or published in the list it is from; None where unknown."""

    @property
    def label(self) -> str:
        """Where the price is from, and of which day it is."""
        return f"{self.source} of {self.checked}" if self.checked else self.source

    def cost(self, usage: Usage) -> int:
        """Return the nano-USD that one request costs; its bound where the usage is an estimate."""
        tokens_in, tokens_out, cached, written, reasoning, estimated = usage
        if estimated:
            return self.bound(tokens_in, tokens_out)
        rates = self.rates
        for above, longer in self.long_input:
            if tokens_in > above:
                rates = longer
        total = (
            (tokens_in - cached - written) * rates[0]
            + cached * rates[1]
            + written * rates[2]
            + (tokens_out - reasoning) * rates[3]
            + reasoning * rates[4]
        )
        return min(self.request - -total // _MTOK, _MOST_NUSD)

    def discount(self, cached: int) -> int:
        """Return how many nano-USD `cached` input tokens cost less than other input of a short request."""
        return cached * (self.rates.input - self.rates.cached) // _MTOK

    def least(self, input_tokens: int) -> int:
        """Return the fewest nano-USD that a request of so many input tokens can cost: no output, the cheapest kind."""
        return min(
            self.cost(Usage(input_tokens)),
            self.cost(Usage(input_tokens, cached=input_tokens)),
            self.cost(Usage(input_tokens, cache_write=input_tokens)),
        )

    def bound(self, input_tokens: int, output_tokens: int) -> int:
        """Return the most nano-USD that a request of at most so many tokens can cost, whatever their kinds."""
        fresh, cached, written, out, reasoning = self.rates
        dearest_in, dearest_out = max(fresh, cached, written), max(out, reasoning)
        for above, longer in self.long_input:
            if input_tokens > above:
                dearest_in, dearest_out = max(dearest_in, *longer[:3]), max(dearest_out, *longer[3:])
        total = input_tokens * dearest_in + output_tokens * dearest_out
        return min(self.request - -total // _MTOK, _MOST_NUSD)


FREE = Price(Rates(0, 0, 0, 0, 0), source="free")
"""The price of servers that bill nothing, such as one's own."""


class PriceCard(NamedTuple):
    """All prices of one model at one time, by tier. `standard` is always there."""

    tiers: Mapping[Tier, Price]

    def price(self, tier: Tier) -> Price | None:
        """The price of `tier`; the standard price for a discount that the model does not have; None for a surcharge."""
        return self.tiers.get(tier) or self.tiers.get(_NO_DEARER.get(tier, tier))

    def dearest(self) -> Price:
        """The price of the tier that costs the most."""
        return dearest(self.tiers.values())


def dearest(prices: Iterable[Price]) -> Price:
    """The price at which a million tokens each way cost the most."""
    return max(prices, key=lambda price: price.bound(_MTOK, _MTOK))


Lookup = Callable[[str, float], PriceCard | None]
"""(model, seconds since the epoch) → its prices then, or None where they are not known."""


def tier_named(name: str | None) -> Tier:
    """Return the tier that a `service_tier` names.

    Raises:
        UsageError: No provider has such a tier, so it cannot be priced.
    """
    if name not in TIERS:
        known = ", ".join(sorted(key for key in TIERS if key))
        raise UsageError(f"service_tier {str(name)[:40]!r} is unknown; known are {known}", code="unknown_tier")
    return TIERS[name]


class PriceBook:
    """Prices by model, service tier and time, over a look-up that may be slow."""

    def __init__(self, lookup: Lookup) -> None:
        self._card = lru_cache(CACHED)(lambda model, minute: lookup(model, minute * MINUTE))

    def price(self, model: str, tier: str | None, at: float) -> Price | None:
        """Return the price of a model in a tier at a time, or None where it is not known.

        Args:
            model: As in a request or response; case does not matter.
            tier: A `service_tier`, or `batch` for the Batch API; None for the default.
            at: When the request was sent, in seconds since the epoch.

        Raises:
            UsageError: The tier is unknown.
        """
        name = tier_named(tier)
        card = self.card(model, at)
        return card.price(name) if card else None

    def known_price(self, model: str, tier: str | None, at: float) -> Price:
        """Return the price where a budget must be kept. Arguments as `price`.

        Raises:
            UsageError: The tier is unknown, or the price is.
        """
        price = self.price(model, tier, at)
        if price is None:
            raise UsageError(
                f"no price is known for model {model[:80]!r} in service tier {tier_named(tier)}, so the budget cannot "
                "be kept: add one to prices.yaml, name the provider `free` if nothing is billed, or set no budget",
                code="unknown_price",
            )
        return price

    def card(self, model: str, at: float) -> PriceCard | None:
        """Return all prices of a model at a time, or None where they are not known. Arguments as `price`."""
        return self._card(model, int(at // MINUTE))
