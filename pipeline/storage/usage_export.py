"""Reads a provider's usage export: pages of the OpenAI usage and costs API, or a CSV whose columns have names.

A JSON file holds a page, a list of pages or of buckets, or one after the other. A bucket lies within a day (UTC).
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, date, datetime
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import NamedTuple

from pipeline.core.reconcile import Billed
from pipeline.errors import UsageError
from pipeline.types import Json

_MOST_BYTES = 64 * 1024 * 1024
_MOST = 10**15
"""Above every count and every amount in USD that can be meant."""
_DAY = 86_400
_LAST_SECOND = 253_402_300_800
"""The end of the year 9999, where dates end."""
_NANO = 1_000_000_000

_COUNTS: Mapping[str, tuple[str, ...]] = {
    "requests": ("requests", "num_model_requests", "n_requests"),
    "input": ("input_tokens", "n_context_tokens_total"),
    "cached": ("input_cached_tokens", "cached_tokens", "n_cached_context_tokens_total"),
    "output": ("output_tokens", "n_generated_tokens_total"),
}
_COST = ("cost", "cost_usd", "amount", "amount_value")
_DAYS = ("date", "start_time")
_MODELS = ("model", "line_item")
_CURRENCIES = ("currency", "amount_currency")

_BRACES = re.compile(r'"(?:[^"\\]|\\.)*"|[{}]', re.DOTALL)


class Export(NamedTuple):
    """What an export says, and of which days."""

    lines: list[Billed]
    days: frozenset[str]
    """Every day that it speaks of, those without usage too."""
    more_pages: bool
    """Whether it says that there is more than what it holds."""


def read_export(path: Path) -> Export:
    """Return what a file says.

    Raises:
        UsageError: It cannot be read, or is no export; the message names the line.
    """
    try:
        with path.open("rb") as file:
            raw = file.read(_MOST_BYTES + 1)
        if len(raw) > _MOST_BYTES:
            raise _error(path, 1, f"is larger than {_MOST_BYTES >> 20} MiB: export fewer days at once")
        text = raw.decode("utf-8-sig")
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error.strerror}", code="invalid_export") from None
    except UnicodeDecodeError as error:
        raise _error(path, raw.count(b"\n", 0, error.start) + 1, "is not UTF-8") from None
    export = _Pages(path, text).read() if text.lstrip()[:1] in ("{", "[") else _read_csv(path, text)
    if not export.days:
        raise _error(path, 1, "speaks of no day: it holds neither a bucket nor a row")
    return export


def _error(path: Path, line: int, problem: str) -> UsageError:
    return UsageError(f"{path}:{line}: {problem}", code="invalid_export")


class _Object(dict[str, Json]):
    """A JSON object that knows how many ended before it, by which its line is found."""

    number = 0


class _Pages:
    """The pages in a text."""

    def __init__(self, path: Path, text: str) -> None:
        self._path = path
        self._text = text
        self._ended = 0
        self._more = False

    def read(self) -> Export:
        lines: list[Billed] = []
        days: set[str] = set()
        for bucket in self._buckets():
            day = self._day(bucket)
            days.add(day)
            # The API documents `results`; its older description said `result`.
            results = bucket.get("results", bucket.get("result"))
            lines += [self._billed(day, result) for result in self._objects(bucket, "results", results)]
        return Export(lines, frozenset(days), self._more)

    def _buckets(self) -> Iterator[_Object]:
        for top in self._tops():
            for each in top if isinstance(top, list) else [top]:
                if not isinstance(each, _Object):
                    raise _error(self._path, 1, "holds something that is neither a page nor a bucket")
                if "start_time" in each:
                    yield each
                else:
                    self._more = bool(each.get("has_more"))
                    yield from self._objects(each, "data", each.get("data"))

    def _tops(self) -> Iterator[Json]:
        decoder = json.JSONDecoder(object_pairs_hook=self._object, parse_float=str)
        at = 0
        while rest := re.compile(r"\s*").match(self._text, at):
            if rest.end() == len(self._text):
                return
            try:
                value, at = decoder.raw_decode(self._text, rest.end())
            except json.JSONDecodeError as error:
                raise _error(self._path, error.lineno, f"is not JSON: {error.msg}") from None
            except (ValueError, RecursionError):
                raise _error(self._path, 1, "is not JSON that can be read") from None
            yield value

    def _object(self, pairs: list[tuple[str, Json]]) -> _Object:
        made = _Object(pairs)
        made.number = self._ended
        self._ended += 1
        return made

    def _objects(self, owner: _Object, name: str, value: Json) -> list[_Object]:
        if not isinstance(value, list):
            raise self._wrong(owner, f"{name} must be a list")
        for each in value:
            if not isinstance(each, _Object):
                raise self._wrong(owner, f"{name} must hold objects")
        return value

    def _wrong(self, found: _Object, problem: str) -> UsageError:
        opened: list[int] = []
        ended = 0
        for brace in _BRACES.finditer(self._text):
            if brace[0] == "{":
                opened.append(brace.start())
            elif brace[0] == "}":
                start = opened.pop()
                if ended == found.number:
                    return _error(self._path, self._text.count("\n", 0, start) + 1, problem)
                ended += 1
        return _error(self._path, 1, problem)

    def _day(self, bucket: _Object) -> str:
        start, end = bucket.get("start_time"), bucket.get("end_time")
        if type(start) is not int or type(end) is not int or not 0 <= start < end <= _LAST_SECOND:
            raise self._wrong(bucket, "start_time and end_time must be seconds since 1970, the end after the start")
        if start // _DAY != (end - 1) // _DAY:
            raise self._wrong(bucket, "the bucket is not within a day (UTC): export with bucket_width=1d")
        return datetime.fromtimestamp(start, UTC).date().isoformat()

    def _billed(self, day: str, result: _Object) -> Billed:
        try:
            return _result(day, result)
        except ValueError as error:
            raise self._wrong(result, str(error)) from None


def _result(day: str, result: Mapping[str, Json]) -> Billed:
    """Return what a result of the usage API or of the costs API says. Raises ValueError."""
    amount = result.get("amount")
    if isinstance(amount, _Object):
        _usd_only(amount.get("currency", "usd"))
        return Billed(day, _model(result.get("line_item")), cost_nusd=_nusd(amount.get("value")))
    counts = {name: _count(_first(result, columns)) for name, columns in _COUNTS.items()}
    if all(count is None for count in counts.values()):
        raise ValueError("the result has neither tokens nor requests, nor an amount with a value")
    return Billed(day, _model(result.get("model")), **counts)


def _first(values: Mapping[str, Json], names: Sequence[str]) -> Json:
    return next((values[name] for name in names if values.get(name) not in (None, "")), None)


def _count(value: Json) -> int | None:
    if value is None:
        return None
    number = _decimal(value)
    if number < 0 or number % 1:
        raise ValueError(f"{str(value)[:40]!r} is no count")
    return int(number)


def _nusd(value: Json) -> int | None:
    """Return nano-USD, rounded to the nearest; the API gives amounts as the binary fractions nearest to them."""
    return None if value is None else round(_decimal(str(value).removeprefix("$")) * _NANO)


def _decimal(value: Json) -> Decimal:
    try:
        number = Decimal(str(value))
    except InvalidOperation:
        raise ValueError(f"{str(value)[:40]!r} is no number") from None
    if not number.is_finite() or not -_MOST <= number <= _MOST:
        raise ValueError(f"{str(value)[:40]!r} is no number that can be meant")
    return number


def _usd_only(currency: Json) -> None:
    if str(currency).lower() != "usd":
        raise ValueError(f"the currency is {str(currency)[:40]!r}; only USD can be compared")


def _model(value: Json) -> str | None:
    """Return the model of a `model` or of a line item, such as `priority | gpt-4o-2024-08-06 audio, cached input`."""
    if value is None or not isinstance(value, str) or not value.strip():
        return None
    text = value.strip()
    head, comma, _ = text.rpartition("|")[2].strip().partition(",")
    return head.split()[0] if comma and head.strip() else text


def _read_csv(path: Path, text: str) -> Export:
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    lines: list[Billed] = []
    days: set[str] = set()
    try:
        head = [name.strip().lower() for name in next(reader, [])]
        _check_head(head)
        for cells in reader:
            if any(cell.strip() for cell in cells):
                line = _row(head, cells)
                days.add(line.day)
                lines += [line] if any(value is not None for value in line[2:]) else []
    except (ValueError, csv.Error) as error:
        raise _error(path, max(1, reader.line_num), str(error)) from None
    return Export(lines, frozenset(days), more_pages=False)


def _check_head(head: Sequence[str]) -> None:
    if not any(name in head for name in _DAYS):
        raise ValueError(f"no column is called {' or '.join(_DAYS)}")
    numbers = [name for names in (*_COUNTS.values(), _COST) for name in names]
    if not any(name in head for name in numbers):
        raise ValueError(f"no column to compare: one of {', '.join(numbers)} is needed")
    for name in (*_DAYS, *_MODELS, *numbers):
        if head.count(name) > 1:
            raise ValueError(f"two columns are called {name}")


def _row(head: Sequence[str], cells: Sequence[str]) -> Billed:
    if len(cells) != len(head):
        raise ValueError(f"the row has {len(cells)} cells, the head {len(head)}")
    values: dict[str, Json] = dict(zip(head, (cell.strip() for cell in cells), strict=True))
    _usd_only(_first(values, _CURRENCIES) or "usd")
    counts = {name: _count(_first(values, columns)) for name, columns in _COUNTS.items()}
    model = _model(_first(values, _MODELS))
    return Billed(_day_of(_first(values, _DAYS)), model, **counts, cost_nusd=_nusd(_first(values, _COST)))


def _day_of(value: Json) -> str:
    """Return the day of an ISO date, an ISO time (in UTC where it names no zone) or seconds since 1970."""
    text = str(value or "")
    try:
        if text.isascii() and text.isdigit() and len(text) > 8:
            return datetime.fromtimestamp(int(text), UTC).date().isoformat()
        if len(text) == len("2026-11-21"):
            return date.fromisoformat(text).isoformat()
        moment = datetime.fromisoformat(text)
        return (moment.astimezone(UTC) if moment.tzinfo else moment).date().isoformat()
    except (ValueError, OverflowError, OSError):
        raise ValueError(f"{text[:40]!r} is no day: 2026-11-21, a time, or seconds since 1970") from None
