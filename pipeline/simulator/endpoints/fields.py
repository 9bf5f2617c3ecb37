"""Reads the fields of a request body and refuses what OpenAI refuses."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from pipeline.simulator.refusal import Refusal, invalid
from pipeline.simulator.tokens import count_tokens, decode_tokens

Body = Mapping[str, Any]


class Counted(NamedTuple):
    """A text and its number of tokens."""

    text: str
    tokens: int


def whole(body: Body, name: str, least: int, most: int) -> int | None:
    """Return a whole number between `least` and `most`, or None where the body has none."""
    value = body.get(name)
    if value is None:
        return None
    if type(value) is not int or not least <= value <= most:
        raise invalid(f"{name} must be a whole number from {least} to {most}", param=name)
    return value


def texts(body: Body, name: str, most: int) -> list[Counted]:
    """Return the texts of a field that is a text, texts, tokens, or lists of tokens."""
    value = body.get(name)
    if isinstance(value, str):
        return [Counted(value, count_tokens(value))]
    if not isinstance(value, list) or not value:
        raise invalid(f"{name} must be a text, or an array of texts or tokens that is not empty", param=name)
    if type(value[0]) is int:
        return [_decoded(value, name)]
    if len(value) > most:
        raise invalid(f"{name} holds {len(value)} items, the most is {most}", param=name)
    if all(type(item) is str for item in value):
        return [Counted(item, count_tokens(item)) for item in value]
    return [_decoded(item, name) for item in value]


def _decoded(tokens: Any, name: str) -> Counted:
    if not isinstance(tokens, list) or not tokens or not all(type(token) is int for token in tokens):
        raise invalid(f"{name} must hold texts, or tokens, and not both", param=name)
    try:
        return Counted(decode_tokens(tokens), len(tokens))
    except (KeyError, OverflowError):
        raise invalid(f"{name} holds a number that is no token of cl100k_base", param=name) from None


def refuse_stream(body: Body) -> None:
    """Refuse a streamed answer."""
    if body.get("stream"):
        raise invalid("the simulator does not stream", param="stream")


def too_long(limit: int, tokens: int, param: str) -> Refusal:
    """Return the refusal of a request that does not fit into the model's context."""
    message = f"This model's maximum context length is {limit} tokens, the request has {tokens}."
    return invalid(message, param=param, code="context_length_exceeded")
