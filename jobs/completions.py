"""Completions: texts that continue prompts, many prompts in a request."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import islice

from pipeline.errors import Rejected
from pipeline.job import (
    JobSpec,
    base_body,
    batch_line_body,
    batch_line_item,
    batch_lines_body,
    entries_by_index,
    input_count,
    is_batch_line,
    render_text,
    whole_number,
    with_output_limit,
)
from pipeline.types import Item, Json, Record

_DEFAULT_MAX_TOKENS = 16
"""What the API takes for a missing `max_tokens`."""

_ALLOWED = frozenset({
    "model", "prompt", "best_of", "echo", "frequency_penalty", "logit_bias", "logprobs", "max_tokens", "n",
    "presence_penalty", "seed", "stop", "stream", "stream_options", "suffix", "temperature", "top_p", "user",
})  # fmt: skip

_OF_ALL = ("id", "object", "created", "service_tier", "system_fingerprint")
"""What a response says once and is true of every record in it."""


class Completions:
    """Template `prompt`; result fields `text` and `finish_reason`, or `texts` and `finish_reasons` where n > 1.

    `truncated` is true where a text ended at the limit of output tokens.
    """

    path = "/completions"
    max_items = 2048

    def __init__(self, spec: JobSpec) -> None:
        self._spec = spec
        self._base = _with_limit(spec, base_body(spec))
        self._output = _output_bound(self._base)

    def render(self, record: Record) -> Item:
        if is_batch_line(record.data):
            return self._render_line(record)
        prompt, tokens = render_text(self._spec, "prompt", record)
        return Item(record, prompt, tokens, self._output)

    def body(self, items: Sequence[Item]) -> Mapping[str, Json]:
        if items[0].group is not None:
            return batch_lines_body(items, "prompt")
        prompts = [item.content for item in items]
        # Some servers take a text only.
        return {**self._base, "prompt": prompts if len(prompts) > 1 else prompts[0]}

    def split(self, items: Sequence[Item], body: Json) -> Sequence[Mapping[str, Json] | Rejected]:
        templated = items[0].group is None
        n = whole_number(self._base if templated else items[0].content, "n", 1)
        counts = [n if templated else n * input_count(item.content["prompt"]) for item in items]
        choices = iter(entries_by_index(body, "choices", sum(counts)))
        head = {key: body[key] for key in _OF_ALL if key in body}
        return [_answer(head, list(islice(choices, count))) for count in counts]

    def fields(self, answer: Mapping[str, Json]) -> Mapping[str, Json]:
        texts = [choice["text"] for choice in answer["choices"]]
        reasons = [choice.get("finish_reason") for choice in answer["choices"]]
        truncated = {"truncated": True} if "length" in reasons else {}
        if len(texts) > 1:
            return {"texts": texts, "finish_reasons": reasons, **truncated}
        return {"text": texts[0], "finish_reason": reasons[0], **truncated}

    def _render_line(self, record: Record) -> Item:
        body = _with_limit(self._spec, batch_line_body(record, self.path, _ALLOWED))
        item = batch_line_item(self._spec, record, body, "prompt")
        return item._replace(output_tokens=_output_bound(body) * input_count(body["prompt"]))


def _with_limit(spec: JobSpec, body: Mapping[str, Json]) -> Mapping[str, Json]:
    """Return `body` with a limit of output tokens; with none only where none must be kept."""
    body = with_output_limit(spec, body, "max_tokens")
    if spec.bounded and body.get("max_tokens") is None:
        return {**body, "max_tokens": _DEFAULT_MAX_TOKENS}  # other servers may have another default
    return body


def _output_bound(body: Mapping[str, Json]) -> int:
    """Return the most output tokens for one prompt; all of `best_of` are billed, though only `n` are shown."""
    most = whole_number(body, "max_tokens", _DEFAULT_MAX_TOKENS)
    return most * max(whole_number(body, "n", 1), whole_number(body, "best_of", 1))


def _answer(head: Mapping[str, Json], choices: Sequence[Mapping[str, Json]]) -> Mapping[str, Json] | Rejected:
    problems = [_problem(choice) for choice in choices]
    if problems[0] is not None and all(problems):
        return problems[0]
    numbered = [{**choice, "index": index} for index, choice in enumerate(choices)]
    return {"object": "text_completion", **head, "choices": numbered}


def _problem(choice: Mapping[str, Json]) -> Rejected | None:
    if choice.get("finish_reason") == "content_filter":
        return Rejected("the provider's content filter stopped the answer", code="content_filter")
    if not isinstance(choice.get("text"), str):
        return Rejected("the server sent a choice without text", code="null_content")
    return None
