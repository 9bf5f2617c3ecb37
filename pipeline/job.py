"""What a job is: it turns records into requests and a response into one answer per record.

A job knows one API endpoint and nothing of files, limits, retries or money. To write your own, give a class these
members in a module of yours and name it in the config as `job: your.module:YourJob`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

import orjson

from pipeline.errors import Malformed, Rejected, UsageError
from pipeline.types import Item, Json, Record

Count = Callable[[str], int]
"""Counts the tokens of a text: a tokenizer's `estimate` or `count`."""

Template = Callable[[Mapping[str, Json]], str]
"""Renders one record's data to text. Raises Rejected where the record lacks a field that the template names."""


class Tokenizer(Protocol):
    """Counts tokens for one model."""

    def estimate(self, text: str) -> int:
        """A quick estimate; what pacing charges."""

    def count(self, text: str) -> int:
        """The exact number where the vocabulary is known, else an upper bound."""

    def truncate(self, text: str, limit: int) -> str:
        """The longest prefix of `text` with at most `limit` tokens."""


@dataclass(frozen=True, slots=True)
class JobSpec:
    """All that a config says to its job."""

    model: str
    """Empty where every line of the input brings its own."""
    tokenizer: Tokenizer
    params: Mapping[str, Json] = field(default_factory=dict)
    """Sent in every request body as they are (`dimensions`, `temperature`, `n` …)."""
    templates: Mapping[str, Template] = field(default_factory=dict)
    """By config key: `text`, `prompt`, `system`."""
    messages: str | Sequence[tuple[str, Template]] = ()
    """The name of the record's field with ready messages, or (role, template) pairs."""
    too_long: Literal["error", "truncate"] = "error"
    max_input_tokens: int | None = None
    """The most input tokens the model takes for one record, where known."""
    max_output_tokens: int | None = None
    """Put into every request that names no limit of its own."""
    vectors: Literal["floats", "base64"] = "floats"
    bounded: bool = False
    """A budget must be kept: a limit that the API sets where a request names none is put into the request."""


class Job(Protocol):
    """Turns records into requests and responses into answers. All methods are pure."""

    path: str
    """Path below the endpoint's base URL, such as `/embeddings`."""
    max_items: int
    """The most records that the API takes in one request."""

    def render(self, record: Record) -> Item:
        """Return what `record` puts into a request.

        Raises:
            Rejected: The record cannot be sent: a field is missing, the input is empty or too long.
        """

    def body(self, items: Sequence[Item]) -> Mapping[str, Json]:
        """Return the request body for `items`, which are all of one group."""

    def split(self, items: Sequence[Item], body: Json) -> Sequence[Mapping[str, Json] | Rejected]:
        """Return one answer per item, in the items' order, from the parsed body of a 2xx response.

        An answer has the shape of a single-record response body, indexes from 0, without `usage` and `model`.
        Rejected in place of an answer makes that record a dead letter; its share of the cost is kept.

        Raises:
            Malformed: The answers cannot be matched to the items by count and index.
        """

    def fields(self, answer: Mapping[str, Json]) -> Mapping[str, Json]:
        """Return what a templated record's result line shows of its answer (`embedding`, `text`, `message` …)."""


_BATCH_KEYS = frozenset({"custom_id", "method", "url", "body"})
_CONNECTION_KEYS = frozenset({"base_url", "api_base", "api_key", "headers", "extra_headers", "proxy"})
_LEAST = {"n": 1, "best_of": 0, "max_tokens": 0, "max_completion_tokens": 0, "dimensions": 1}
_NEAR_LIMIT = 0.7
"""An estimate above this share of the model's limit is checked by an exact count."""


def is_batch_line(data: Mapping[str, Json]) -> bool:
    """Whether a record already is an OpenAI Batch line, which is sent as it is."""
    return data.keys() >= _BATCH_KEYS


