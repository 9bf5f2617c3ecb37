"""What requests may cost and responses did cost: by the model and the service tier that answered, when it was sent."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

from pipeline.core.pricing import CACHED, MINUTE, TIERS, Price, PriceBook, PriceCard, Rates, Tier, dearest, tier_named
from pipeline.errors import Rejected
from pipeline.types import Request, Response


class Quote(NamedTuple):
    """The price of a response."""

    price: Price | None
    """None where nobody knows it: the cost is then unknown, never zero."""
    remark: str = ""
    """What the user should read once: the price is not simply that of the model and tier asked for."""


class Quotes(NamedTuple):
    """The prices that a request may be charged."""

    asked: Price
    """In the tier that it asks for; the dearest where nobody has heard of that."""
    charged: tuple[Price, ...]
    """In every tier that may answer: a provider may serve a request in the standard one instead."""
    batch: Price | None
    """In the Batch API; None where no price for it is known."""


def quote(
    book: PriceBook, *, asked: str, answered: str, asked_tier: str | None, answered_tier: str | None, at: float
) -> Quote:
    """Return the price of a response: by the model and the tier that answered, where these are known.

    * A model without a known price is charged as the one asked for.
    * The Batch API reports the tier `default`: it is batch where batch was asked for.
    * A response that names no tier is charged the dearer of the tier asked for and the standard one.
    * A tier without a known price is charged as the dearest of the model's.

    Args:
        book: The provider's prices.
        asked: The model in the request.
        answered: The model in the response; empty where it names none.
        asked_tier: The `service_tier` of the request, or `batch`.
        answered_tier: The `service_tier` of the response, as it came.
        at: When the request was sent, in seconds since the epoch.

    Raises:
        UsageError: `asked_tier` is unknown.
    """
    tier = tier_named(asked_tier)
    wanted = book.card(asked, at)
    card = book.card(answered, at) if answered else wanted
    if card is not None:
        remark = f"model {answered[:80]!r} answered for {asked[:80]!r}: charged at its own price"
        return _in_tier(card, tier, answered_tier, remark if card != wanted else "")
    if wanted is not None:
        remark = f"model {answered[:80]!r} answered and has no known price: charged as {asked[:80]!r}"
        return _in_tier(wanted, tier, answered_tier, remark)
    return Quote(None, f"model {(answered or asked)[:80]!r} has no known price: its cost is not counted")


def _in_tier(card: PriceCard, asked: Tier, answered: str | None, remark: str) -> Quote:
    price = _tier_price(card, asked, answered)
    if price is not None:
        return Quote(price, remark)
    surprise = f"service tier {(answered or asked)[:40]!r} has no known price: charged as the dearest"
    return Quote(card.dearest(), f"{remark}; {surprise}" if remark else surprise)


def _tier_price(card: PriceCard, asked: Tier, answered: str | None) -> Price | None:
    if asked == "batch":
        return card.price("batch")
    if answered is not None:
        return card.price(TIERS[answered]) if answered in TIERS else None
    price = card.price(asked)
    return price and dearest([price, card.tiers["standard"]])


class RequestPrices:
    """The prices of one endpoint's requests in one service tier, in nano-USD. Times are seconds since the epoch.

    Args:
        book: The provider's prices.
        tier: The `service_tier` that the config sets for all requests, or `batch`; None where it sets none.
        refuse_unknown: Whether a request whose price is not known must not be sent: there is a budget to keep.
        capped: Whether that is so for requests to a model.
        remark: Called once with each sentence that the user should read.
    """

    def __init__(
        self,
        book: PriceBook,
        *,
        tier: str | None,
        refuse_unknown: bool,
        remark: Callable[[str], None],
        capped: Callable[[str], bool] = lambda _: False,
    ) -> None:
        self._book = book
        self._tier = tier_named(tier)
        self._refuses_unknown = (lambda _: True) if refuse_unknown else capped
        self._remark = remark
        self._remarked: set[str] = set()
        self._dearest_asked = lru_cache(CACHED)(self._dearest)
        self._quote = lru_cache(CACHED)(self._price)
        self._quotes = lru_cache(CACHED)(self._all_quotes)
        self.sources: set[str] = set()
        """Where the prices of the responses so far came from, and of which day; `unknown` where one had none."""

    def require(self, model: str, at: float) -> None:
        """Check before anything is sent that the price of `model` is known, where there is a budget to keep.

        Raises:
            UsageError: It is not known.
        """
        if self._refuses_unknown(model):
            self._book.known_price(model, self._tier, at)

    def knows(self, model: str, at: float) -> bool:
        """Whether responses by `model` have a price; where not, a cost of 0 is an unknown one."""
        return self._book.card(model, at) is not None

    def rates(self, model: str, at: float) -> Rates | None:
        """Return what a million tokens of each kind cost in the tier asked for; None where nobody knows it."""
        price = self._book.price(model, self._tier, at)
        return price.rates if price is not None else None

    def saved(self, model: str, cached: int, at: float) -> int:
        """Return what `cached` input tokens cost `model` less, in the tier of the config, than input that is not.

        It is the least: where long requests cost more, or a record asked for a dearer tier, more was saved.
        """
        card = self._book.card(model, at)
        price = card and card.price(self._tier)
        return 0 if price is None else max(0, price.discount(cached))

    def price(self, request: Request, at: float) -> Price | None:
        """Return the dearest price that `request` can be charged when sent at `at`; None where nobody knows it."""
        # A record may name a tier of its own: then it may be charged any.
        own_tier = self._tier == "standard" and b'"service_tier"' in request.body
        return self._dearest_asked(request.model, own_tier, int(at // MINUTE))

    def quotes(self, model: str, named: str | None, at: float) -> Quotes | None:
        """Return what a request can be charged when sent at `at`, by tier; None where no price is known.

        Args:
            model: As in the request.
            named: The `service_tier` in the request, if there is one.
            at: When it is sent, in seconds since the epoch.
        """
        return self._quotes(model, named, int(at // MINUTE))

    def bound(self, request: Request, at: float) -> int:
        """Return the most that `request` can cost when sent at `at`; 0 where its price is not known.

        Raises:
            Rejected: It is not known and there is a budget to keep.
        """
        price = self.price(request, at)
        if price is not None:
            return price.bound(request.input_bound, request.output_bound)
        if self._refuses_unknown(request.model):
            raise Rejected(f"no price is known for model {request.model[:80]!r}", code="unknown_price")
        return 0

    def cost(self, request: Request, response: Response, at: float) -> int:
        """Return what `response` cost; 0, with a remark, where nobody knows its price."""
        minute = int(at // MINUTE)
        price, remark, source = self._quote(request.model, response.model, response.service_tier, minute)
        if remark and remark not in self._remarked and len(self._remarked) < CACHED:
            self._remarked.add(remark)
            self._remark(remark)
        self.sources.add(source)
        return price.cost(response.usage) if price else 0

    def _dearest(self, model: str, own_tier: bool, minute: int) -> Price | None:
        card = self._book.card(model, minute * MINUTE)
        if card is None:
            return None
        return card.dearest() if own_tier else _tier_price(card, self._tier, None)

    def _all_quotes(self, model: str, named: str | None, minute: int) -> Quotes | None:
        card = self._book.card(model, minute * MINUTE)
        if card is None:
            return None
        tier = self._tier if named is None else TIERS.get(named)
        if tier is None:
            return Quotes(card.dearest(), tuple(card.tiers.values()), card.tiers.get("batch"))
        asked = card.price(tier)
        return None if asked is None else Quotes(asked, (asked, card.tiers["standard"]), card.tiers.get("batch"))

    def _price(
        self, asked: str, answered: str, answered_tier: str | None, minute: int
    ) -> tuple[Price | None, str, str]:
        price, remark = quote(
            self._book,
            asked=asked,
            answered=answered,
            asked_tier=self._tier,
            answered_tier=answered_tier,
            at=minute * MINUTE,
        )
        return price, remark, price.label if price else "unknown"
