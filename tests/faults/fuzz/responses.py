"""Answers, refusals and headers: every answer that is accepted stands in the body under its record's own index."""

from __future__ import annotations

import json
import math
import random
from collections import Counter
from collections.abc import Callable, Coroutine, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

import numpy as np
import orjson

from jobs.embeddings import read_vector
from pipeline.core.apportion import apportion, apportion_usage
from pipeline.core.classify import classify
from pipeline.core.hints import rate_limits, retry_after, wait_hint
from pipeline.core.lines import batch_line, templated_line
from pipeline.core.pricing import PriceBook, PriceCard
from pipeline.core.request_prices import RequestPrices
from pipeline.errors import JobStopped, PipelineError, Rejected
from pipeline.events import Observers
from pipeline.job import Job, is_batch_line
from pipeline.middleware.validation import Validation
from pipeline.types import Item, Json, Record, Request, Response, Usage
from tests.faults.fuzz.lines import jobs
from tests.faults.fuzz.mutate import changed, damaged, expect, no_hang
from tests.rig import PRICE

REFUSALS = (301, 400, 401, 402, 403, 404, 408, 409, 413, 422, 425, 429, 500, 502, 503, 504, 524, 529, 599)
STATUSES = (*(200,) * 2 * len(REFUSALS), 201, *REFUSALS)
KEY = "Zq7canary.5f2e-9d4c1b8a"
AT = datetime(2026, 11, 21, tzinfo=UTC).timestamp()
LARGEST = 2**63
"""SQLite's integers end here."""
_TOGETHER = 200
"""Answers in one measured step."""


class Kind(NamedTuple):
    """How one job's answers are made and read."""

    job: Job
    key: str
    entry: Callable[[int, str], Json]
    shown: Callable[[Json], Json]
    data: Callable[[str], Mapping[str, Json]]


def _chat_entry(index: int, text: str) -> Json:
    return {"index": index, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}


def _vector_entry(index: int, text: str) -> Json:
    return {
        "object": "embedding",
        "index": index,
        "embedding": [float(len(text)), float(text.rpartition(" ")[2]), 0.25],
    }


def _vector(entry: Json) -> Json:
    embedding = entry["embedding"]
    vector = embedding if isinstance(embedding, np.ndarray) else read_vector(embedding, narrow=False)
    return None if vector is None else list(vector)


def _line(path: str, key: str) -> Callable[[str], Mapping[str, Json]]:
    return lambda text: {"custom_id": text, "method": "POST", "url": f"/v1{path}", "body": {"model": "m", key: text}}


def kinds() -> Sequence[Kind]:
    """Templated records and Batch lines of every job that packs records, and chats."""
    embeddings, completions, _, chat, moderations = jobs()
    plain: Callable[[str], Mapping[str, Json]] = lambda text: {"text": text}  # noqa: E731
    talk: Callable[[str], Mapping[str, Json]] = lambda text: {"messages": [{"role": "user", "content": text}]}  # noqa: E731

    def whole(index: int, text: str) -> Json:
        return {"index": index, "text": text, "finish_reason": "stop"}

    def flagged(_index: int, text: str) -> Json:
        return {"flagged": False, "categories": {}, "category_scores": {"x": text}}

    return (
        Kind(embeddings, "data", _vector_entry, _vector, plain),
        Kind(embeddings, "data", _vector_entry, _vector, _line("/embeddings", "input")),
        Kind(completions, "choices", whole, lambda entry: entry["text"], _line("/completions", "prompt")),
        Kind(chat, "choices", _chat_entry, lambda entry: entry["message"]["content"], talk),
        Kind(moderations, "results", flagged, lambda entry: entry, plain),
    )


class _Said:
    """Answers what it was told to."""

    response = Response(200, {}, b"")

    async def send(self, _: Request) -> Response:
        return self.response