def batch_line_body(record: Record, path: str, allowed: frozenset[str]) -> Mapping[str, Json]:
    """Return the request body that a Batch line brings.

    Args:
        record: A record for which `is_batch_line` holds.
        path: The job's path; the line's url must be it, below `/v1`.
        allowed: Body fields that may be sent. The host, key and headers are the config's alone.

    Raises:
        Rejected: Another method or url, a body that is no object, no model, a field that is not allowed there or
            one level below, or a streamed answer.
    """
    data = record.data
    if data["method"] != "POST" or data["url"] != f"/v1{path}":
        raise Rejected(f"a Batch line of this job must say POST /v1{path}", code="wrong_url")
    body = data["body"]
    if not isinstance(body, dict):
        raise Rejected("body must be an object", code="invalid_body")
    if not isinstance(body.get("model"), str) or not body["model"]:
        raise Rejected("body.model must be a name", code="invalid_body")
    strange = sorted(str(key) for key in body.keys() - allowed)
    if strange:
        raise Rejected(f"body has fields that may not be sent: {', '.join(strange)[:200]}", code="field_not_allowed")
    if body.get("stream"):
        raise Rejected("body.stream must be false: answers are single JSON objects", code="stream_not_supported")
    for key, value in body.items():
        if _names_connection(value):
            raise Rejected(f"body.{key} holds a field that may not be sent", code="field_not_allowed")
    return body


def _names_connection(value: Json) -> bool:
    """Whether an object, or one in a list, has a field by which a proxy could be made to call another host."""
    if isinstance(value, dict):
        return not _CONNECTION_KEYS.isdisjoint(value)
    return isinstance(value, list) and any(isinstance(each, dict) and _CONNECTION_KEYS & each.keys() for each in value)


def batch_line_item(spec: JobSpec, record: Record, body: Mapping[str, Json], key: str) -> Item:
    """Return the item of a Batch line that brings its input as `body[key]`; its content is the whole body.

    A text shares requests with the texts of lines whose bodies are the same otherwise. An array is in a group of its
    own, because its answer keeps all its entries. The group is never None, which is that of templated records.

    Raises:
        Rejected: The input is neither a text nor an array, is empty, or is longer than the model takes.
    """
    value = body.get(key)
    if not isinstance(value, str | list):
        raise Rejected(f"body.{key} must be a text or an array", code="invalid_body")
    if not value:
        raise Rejected(f"body.{key} is empty", code="empty_input")
    if isinstance(value, list):
        return Item(record, body, input_tokens(spec.tokenizer.estimate, value), group=record.line)
    tokens = spec.tokenizer.estimate(value)
    if spec.model in ("", body["model"]):
        _, tokens = fit(spec, value, cut=False)
    others = {name: field for name, field in body.items() if name != key}
    return Item(record, body, tokens, group=orjson.dumps(others, option=orjson.OPT_SORT_KEYS))


def batch_lines_body(items: Sequence[Item], key: str) -> Mapping[str, Json]:
    """Return the request body for Batch lines of one group: one line as it is, several with their texts in an array."""
    first: Mapping[str, Json] = items[0].content
    if len(items) == 1:
        return first
    return {**first, key: [item.content[key] for item in items]}


def input_count(value: Json) -> int:
    """Return how many inputs `input` or `prompt` holds: an array of tokens or of message parts is one, as a text is."""
    return 1 if isinstance(value, str) or isinstance(value[0], int | dict) else len(value)


def input_tokens(count: Count, value: Json) -> int:
    """Return the tokens of a text or of an array of texts, tokens, arrays of tokens or message parts."""
    if isinstance(value, str):
        return count(value)
    return sum(_entry_tokens(count, each) for each in value)


def _entry_tokens(count: Count, entry: Json) -> int:
    text = entry.get("text") if isinstance(entry, dict) else entry
    if isinstance(text, str):
        return count(text)
    return len(text) if isinstance(text, list) else 1


def require_model(spec: JobSpec) -> None:
    """Raise UsageError where the config names no model for the records that bring none."""
    if not spec.model:
        raise UsageError("set `model:` in the config: only Batch lines bring their own")


