"""POST /v1/chat/completions."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

from pipeline.simulator.billing import Tokens
from pipeline.simulator.endpoints.call import DEFAULT_OUTPUT, Answer, usage
from pipeline.simulator.endpoints.completions import CONTEXT, MODEL
from pipeline.simulator.endpoints.fields import Body, refuse_stream, too_long, whole
from pipeline.simulator.options import Options
from pipeline.simulator.refusal import invalid
from pipeline.simulator.text import chat_prompt, expected_words, message_text
from pipeline.simulator.tokens import count_tokens

_PER_MESSAGE = 3
_PER_NAME = 1
_PRIMING = 3
"""Tokens that OpenAI's chat format adds, by its cookbook."""


@dataclass(frozen=True, slots=True)
class ChatCall:
    """A valid request for an answer to a conversation."""

    prompt: str
    input_tokens: int
    n: int
    max_tokens: int | None
    reasoning: int
    cached_share: float

    @property
    def texts(self) -> list[str]:
        return [self.prompt]

    @property
    def output_bound(self) -> int:
        return self.n * (DEFAULT_OUTPUT + self.reasoning if self.max_tokens is None else self.max_tokens)

    async def answer(self, serial: int) -> Answer:
        written = [expected_words(self.prompt, k) for k in range(self.n)]
        output = sum(min(len(words), self._room(words)) for words in written)
        reasoning = self.n * self.reasoning
        tokens = Tokens(self.input_tokens, int(self.input_tokens * self.cached_share), output + reasoning, reasoning)
        body = {
            "id": f"chatcmpl-{serial}",
            "object": "chat.completion",
            "created": int(time.time()),
            "model": MODEL,
            "service_tier": "default",
            "choices": [self._choice(k, words) for k, words in enumerate(written)],
            "usage": usage(tokens),
        }
        return Answer(body, tokens, MODEL)

    def _room(self, words: list[str]) -> int:
        return len(words) if self.max_tokens is None else self.max_tokens - self.reasoning

    def _choice(self, index: int, words: list[str]) -> dict[str, Any]:
        room = self._room(words)
        return {
            "index": index,
            "message": {"role": "assistant", "content": " ".join(words[:room]), "refusal": None, "annotations": []},
            "logprobs": None,
            "finish_reason": "length" if len(words) > room else "stop",
        }


def read_chat(body: Body, options: Options) -> ChatCall:
    """Return the call that `body` asks for.

    Raises:
        Refusal: The body cannot be served.
    """
    refuse_stream(body)
    messages = body.get("messages")
    if not isinstance(messages, list) or not messages or not all(_is_message(message) for message in messages):
        raise invalid("messages must be an array of objects with a role and a content", param="messages")
    input_tokens = _PRIMING + sum(_message_tokens(message) for message in messages)
    most = whole(body, "max_completion_tokens", 1, CONTEXT) or whole(body, "max_tokens", 1, CONTEXT)
    if input_tokens + (most or 0) > CONTEXT:
        raise too_long(CONTEXT, input_tokens + (most or 0), "messages")
    return ChatCall(
        prompt=chat_prompt(messages),
        input_tokens=input_tokens,
        n=whole(body, "n", 1, 128) or 1,
        max_tokens=most,
        reasoning=options.reasoning_tokens if most is None else min(options.reasoning_tokens, most),
        cached_share=options.cached_share,
    )


def _is_message(message: Any) -> bool:
    if not isinstance(message, dict) or not isinstance(message.get("role"), str):
        return False
    content = message.get("content")
    return content is None or isinstance(content, str) or (isinstance(content, list) and all(map(_is_part, content)))


def _is_part(part: Any) -> bool:
    return isinstance(part, dict) and isinstance(part.get("text", ""), str)


def _message_tokens(message: dict[str, Any]) -> int:
    name = message.get("name")
    named = count_tokens(name) + _PER_NAME if isinstance(name, str) else 0
    return _PER_MESSAGE + count_tokens(message["role"]) + count_tokens(message_text(message)) + named
