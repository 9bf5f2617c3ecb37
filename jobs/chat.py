"""Chat completions: one conversation per request."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import orjson

from pipeline.core.tokens import TOKENS_PER_MESSAGE, TOKENS_PER_NAME, TOKENS_PER_REPLY
from pipeline.errors import Rejected, UsageError
from pipeline.job import (
    Count,
    JobSpec,
    base_body,
    batch_line_body,
    entries_by_index,
    input_tokens,
    is_batch_line,
    near_limit,
    require_model,
    too_long,
    whole_number,
    with_output_limit,
)
from pipeline.types import Item, Json, Record

Message = Mapping[str, Json]

_ALLOWED = frozenset({
    "model", "messages", "audio", "frequency_penalty", "function_call", "functions", "logit_bias", "logprobs",
    "max_completion_tokens", "max_tokens", "metadata", "modalities", "moderation", "n", "parallel_tool_calls",
    "prediction", "presence_penalty", "prompt_cache_key", "prompt_cache_options", "prompt_cache_retention",
    "reasoning_effort", "response_format", "safety_identifier", "seed", "service_tier", "stop", "store", "stream",
    "stream_options", "temperature", "tool_choice", "tools", "top_logprobs", "top_p", "user", "verbosity",
    "web_search_options",
})  # fmt: skip

_OUTPUT_LIMITS = ("max_completion_tokens", "max_tokens")
_ROLES = (("system", "system"), ("prompt", "user"))
_SCHEMAS = ("tools", "functions", "response_format")
_TOKENS_PER_ROLE = 1
"""`user`, `assistant` and the like are one token in every vocabulary."""
_TOKENS_PER_IMAGE = 1_445
"""An image at high detail: 85 and eight tiles of 170. Taken for every part that is no text."""


class Chat:
    """`messages`, or templates `system` and `prompt`; result fields `text` and `finish_reason`.

    With n > 1 also `texts` and `finish_reasons`; with tool calls also `message`. `truncated` is true where a text
    ended at the limit of output tokens.
    """

    path = "/chat/completions"
    max_items = 1

    def __init__(self, spec: JobSpec) -> None:
        self._spec = spec
        self._base = with_output_limit(spec, base_body(spec), *_OUTPUT_LIMITS)
        self._output = _output_bound(self._base)
        if spec.messages and "prompt" in spec.templates:
            raise UsageError("set `messages:` or `prompt:` in the config, not both")

    def render(self, record: Record) -> Item:
        if is_batch_line(record.data):
            return self._render_line(record)
        require_model(self._spec)
        messages = self._messages(record)
        cut = self._spec.too_long == "truncate" and not isinstance(self._spec.messages, str)
        messages, tokens = self._fit(self._base, messages, cut=cut)
        return Item(record, messages, tokens, self._output)

    def body(self, items: Sequence[Item]) -> Mapping[str, Json]:
        item = items[0]
        body: Mapping[str, Json] = item.content if item.group is not None else {**self._base, "messages": item.content}
        return body

    def split(self, items: Sequence[Item], body: Json) -> Sequence[Mapping[str, Json] | Rejected]:
        asked = items[0].content if items[0].group is not None else self._base
        choices = entries_by_index(body, "choices", whole_number(asked, "n", 1))
        problems = [_problem(choice) for choice in choices]
        if problems[0] is not None and all(problems):
            return [problems[0]]
        answer = {**body, "choices": choices}
        answer.pop("usage", None)
        answer.pop("model", None)
        return [answer]

    def fields(self, answer: Mapping[str, Json]) -> Mapping[str, Json]:
        choices = answer["choices"]
        texts = [_message(choice).get("content") for choice in choices]
        reasons = [choice.get("finish_reason") for choice in choices]
        shown = {"text": texts[0], "finish_reason": reasons[0]}
        if len(choices) > 1:
            shown |= {"texts": texts, "finish_reasons": reasons}
        if _calls(_message(choices[0])):
            shown["message"] = choices[0]["message"]
        if "length" in reasons:
            shown["truncated"] = True
        return shown

    def _messages(self, record: Record) -> list[Message]:
        source = self._spec.messages
        if isinstance(source, str):
            return _checked(record.data.get(source), source)
        pairs = source or [(role, self._spec.templates[key]) for key, role in _ROLES if key in self._spec.templates]
        if not source and "prompt" not in self._spec.templates:
            raise UsageError("set `messages:` or `prompt:` in the config: a record that is no Batch line needs one")
        messages: list[Message] = [{"role": role, "content": template(record.data)} for role, template in pairs]
        last = _last_user(messages)
        if last is not None and not messages[last]["content"].strip():
            raise Rejected("the user's message is empty", code="empty_input")
        return messages

    def _render_line(self, record: Record) -> Item:
        body = with_output_limit(self._spec, batch_line_body(record, self.path, _ALLOWED), *_OUTPUT_LIMITS)
        messages = _checked(body.get("messages"), "body.messages")
        if self._spec.model in {"", body["model"]}:
            _, tokens = self._fit(body, messages, cut=False)
        else:
            tokens = _request_tokens(self._spec.tokenizer.estimate, body, messages)
        return Item(record, body, tokens, _output_bound(body), group=record.line)

    def _fit(self, body: Mapping[str, Json], messages: list[Message], *, cut: bool) -> tuple[list[Message], int]:
        """Return messages that the model takes, and the request's tokens; if `cut`, the last user's text is cut."""
        tokenizer, limit = self._spec.tokenizer, self._spec.max_input_tokens
        tokens = _request_tokens(tokenizer.estimate, body, messages)
        if limit is None or not near_limit(tokens, limit):
            return messages, tokens
        exact = _request_tokens(tokenizer.count, body, messages)
        if exact <= limit:
            return messages, tokens
        last = _last_user(messages) if cut else None
        if last is None:
            raise too_long(exact, limit)
        text = messages[last]["content"]
        spare = limit - exact + tokenizer.count(text)
        if spare <= 0:
            raise too_long(exact, limit)
        short = {**messages[last], "content": tokenizer.truncate(text, spare)}
        return [*messages[:last], short, *messages[last + 1 :]], limit


def _request_tokens(count: Count, body: Mapping[str, Json], messages: Sequence[Message]) -> int:
    """Return the input tokens of a conversation: of every value, 3 a message, 1 a name, 3 for the reply, and schemas.

    Source: the token-counting recipe of OpenAI's cookbook, which calls itself an estimate.
    """
    tokens = TOKENS_PER_REPLY + sum(_message_tokens(count, message) for message in messages)
    for key in _SCHEMAS:
        if body.get(key):
            tokens += count(orjson.dumps(body[key]).decode())
    return tokens


def _message_tokens(count: Count, message: Message) -> int:
    tokens = TOKENS_PER_MESSAGE + (TOKENS_PER_NAME if "name" in message else 0)
    for key, value in message.items():
        if key == "role":
            tokens += _TOKENS_PER_ROLE
        elif isinstance(value, str):
            tokens += count(value)
        elif key == "content" and isinstance(value, list):
            tokens += input_tokens(count, value) + _TOKENS_PER_IMAGE * sum(_is_image(part) for part in value)
        elif value is not None:
            tokens += count(orjson.dumps(value).decode())
    return tokens


def _is_image(part: Json) -> bool:
    return isinstance(part, dict) and "text" not in part


def _checked(messages: Json, name: str) -> list[Message]:
    if not isinstance(messages, list) or not messages or not all(isinstance(each, dict) for each in messages):
        raise Rejected(f"{name} must be an array of messages", code="invalid_messages")
    return messages


def _last_user(messages: Sequence[Message]) -> int | None:
    found = [number for number, message in enumerate(messages) if message["role"] == "user"]
    return found[-1] if found else None


def _output_bound(body: Mapping[str, Json]) -> int | None:
    """Return the most output tokens over all choices; None where nothing bounds them."""
    n = whole_number(body, "n", 1)
    limits = [whole_number(body, name, 0) for name in _OUTPUT_LIMITS if body.get(name) is not None]
    return n * max(limits) if limits else None


def _message(choice: Mapping[str, Json]) -> Message:
    message = choice.get("message")
    return message if isinstance(message, dict) else {}


def _calls(message: Message) -> bool:
    return any(message.get(key) for key in ("tool_calls", "function_call", "audio"))


def _problem(choice: Mapping[str, Json]) -> Rejected | None:
    message, reason = _message(choice), choice.get("finish_reason")
    if reason == "content_filter":
        return Rejected("the provider's content filter stopped the answer", code="content_filter")
    if message.get("refusal"):
        return Rejected("the model refused to answer", code="refusal")
    if message.get("content") is None and not _calls(message):
        return Rejected(f"the answer has no content (finish_reason {reason!r:.40})", code="null_content")
    return None
