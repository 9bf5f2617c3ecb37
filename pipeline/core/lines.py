"""Output lines: what one record's answer looks like in the file. Pure: values in, bytes out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import orjson

from pipeline.types import Json, Record, Usage

RESERVED_FIELDS = frozenset({"attempt", "custom_id", "model", "usage", "cost_usd"})
"""Fields that every templated result line has; kept fields cannot have their names."""

_OPTIONS = orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_APPEND_NEWLINE


def usage_object(usage: Usage) -> dict[str, Json]:
    """A usage in the API's own words."""
    shown: dict[str, Json] = {"prompt_tokens": usage.input}
    if usage.output:
        shown["completion_tokens"] = usage.output
    shown["total_tokens"] = usage.input + usage.output
    if usage.cached or usage.cache_write:
        shown["prompt_tokens_details"] = {"cached_tokens": usage.cached, "cache_write_tokens": usage.cache_write}
    if usage.reasoning:
        shown["completion_tokens_details"] = {"reasoning_tokens": usage.reasoning}
    if usage.estimated:
        shown["estimated"] = True
    return shown


def templated_line(
    identity: str,
    record: Record,
    keep: Sequence[str],
    fields: Mapping[str, Json],
    model: str,
    usage: Usage,
    cost_nusd: int,
) -> bytes:
    """The result line of a templated record: identity, kept fields, the job's fields, model, usage and cost."""
    data = record.data
    line: dict[str, Json] = {"attempt": identity, "custom_id": record.custom_id}
    for name in keep:
        if name in data:
            line[name] = data[name]
    line.update(fields)
    line["model"] = model
    line["usage"] = usage_object(usage)
    line["cost_usd"] = cost_nusd / 1e9
    return _exact(orjson.dumps(line, option=_OPTIONS))


def batch_line(
    identity: str, record: Record, answer: Mapping[str, Json], model: str, usage: Usage, request_id: str | None
) -> bytes:
    """The result line of a Batch line, in exactly the shape of the Batch API's own output."""
    body = {**answer, "model": model, "usage": answer.get("usage") or usage_object(usage)}
    line = {
        "id": f"batch_req_{identity}",
        "custom_id": record.custom_id,
        "response": {"status_code": 200, "request_id": request_id or identity, "body": body},
        "error": None,
    }
    return _exact(orjson.dumps(line, option=_OPTIONS))


def _exact(content: bytes) -> bytes:
    """A copy that takes just the memory it needs: orjson's buffers have room for a text of nothing but escapes.

    Thousands of lines wait for the disk at a time; with that room each, they took three times the memory and a quarter
    more CPU.
    """
    return bytes(memoryview(content))
