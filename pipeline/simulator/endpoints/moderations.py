"""POST /v1/moderations. The scores are made from a digest of the text: they judge nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from pipeline.simulator.billing import Tokens
from pipeline.simulator.endpoints.call import Answer
from pipeline.simulator.endpoints.fields import Body, Counted, texts
from pipeline.simulator.options import Options
from pipeline.simulator.text import message_text
from pipeline.simulator.tokens import count_tokens

_MODEL = "simulator-moderation-1"
_CATEGORIES = (
    "harassment",
    "harassment/threatening",
    "hate",
    "hate/threatening",
    "illicit",
    "illicit/violent",
    "self-harm",
    "self-harm/instructions",
    "self-harm/intent",
    "sexual",
    "sexual/minors",
    "violence",
    "violence/graphic",
)
_FLAGGED_FROM = 0.98


@dataclass(frozen=True, slots=True)
class ModerationsCall:
    """A valid request for moderation. Results carry no index: their place is their identity."""

    texts: list[str]
    input_tokens: int
    output_bound: int = 0

    async def answer(self, serial: int) -> Answer:
        results = [_result(text) for text in self.texts]
        return Answer({"id": f"modr-{serial}", "model": _MODEL, "results": results}, Tokens(), _MODEL)


def expected_scores(text: str) -> Mapping[str, float]:
    """Return the score, 0 to 1, that the simulator gives `text` in each category."""
    digest = sha256(text.encode()).digest()
    return {category: byte / 256 for category, byte in zip(_CATEGORIES, digest, strict=False)}


def _result(text: str) -> dict[str, Any]:
    scores = expected_scores(text)
    categories = {category: score >= _FLAGGED_FROM for category, score in scores.items()}
    return {
        "flagged": any(categories.values()),
        "categories": categories,
        "category_scores": scores,
        "category_applied_input_types": {category: ["text"] for category in scores},
    }


def read_moderations(body: Body, options: Options) -> ModerationsCall:
    """Return the call that `body` asks for; an array of parts is one input.

    Raises:
        Refusal: The body cannot be served.
    """
    value = body.get("input")
    if isinstance(value, list) and value and all(isinstance(part, dict) for part in value):
        text = message_text({"content": value})
        counted = [Counted(text, count_tokens(text))]
    else:
        counted = texts(body, "input", options.max_items)
    return ModerationsCall([item.text for item in counted], sum(item.tokens for item in counted))
