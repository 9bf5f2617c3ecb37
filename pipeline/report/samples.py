"""A few records with their answers, read from the output and the input; cut, and never more than a few megabytes."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import aclosing
from typing import BinaryIO, NamedTuple

import orjson

from pipeline.core.identity import line_identity
from pipeline.errors import PipelineError
from pipeline.storage.source import Source
from pipeline.storage.state import Places
from pipeline.types import Json

MOST = 4
_LONGEST_LINE = 1 << 20
"""Bytes of an output line; what is longer is shown as it begins."""
_WITHIN = 1 << 22
"""Bytes of the output from which samples are taken, and four times as many of the input."""
_LONGEST_TEXT = 600
_UNKNOWN = object()
_HIDDEN = frozenset({"attempt", "custom_id", "model", "usage", "cost_usd"})


class Sample(NamedTuple):
    """A record and its answer, as text."""

    line: int
    custom_id: str
    record: str | None
    """None where the input cannot be read again, or not so far."""
    answer: str


async def read_samples(places: Places, source: str) -> list[Sample]:
    """Return some of the records that have a result, with it.

    Args:
        places: Where the output is.
        source: The input's path.
    """
    answers = _answers(places)
    records = await _records(source, set(answers)) if answers else {}
    return [_sample(line, answer, records.get(line, _UNKNOWN)) for line, answer in sorted(answers.items())]


def _sample(line: int, answer: Json, record: Json) -> Sample:
    custom_id = answer.get("custom_id", line) if isinstance(answer, Mapping) else line
    again = record if isinstance(record, Mapping) else {}
    return Sample(line, str(custom_id), None if record is _UNKNOWN else shown(record), shown(_content(answer, again)))


def _answers(places: Places) -> dict[int, Json]:
    """Return some output lines by the number of their input line."""
    for path in (places.partial, places.output):
        try:
            with path.open("rb") as file:
                size = min(path.stat().st_size, _WITHIN)
                lines = [_line_from(file, number * size // MOST) for number in range(MOST)]
        except OSError:
            continue
        return {found.line: _parsed(line) for line in lines if (found := line_identity(line)) is not None}
    return {}


def _line_from(file: BinaryIO, position: int) -> bytes:
    """Return the first line that begins at or after a position, or as much of it as may be shown."""
    file.seek(max(0, position - 1))
    if position:
        file.readline(_LONGEST_LINE)
    return file.readline(_LONGEST_LINE)


def _parsed(line: bytes) -> Json:
    """Return a line as JSON, or as text where it is none, or only the beginning of one."""
    try:
        return orjson.loads(line)
    except orjson.JSONDecodeError:
        return line.decode("utf-8", "replace")


def _content(answer: Json, record: Mapping[str, Json]) -> Json:
    """Return what an output line brings: the body of a Batch line, or the fields that the record has not had before."""
    if not isinstance(answer, Mapping):
        return answer
    if isinstance(answer.get("response"), Mapping):
        body = answer["response"].get("body") or {}
        return body.get("choices") or body.get("data") or body
    return {key: value for key, value in answer.items() if key not in _HIDDEN and (key, value) not in record.items()}


async def _records(source: str, wanted: set[int]) -> dict[int, Json]:
    if source == "-":
        return {}
    found: dict[int, Json] = {}
    try:
        with Source(source) as lines:
            async with aclosing(lines.pages()) as pages:
                async for page in pages:
                    for number in sorted(wanted):
                        if page.first_line <= number < page.first_line + len(page.lines):
                            found[number] = _parsed(page.lines[number - page.first_line][:_LONGEST_LINE])
                    if len(found) == len(wanted) or page.chunk.end > 4 * _WITHIN:
                        break
    except PipelineError:
        return found  # it is gone, or damaged: what was sent is not known any more
    return found


def shown(value: Json) -> str:
    """Return a value as text: the fields of a mapping a line each, vectors by their first numbers."""
    if isinstance(value, Mapping):
        return cut("\n".join(f"{key}: {_inline(each)}" for key, each in value.items()))
    return cut(_inline(value))


def _inline(value: Json) -> str:
    if isinstance(value, str):
        return value[: _LONGEST_TEXT + 1]
    if isinstance(value, list) and len(value) > 8 and all(isinstance(each, int | float) for each in value):
        first = ", ".join(f"{each:.4g}" for each in value[:4])
        return f"[{first}, … {len(value):,} numbers]"
    return orjson.dumps(value).decode()[: _LONGEST_TEXT + 1]


def cut(text: str) -> str:
    """Return the beginning of a text."""
    return text if len(text) <= _LONGEST_TEXT else f"{text[:_LONGEST_TEXT]}…"
