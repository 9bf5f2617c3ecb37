"""Faults that spoil the content of an answer with status 200. All are billed."""

from __future__ import annotations

import json
import math
from base64 import b64decode, b64encode
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import orjson

from pipeline.simulator.billing import DEARER
from pipeline.simulator.endpoints.call import Answer, usage
from pipeline.simulator.refusal import error_body

Distortion = Callable[[Answer], None]
Payload = tuple[bytes, str]
"""A response body and its content type."""
OVERRUN = 1000
"""Output tokens that `reasoning_overrun` adds."""


def _items(answer: Answer) -> list[dict[str, Any]]:
    body = answer.body
    items: list[dict[str, Any]] = body.get("data") or body.get("choices") or body["results"]
    return items


def _too_few(answer: Answer) -> None:
    _items(answer).pop()


def _too_many(answer: Answer) -> None:
    items = _items(answer)
    items.append({**items[-1], "index": len(items)})


def _duplicate_index(answer: Answer) -> None:
    items = _items(answer)
    if len(items) == 1:
        items.append(dict(items[0]))
    items[-1]["index"] = 0


def _set_last_index(value: Callable[[int], Any], answer: Answer) -> None:
    items = _items(answer)
    items[-1]["index"] = value(len(items))


def _index_missing(answer: Answer) -> None:
    del _items(answer)[-1]["index"]


def _shuffled(answer: Answer) -> None:
    _items(answer).reverse()


def _set_first_number(value: float, answer: Answer) -> None:
    _change_vector(answer, lambda vector: np.concatenate([np.array([value], "<f4"), vector[1:]]))


def _vector_short(answer: Answer) -> None:
    _change_vector(answer, lambda vector: vector[:-1])


def _change_vector(answer: Answer, change: Callable[[Any], Any]) -> None:
    first = _items(answer)[0]
    if isinstance(first["embedding"], str):
        numbers = np.frombuffer(b64decode(first["embedding"]), "<f4")
        first["embedding"] = b64encode(change(numbers).tobytes()).decode()
    else:
        # The standard library writes NaN and Infinity, which orjson would turn into null.
        first["embedding"] = orjson.Fragment(json.dumps(change(first["embedding"]).tolist()))


def _vector_null(answer: Answer) -> None:
    _items(answer)[0]["embedding"] = None


def _vector_holds_null(answer: Answer) -> None:
    _items(answer)[0]["embedding"] = [None, *([0.0] * 255)]


def _usage_missing(answer: Answer) -> None:
    del answer.body["usage"]


def _usage_null(answer: Answer) -> None:
    answer.body["usage"] = None


def _set_prompt_tokens(value: Callable[[int], Any], answer: Answer) -> None:
    answer.body["usage"]["prompt_tokens"] = value(answer.tokens.input)


def _usage_input_only(answer: Answer) -> None:
    answer.body["usage"] = {"prompt_tokens": answer.tokens.input}


def _usage_of_first(answer: Answer) -> None:
    count = len(_items(answer))
    for name, value in answer.body["usage"].items():
        if isinstance(value, int):
            answer.body["usage"][name] = -(-value // count)


def _model_differs(answer: Answer) -> None:
    answer.model = answer.model.removesuffix(DEARER) + DEARER
    answer.body["model"] = answer.model


def _reasoning_overrun(answer: Answer) -> None:
    tokens = answer.tokens
    answer.tokens = tokens._replace(output=tokens.output + OVERRUN, reasoning=tokens.reasoning + OVERRUN)
    answer.body["usage"] = usage(answer.tokens)


def _finish(reason: str, answer: Answer) -> None:
    _items(answer)[0]["finish_reason"] = reason


def _content_filtered(answer: Answer) -> None:
    first = _items(answer)[0]
    first["finish_reason"] = "content_filter"
    if "message" in first:
        first["message"]["content"] = None
    else:
        first["text"] = ""


def _refused(answer: Answer) -> None:
    _items(answer)[0]["message"].update(content=None, refusal="I cannot help with that.")


def _null_content(answer: Answer) -> None:
    _items(answer)[0]["message"]["content"] = None


_COUNTS: dict[str, Distortion] = {"too_few": _too_few, "too_many": _too_many, "model_differs": _model_differs}
_INDEXES: dict[str, Distortion] = {
    "duplicate_index": _duplicate_index,
    "index_out_of_range": partial(_set_last_index, lambda count: count),
    "index_negative": partial(_set_last_index, lambda _: -1),
    "index_string": partial(_set_last_index, lambda count: str(count - 1)),
    "index_float": partial(_set_last_index, lambda count: count - 0.5),
    "index_null": partial(_set_last_index, lambda _: None),
    "index_missing": _index_missing,
    "shuffled": _shuffled,
}
_USAGES: dict[str, Distortion] = {
    "usage_missing": _usage_missing,
    "usage_null": _usage_null,
    "usage_negative": partial(_set_prompt_tokens, lambda tokens: -tokens),
    "usage_float": partial(_set_prompt_tokens, lambda tokens: tokens + 0.5),
    "usage_string": partial(_set_prompt_tokens, str),
    "usage_huge": partial(_set_prompt_tokens, lambda _: 10**18),
    "usage_input_only": _usage_input_only,
    "usage_of_first": _usage_of_first,
}
_VECTORS: dict[str, Distortion] = {
    "vector_nan": partial(_set_first_number, math.nan),
    "vector_infinite": partial(_set_first_number, math.inf),
    "vector_short": _vector_short,
    "vector_null": _vector_null,
    "vector_holds_null": _vector_holds_null,
}
_CHOICES: dict[str, Distortion] = {
    "finish_length": partial(_finish, "length"),
    "finish_content_filter": _content_filtered,
}
_MESSAGES: dict[str, Distortion] = {
    "refusal": _refused,
    "null_content": _null_content,
    "reasoning_overrun": _reasoning_overrun,
}

DISTORTIONS: dict[str, dict[str, Distortion]] = {
    "/embeddings": {**_COUNTS, **_INDEXES, **_USAGES, **_VECTORS},
    "/completions": {**_COUNTS, **_INDEXES, **_USAGES, **_CHOICES},
    "/chat/completions": {**_COUNTS, **_INDEXES, **_USAGES, **_CHOICES, **_MESSAGES},
    "/moderations": _COUNTS,
}
"""By path and name, what changes the answer before it is billed."""

PAYLOADS: dict[str, Callable[[bytes], Payload]] = {
    "error_in_200": lambda _: (error_body("server_error", None, "The server had an error."), "application/json"),
    "html": lambda _: (b"<html><body>Welcome to the guest network</body></html>", "text/html"),
    "empty": lambda _: (b"", "application/json"),
    "empty_list": lambda _: (b"[]", "application/json"),
    "json_null": lambda _: (b"null", "application/json"),
    "plain_text": lambda _: (b"OK", "text/plain"),
    "event_stream": lambda body: (b"data: " + body + b"\n\ndata: [DONE]\n\n", "text/event-stream"),
    "truncated_json": lambda body: (body[: len(body) // 2], "application/json"),
    "bad_utf8": lambda body: (body[:-1] + b',"x":"\xff"}', "application/json"),
}
"""By name, what is sent in place of a good body."""
