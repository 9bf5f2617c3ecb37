"""POST /v1/completions: one request, several prompts; choice k of prompt p has the index p * n + k."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

from pipeline.simulator.billing import Tokens
from pipeline.simulator.endpoints.call import DEFAULT_OUTPUT, Answer, usage
from pipeline.simulator.endpoints.fields import Body, Counted, refuse_stream, texts, too_long, whole
from pipeline.simulator.options import Options
from pipeline.simulator.refusal import invalid
from pipeline.simulator.text import expected_words

MODEL = "simulator-text-1"
CONTEXT = 128_000


@dataclass(frozen=True, slots=True)
class CompletionsCall:
    """A valid request for completions."""

    prompts: list[Counted]
    n: int
    candidates: int
    max_tokens: int
    echo: bool
    cached_share: float

    @property
    def texts(self) -> list[str]:
        return [prompt.text for prompt in self.prompts]

    @property
    def input_tokens(self) -> int:
        return sum(prompt.tokens for prompt in self.prompts)

    @property
    def output_bound(self) -> int:
        return len(self.prompts) * self.candidates * self.max_tokens

    async def answer(self, serial: int) -> Answer:
        choices: list[dict[str, Any]] = []
        output = 0
        for place, prompt in enumerate(self.prompts):
            written = [expected_words(prompt.text, k) for k in range(self.candidates)]
            output += sum(min(len(words), self.max_tokens) for words in written)
            choices += [
                self._choice(place * self.n + k, prompt.text, words) for k, words in enumerate(written[: self.n])
            ]
        tokens = Tokens(self.input_tokens, int(self.input_tokens * self.cached_share), output)
        body = {
            "id": f"cmpl-{serial}",
            "object": "text_completion",
            "created": int(time.time()),
            "model": MODEL,
            "choices": choices,
            "usage": usage(tokens),
        }
        return Answer(body, tokens, MODEL)

    def _choice(self, index: int, prompt: str, words: list[str]) -> dict[str, Any]:
        text = " ".join(words[: self.max_tokens])
        return {
            "index": index,
            "text": prompt + text if self.echo else text,
            "logprobs": None,
            "finish_reason": "length" if len(words) > self.max_tokens else "stop",
        }


def read_completions(body: Body, options: Options) -> CompletionsCall:
    """Return the call that `body` asks for.

    Raises:
        Refusal: The body cannot be served.
    """
    refuse_stream(body)
    prompts = texts(body, "prompt", options.max_items)
    n = whole(body, "n", 1, 128) or 1
    candidates = whole(body, "best_of", 1, 20) or n
    max_tokens = whole(body, "max_tokens", 0, CONTEXT)
    most = DEFAULT_OUTPUT if max_tokens is None else max_tokens
    longest = max(prompt.tokens for prompt in prompts)
    if candidates < n:
        raise invalid("best_of must not be less than n", param="best_of")
    if longest + most > CONTEXT:
        raise too_long(CONTEXT, longest + most, "prompt")
    return CompletionsCall(prompts, n, candidates, most, bool(body.get("echo")), options.cached_share)