class ResponseFuzz:
    """Damages bodies and headers, and judges what becomes of them.

    Attributes:
        outcomes: How often answers became what; of one body, each record's.
    """

    def __init__(self, chance: random.Random) -> None:
        self._chance = chance
        self.responses = 0
        self._kinds = kinds()
        self._said = _Said()
        redact: Callable[[str], str] = lambda text: text.replace(KEY, "***")  # noqa: E731
        self._redact = redact
        self._doors = [Validation(self._said, kind.job, Observers(), redact) for kind in self._kinds]
        book = PriceBook(lambda _model, _at: PriceCard({"standard": PRICE}))
        self._prices = RequestPrices(book, tier=None, refuse_unknown=False, remark=lambda _: None)
        self.outcomes: Counter[str] = Counter()

    def run(self, responses: int) -> None:
        """Try so many."""
        while self.responses < responses:
            with no_hang():
                for _ in range(_TOGETHER):
                    self._once()
            self.responses += _TOGETHER

    def _once(self) -> None:
        chance = self._chance
        status = STATUSES[chance.randrange(len(STATUSES))]
        headers = random_headers(chance)
        check_headers(headers)
        if status >= 300:
            self._refused(status, headers)
            return
        number = chance.randrange(len(self._kinds))
        kind = self._kinds[number]
        request = _request(
            kind, 1 if kind.key == "choices" and "messages" in kind.data("") else 1 + chance.getrandbits(2)
        )
        body, only_shuffled = self._body(kind, request)
        self._said.response = Response(status, headers, body)
        try:
            response = _result(self._doors[number].send(request))
        except PipelineError as error:
            check_error(error)
            expect(not isinstance(error, JobStopped) or b'"error"' in body, error)
            self.outcomes[f"{type(error).__name__} {error.code}" if error.code.isidentifier() else "other code"] += 1
            return
        self._accepted(kind, request, response, body, only_shuffled=only_shuffled)

    def _body(self, kind: Kind, request: Request) -> tuple[bytes, bool]:
        """A body, and whether nothing in it is wrong but the order."""
        chance = self._chance
        texts = [item.record.custom_id for item in request.items]
        entries = [kind.entry(index, f"to {text}") for index, text in enumerate(texts)]
        usage: Json = {
            "prompt_tokens": 9 * len(texts),
            "completion_tokens": 2 * len(texts),
            "total_tokens": 11 * len(texts),
        }
        body: Json = {"id": "x", "object": "list", "model": "m", kind.key: entries, "usage": usage}
        way = chance.getrandbits(3)
        if way == 0:
            if kind.key != "results":
                chance.shuffle(entries)
            return orjson.dumps(body), True
        if way == 1:
            body = {"error": {"message": f"no {KEY}", "type": "server_error", "code": chance.choice(CODES)}}
        for _ in range(1 + chance.getrandbits(1)):
            changed(body, chance)
        content = json.dumps(body).encode("utf-8", "surrogatepass")
        return (damaged(content, chance) if way > 5 else content), False

    def _accepted(self, kind: Kind, request: Request, response: Response, body: bytes, *, only_shuffled: bool) -> None:
        """Nothing is joined to a record but what stands under its index."""
        entries = json.loads(body, parse_int=_number)[kind.key]
        by_index = dict(enumerate(entries)) if kind.key == "results" else {entry["index"]: entry for entry in entries}
        assert len(response.answers) == len(request.items)
        usages, costs = self._shares(request, response)
        for index, (item, answer) in enumerate(zip(request.items, response.answers, strict=True)):
            if isinstance(answer, Exception):
                assert isinstance(answer, Rejected)
                assert not only_shuffled
                self.outcomes[answer.code] += 1
                continue
            shown = kind.shown(answer[kind.key][0])
            assert shown == kind.shown(by_index[index]), "an answer of another record"
            if only_shuffled:
                assert shown == kind.shown(kind.entry(index, f"to {item.record.custom_id}"))
            _written(kind, item, answer, response, usages[index], costs[index])
            self.outcomes["accepted"] += 1

    def _shares(self, request: Request, response: Response) -> tuple[list[Usage], list[int]]:
        cost = self._prices.cost(request, response, AT)
        weights = [item.input_tokens + 1 for item in request.items]
        usages, costs = apportion_usage(response.usage, weights), apportion(cost, weights)
        assert 0 <= cost < LARGEST
        assert sum(costs) == cost
        assert all(0 <= number < LARGEST for usage in usages for number in usage[:5])
        assert sum(usage.input for usage in usages) == response.usage.input
        return usages, costs

    def _refused(self, status: int, headers: Mapping[str, str]) -> None:
        chance = self._chance
        body: Json = {
            "error": {"message": f"no {KEY}", "type": chance.choice(CODES), "param": None, "code": chance.choice(CODES)}
        }
        if chance.getrandbits(1):
            changed(body, chance)
        content = json.dumps(body).encode()
        if chance.getrandbits(1):
            content = damaged(content, chance)
        error = classify(status, headers, content, now=1.8e9, tokens=chance.getrandbits(20), redact=self._redact)
        check_error(error)
        self.outcomes[f"refused: {type(error).__name__}"] += 1


