"""Splits a whole number into whole shares that add up to it exactly (largest remainder, after Hamilton)."""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.types import Usage


def apportion(total: int, weights: Sequence[int]) -> list[int]:
    """Return one share of `total` per weight; the shares add up to `total`.

    Each share is its exact quota `total * weight / sum(weights)` rounded down or up; those with the largest remainder
    are rounded up, the earlier first where remainders are equal. Where all weights are 0 the shares are equal.

    Args:
        total: What is split, ≥ 0.
        weights: At least one, each ≥ 0.

    Raises:
        ValueError: `total` or a weight is negative, or there is no weight.
    """
    if total < 0 or not weights or min(weights) < 0:
        raise ValueError("apportion takes a total and weights of at least 0, and at least one weight")
    count = len(weights)
    if count == 1:
        return [total]
    whole = sum(weights)
    if not whole:
        weights, whole = [1] * count, count
    shares = [total * weight // whole for weight in weights]
    left = total - sum(shares)
    if left:
        remainders = [total * weight % whole for weight in weights]
        for index in sorted(range(count), key=remainders.__getitem__, reverse=True)[:left]:
            shares[index] += 1
    return shares


def apportion_usage(usage: Usage, weights: Sequence[int], output_weights: Sequence[int] | None = None) -> list[Usage]:
    """Return one share of `usage` per weight; every kind of token adds up exactly.

    In each share, as in the whole, `cached + cache_write` stays within `input` and `reasoning` within `output`.

    Args:
        usage: Tokens of one request.
        weights: How much of the input is each record's: its estimated input tokens.
        output_weights: The same for the output, where known; else `weights`.

    Raises:
        ValueError: As `apportion`.
    """
    if len(weights) == 1:
        return [usage]
    inputs = apportion(usage.input, weights)
    outputs = _part(usage.output, weights if output_weights is None else output_weights)
    cached = _part(usage.cached, inputs)
    fresh = [whole - part for whole, part in zip(inputs, cached, strict=True)]
    written = _part(usage.cache_write, fresh)
    reasoning = _part(usage.reasoning, outputs)
    columns = zip(inputs, outputs, cached, written, reasoning, strict=True)
    return [Usage(*share, usage.estimated) for share in columns]


def _part(total: int, wholes: Sequence[int]) -> list[int]:
    # Where the total is at most the sum of the wholes, no quota exceeds its whole, not even rounded up.
    return apportion(total, wholes) if total else [0] * len(wholes)
