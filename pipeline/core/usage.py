"""What a response's `usage` block is believed to say.

The rules, in their order; the first that applies decides:

1. there is no block, or it is no object → `missing`
2. a count is no whole number ≥ 0 (negative, float, bool, text), the input or a needed output is absent or null, or the
   parts are greater than their whole → `invalid`
3. less than one input token per item, for several items less than three fifths of the estimate, or less than one output
   token per non-empty choice → `partial`: llama.cpp's server reports only the first prompt of an array
4. a count above what the provider can have counted → `above_bound`: believed as reported, and worth an alarm
5. tokens that are no text (`audio_tokens`, `image_tokens`) → `not_text`: believed, but only text has a price here
6. anything else is believed

A block that is not believed (1 to 3) becomes the upper bounds, or what it did report where that is more, marked as
estimated. Three fifths, because estimates are up to 40 % off, plus a token an item for rounding: an honest report of
several items is never below that. Where `total_tokens` exceeds the sum, the difference was billed too: as output (some
servers leave reasoning out of `completion_tokens`), or as input where there is no output (some embedding servers report
the total only).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from pipeline.types import Json, Usage

MOST_TOKENS = 10**12
"""Counts are cut to this, which nobody can send, so that sums fit the 64-bit integers of the ledger."""

_GARBAGE = -1
_DETAILS = ("prompt_tokens_details", "input_tokens_details", "completion_tokens_details", "output_tokens_details")


class UsageReading(NamedTuple):
    """A usage and what there is to remark on it."""

    usage: Usage
    remark: str = ""
    """Empty where there is none, else `missing`, `invalid`, `partial`, `above_bound` or `not_text`."""


def read_usage(
    block: Json, *, input_bound: int, output_bound: int, estimate: int = 0, items: int = 1, min_output: int = 0
) -> UsageReading:
    """Read the `usage` of a chat, completions, embeddings or Responses answer. Never raises.

    Args:
        block: The parsed `usage` of the body, whatever it is.
        input_bound: Input tokens that the provider cannot exceed.
        output_bound: Output tokens that it cannot exceed; 0 where the answer has none.
        estimate: The local estimate of the input tokens of all items.
        items: How many records the request held.
        min_output: How many choices of the answer are not empty.
    """
    if not isinstance(block, dict):
        return _not_believed("missing", Usage(), input_bound, output_bound)
    usage = _reported(block, output_bound)
    if usage is None:
        return _not_believed("invalid", Usage(), input_bound, output_bound)
    if usage.output < min_output or _input_is_partial(usage.input, estimate, items):
        return _not_believed("partial", usage, input_bound, output_bound)
    if usage.input > input_bound or usage.output > output_bound:
        return UsageReading(usage, "above_bound")
    return UsageReading(usage, "not_text" if _has_more_than_text(block) else "")


def _reported(block: Mapping[str, Json], output_bound: int) -> Usage | None:
    """What the block says, or None where that makes no sense."""
    wholes = _wholes(block, output_bound)
    if wholes is None:
        return None
    tokens_in, tokens_out = wholes
    of_input = block.get("prompt_tokens_details") or block.get("input_tokens_details")
    of_output = block.get("completion_tokens_details") or block.get("output_tokens_details")
    cached, written = _part(of_input, "cached_tokens"), _part(of_input, "cache_write_tokens")
    reasoning = _part(of_output, "reasoning_tokens")
    if min(cached, written, reasoning) < 0 or cached + written > tokens_in or reasoning > tokens_out:
        return None
    return Usage(tokens_in, tokens_out, cached, written, reasoning)


def _wholes(block: Mapping[str, Json], output_bound: int) -> tuple[int, int] | None:
    tokens_in = _count(block, "prompt_tokens", "input_tokens")
    tokens_out = _count(block, "completion_tokens", "output_tokens")
    total = _count(block, "total_tokens")
    if _GARBAGE in (tokens_in, tokens_out, total):
        return None
    if not output_bound and not tokens_out:
        tokens_in, tokens_out = (total if tokens_in is None else max(tokens_in, total or 0)), 0
    if tokens_in is None or tokens_out is None:
        return None
    return tokens_in, max(tokens_out, (total or 0) - tokens_in)


def _count(block: Mapping[str, Json], name: str, other: str = "") -> int | None:
    """The count called `name`, or `other` where that is absent or null; `_GARBAGE` where it is no count."""
    value = block.get(name)
    if value is None:
        value = block.get(other)
        if value is None:
            return None
    return min(value, MOST_TOKENS) if type(value) is int and value >= 0 else _GARBAGE


def _part(details: Json, kind: str) -> int:
    if not details:
        return 0
    return _count(details, kind) or 0 if isinstance(details, dict) else _GARBAGE


def _has_more_than_text(block: Mapping[str, Json]) -> bool:
    for name in _DETAILS:
        details = block.get(name)
        if isinstance(details, dict) and (details.get("audio_tokens") or details.get("image_tokens")):
            return True
    return False


def _input_is_partial(tokens_in: int, estimate: int, items: int) -> bool:
    return tokens_in < items or (items > 1 and 5 * tokens_in < 3 * (estimate - items))


def _not_believed(remark: str, usage: Usage, input_bound: int, output_bound: int) -> UsageReading:
    upper = Usage(max(usage.input, input_bound), max(usage.output, output_bound), estimated=True)
    return UsageReading(upper, remark)
