"""A request as the simulator understood it, and what it is answered."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from pipeline.simulator.billing import DEARER, Tokens

DEFAULT_OUTPUT = 16
"""Output tokens that a request allows where it does not say; no text of the simulator is longer."""


@dataclass(slots=True)
class Answer:
    """The answer before it is billed; a fault may change any of it."""

    body: dict[str, Any]
    tokens: Tokens
    model: str


def let_twin_answer(answer: Answer, asked: str) -> None:
    """Let the dearer twin of the model answer, and bill, where it is the one that was asked for."""
    if asked == answer.model + DEARER:
        answer.model = asked
        answer.body["model"] = asked


class Call(Protocol):
    """A valid request."""

    @property
    def texts(self) -> Sequence[str]:
        """One text for each record that the request can hold: inputs, prompts, or one conversation."""

    @property
    def input_tokens(self) -> int:
        """Tokens of the prompt."""

    @property
    def output_bound(self) -> int:
        """The most tokens that the answer may have, over all choices."""

    async def answer(self, serial: int) -> Answer:
        """Do the work. `serial` becomes the answer's id."""


def usage(tokens: Tokens) -> dict[str, Any]:
    """Return the `usage` of a text answer."""
    return {
        "prompt_tokens": tokens.input,
        "completion_tokens": tokens.output,
        "total_tokens": tokens.input + tokens.output,
        "prompt_tokens_details": {"cached_tokens": tokens.cached},
        "completion_tokens_details": {"reasoning_tokens": tokens.reasoning},
    }
