"""The simulator's own bill, in integer nano-USD, from its own price list."""

from __future__ import annotations

from typing import NamedTuple


class Price(NamedTuple):
    """Nano-USD per million tokens."""

    input: int
    cached: int
    output: int


class Tokens(NamedTuple):
    """What one request is billed for. `cached` is a part of `input`, `reasoning` of `output`."""

    input: int = 0
    cached: int = 0
    output: int = 0
    reasoning: int = 0


DEARER = "-large"
"""Ending of a model's dearer twin, which answers where it is asked for, and under the fault `model_differs`."""

PRICES = {
    "simulator-wordllama-256": Price(20_000_000, 20_000_000, 0),
    "simulator-wordllama-256-large": Price(130_000_000, 130_000_000, 0),
    "simulator-hashing-256": Price(20_000_000, 20_000_000, 0),
    "simulator-hashing-256-large": Price(130_000_000, 130_000_000, 0),
    "simulator-text-1": Price(150_000_000, 75_000_000, 600_000_000),
    "simulator-text-1-large": Price(300_000_000, 150_000_000, 1_200_000_000),
    "simulator-moderation-1": Price(0, 0, 0),
    "simulator-moderation-1-large": Price(0, 0, 0),
}
"""By the model that answers."""


def cost_nusd(tokens: Tokens, model: str) -> int:
    """Return the price of one request in nano-USD, rounded up once.

    Raises:
        KeyError: `model` is not in `PRICES`.
    """
    price = PRICES[model]
    fresh = tokens.input - tokens.cached
    return -(-(fresh * price.input + tokens.cached * price.cached + tokens.output * price.output) // 1_000_000)