def render_text(spec: JobSpec, key: str, record: Record) -> tuple[str, int]:
    """Return the text that the template `key` makes of `record`, and its tokens.

    Raises:
        UsageError: The config lacks the template or the model.
        Rejected: A field is missing, the text is blank, or it is too long and `too_long` does not say to truncate it.
    """
    require_model(spec)
    if key not in spec.templates:
        raise UsageError(f"set `{key}:` in the config: a record that is no Batch line needs this template")
    text = spec.templates[key](record.data)
    if not text or text.isspace():
        raise Rejected(f"the {key} is empty", code="empty_input")
    return fit(spec, text, cut=spec.too_long == "truncate")


def fit(spec: JobSpec, text: str, *, cut: bool) -> tuple[str, int]:
    """Return `text`, cut to what the model takes if `cut`, and its tokens. Raises Rejected where it is too long."""
    tokens = spec.tokenizer.estimate(text)
    limit = spec.max_input_tokens
    if limit is None or not near_limit(tokens, limit) or (exact := spec.tokenizer.count(text)) <= limit:
        return text, tokens
    if not cut:
        raise too_long(exact, limit)
    return spec.tokenizer.truncate(text, limit), limit


def near_limit(estimate: int, limit: int) -> bool:
    """Whether an estimate is so near the limit that only an exact count tells."""
    return estimate > limit * _NEAR_LIMIT


def too_long(tokens: int, limit: int) -> Rejected:
    """Return what becomes of a record with more tokens than the model takes."""
    return Rejected(f"the input has {tokens} tokens; the model takes {limit}", code="too_long")


def base_body(spec: JobSpec) -> dict[str, Json]:
    """Return what every templated request body has: the config's params and model.

    Raises:
        UsageError: The params ask for a streamed answer, or a number in them is not a whole one.
    """
    if spec.params.get("stream"):
        raise UsageError("params.stream must be false: answers are single JSON objects")
    try:
        for key in _LEAST:
            whole_number(spec.params, key, 0)
    except Rejected as error:
        raise UsageError(f"params: {error.message}") from None
    return {**spec.params, "model": spec.model}


def with_output_limit(spec: JobSpec, body: Mapping[str, Json], *names: str) -> Mapping[str, Json]:
    """Return `body` with the config's limit of output tokens as the first of `names`, unless it has one of them."""
    if spec.max_output_tokens is None or any(body.get(name) is not None for name in names):
        return body
    return {**body, names[0]: spec.max_output_tokens}


def whole_number(body: Mapping[str, Json], key: str, default: int) -> int:
    """Return the count `body[key]`, or `default` where there is none. Raises Rejected for any other value."""
    value = body.get(key)
    if value is None:
        return default
    if type(value) is not int or value < _LEAST[key]:
        raise Rejected(f"{key} must be a whole number from {_LEAST[key]}", code="invalid_body")
    return value


def entries_by_index(body: Json, key: str, count: int) -> list[Mapping[str, Json]]:
    """Return the entries of `body[key]` in the order of their `index`.

    Raises:
        Malformed: There are not exactly `count` entries with the indexes 0 to `count` - 1.
    """
    found = entries(body, key, count)
    ordered: list[Mapping[str, Json]] = [{}] * count
    seen = set()
    for entry in found:
        index = entry.get("index")
        if type(index) is not int or not 0 <= index < count:
            raise Malformed(f"the server sent {key} with an index that is not one of 0 to {count - 1}")
        seen.add(index)
        ordered[index] = entry
    if len(seen) != count:
        raise Malformed(f"the server sent {key} with an index twice")
    return ordered


def entries(body: Json, key: str, count: int) -> list[Mapping[str, Json]]:
    """Return the objects of `body[key]` as they came. Raises Malformed unless there are exactly `count`."""
    found = body.get(key) if isinstance(body, dict) else None
    if not isinstance(found, list) or len(found) != count or not all(isinstance(entry, dict) for entry in found):
        raise Malformed(f"the server did not send {count} {key}")
    return found