def _number(digits: str) -> int | float:
    """Beyond 64 bits an answer's whole numbers are read as floats, as JSON allows."""
    number = int(digits)
    return number if -(2**63) <= number < 2**64 else float(digits)


def _request(kind: Kind, count: int) -> Request:
    items: list[Item] = []
    for number in range(count):
        text = f"text {number}"
        items.append(kind.job.render(Record(number + 1, text, kind.data(text))))
    body = orjson.dumps(kind.job.body(items))
    return Request(
        kind.job.path, body, tuple(items), "m", 10, len(body), sum(item.output_tokens or 0 for item in items)
    )


def _result(sending: Coroutine[Any, Any, Response]) -> Response:
    """Run a coroutine that waits for nothing."""
    try:
        sending.send(None)
    except StopIteration as ended:
        response: Response = ended.value
        return response
    raise AssertionError("it waits")


def _written(kind: Kind, item: Item, answer: Mapping[str, Json], response: Response, usage: Usage, cost: int) -> None:
    record, identity = item.record, f"abcdefgh-1-{item.record.line}-{cost}"
    if is_batch_line(record.data):
        line = batch_line(identity, record, answer, response.model, usage, response.headers.get("x-request-id"))
    else:
        line = templated_line(identity, record, ["text"], kind.job.fields(answer), response.model, usage, cost)
    assert line.count(b"\n") == 1
    assert orjson.loads(line)["custom_id"] == record.custom_id
    assert len(response.model) <= 256


def check_error(error: PipelineError) -> None:
    """An error can be shown as it is, and its hint is a time."""
    assert error.code
    assert error.message.isprintable()
    assert len(error.message) < 600
    assert KEY not in error.message + error.code
    assert error.hint is None or (math.isfinite(error.hint) and error.hint > 0)


CODES: Sequence[Json] = (
    "insufficient_quota", "rate_limit_exceeded", "model_not_found", "context_length_exceeded",
    "invalid_request_error", "429", "400",
    "requests", "tokens", "server_error", "x" * 300, "", None, 429, True, [], {}, KEY, "a\nb",
)  # fmt: skip
TIMES = (
    "0", "1", "0.25", "-1", "NaN", "inf", "1e9", "1e400", "soon", "", " 5 ", "1_000", "٣", "6m0s", "120ms",
    "23h47m36.648s", "1d", "5µs",
    "2026-11-21T05:38:29Z", "2026-11-21", "9999-12-31T23:59:59+23:59", "0001-01-01T00:00:00Z", "1800000000",
    "1800000000000",
    "Sat, 21 Nov 2026 05:38:29 GMT", "Sat, 21 Nov 2026 05:38:29", "Sat, 31 Feb 2026 25:61:61 GMT",
    "Wed, 01 Jan 99999 00:00:00 GMT",
    "Thu, 01 Jan 1970 00:00:00 GMT", "18446744073709551616", "9" * 400, "1s" * 50, "0x10", "1e-320", "-0",
    "Sat, 21 Nov 2026 05:38:29 +9999",
)  # fmt: skip
NAMES = (
    "retry-after", "retry-after-ms", "x-should-retry", "date", "location", "x-request-id",
    *(
        f"x-ratelimit-{what}-{bucket}"
        for what in ("limit", "remaining", "reset")
        for bucket in ("requests", "tokens", "project-tokens")
    ),
)  # fmt: skip


def random_headers(chance: random.Random) -> dict[str, str]:
    """A few headers with values of every dialect, some damaged."""
    headers = {}
    for _ in range(chance.getrandbits(2)):
        text = TIMES[chance.randrange(len(TIMES))]
        if chance.getrandbits(2) == 0:
            text = damaged(text.encode(), chance).decode("latin-1")
        headers[NAMES[chance.randrange(len(NAMES))]] = text
    return headers


def check_headers(headers: Mapping[str, str]) -> None:
    """Whatever headers say, a wait is a finite time above 0 and a limit is a number from 0."""
    for now in (None, 1.8e9):
        for wait in (retry_after(headers, now), wait_hint(headers, now)):
            assert wait is None or (math.isfinite(wait) and wait > 0)
    limits = rate_limits(headers)
    assert limits is None or all(value is None or (type(value) is int and value >= 0) for value in limits)
