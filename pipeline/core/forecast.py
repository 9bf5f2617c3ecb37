"""What a request that is not sent yet can cost: an interval, and what it is made of, by kind of token."""

from __future__ import annotations

from math import ceil, floor
from typing import NamedTuple

from pipeline.core.request_prices import Quotes
from pipeline.types import Usage

MOST_OFF = 0.4
"""Estimated tokens are at most this share off."""


class Forecast(NamedTuple):
    """Nano-USD. What is billed lies between `least` and `most`."""

    least: int
    """The input as the cheapest kind in the cheapest tier that may answer, and no output."""
    input: int
    """The input in the tier asked for, none of it cached."""
    cached: int
    """The same, if all of it were read from the cache."""
    output: int
    """The most output in the tier asked for."""
    most: int
    """The input as the dearest kind, and the most output, in the dearest tier that may answer."""


NOTHING = Forecast(0, 0, 0, 0, 0)


def forecast(quotes: Quotes, tokens_in: int, tokens_out: int, *, counted: bool = True) -> Forecast:
    """Return what a request of so many input tokens and at most so many output tokens can cost.

    Args:
        quotes: The prices it may be charged.
        tokens_in: Counted, or estimated.
        tokens_out: The most that it can bring.
        counted: Whether the input was counted with the model's vocabulary.
    """
    off = 0.0 if counted else MOST_OFF
    fewest, most = floor(tokens_in * (1 - off)), ceil(tokens_in * (1 + off))
    asked = quotes.asked
    plain = asked.cost(Usage(tokens_in))
    return Forecast(
        least=min(price.least(fewest) for price in quotes.charged),
        input=plain,
        cached=asked.cost(Usage(tokens_in, cached=tokens_in)),
        output=asked.cost(Usage(tokens_in, tokens_out)) - plain,
        most=max(price.bound(most, tokens_out) for price in quotes.charged),
    )


def in_batch_api(quotes: Quotes) -> Quotes | None:
    """Return what the same request would be charged in the Batch API; None where no price for that is known."""
    return None if quotes.batch is None else Quotes(quotes.batch, (quotes.batch,), quotes.batch)


def plus(one: Forecast, other: Forecast) -> Forecast:
    """Return the sum of two."""
    return Forecast(*map(int.__add__, one, other))
