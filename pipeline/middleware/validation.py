"""Validation: a 2xx becomes answers that belong to their records, or an error. Nothing is accepted by position."""

from __future__ import annotations

from collections.abc import Callable

import orjson

from pipeline.backends.base import Backend
from pipeline.core.classify import classify
from pipeline.core.usage import read_usage
from pipeline.errors import Ambiguous, Malformed, PipelineError
from pipeline.events import Notice, Observer
from pipeline.job import Job
from pipeline.types import Json, Request, Response, Usage

_REMARKS = {
    "missing": "the server reports no usage: the upper bound is recorded as its cost",
    "invalid": "the server reports a usage that makes no sense: the upper bound is recorded as its cost",
    "partial": "the server reports the usage of a part of a request only: the upper bound is recorded as its cost",
    "above_bound": "the server reports more tokens than were sent or allowed: recorded as reported",
    "not_text": "the server reports tokens of audio or images: only text has a known price, so they are recorded at "
    "that, which may be less than they cost",
}

_REQUEST_ID = "x-request-id"
_LONGEST_NAME = 256
"""Characters of a name that the server chose; it is written into every line."""


class Validation:
    """Parses a response's body, lets the job split it, and decides which usage to believe.

    Args:
        inner: The next backend.
        job: Knows which answer belongs to which record.
        observers: Told once of each way in which a usage is not believed.
        redact: Removes the key from what the server says.
    """

    def __init__(self, inner: Backend, job: Job, observers: Observer, redact: Callable[[str], str]) -> None:
        self._inner = inner
        self._job = job
        self._observers = observers
        self._redact = redact
        self._remarked: set[str] = set()
        self._last_model: tuple[Json, str] = (None, "")

    async def send(self, request: Request) -> Response:
        response = await self._inner.send(request)
        try:
            body = orjson.loads(response.body)
        except orjson.JSONDecodeError:
            raise _with_limits(Ambiguous("the answer is not JSON", code="bad_json"), response) from None
        if not isinstance(body, dict) or not body or body.get("error"):
            raise self._not_an_answer(response, body)
        try:
            return self._answered(request, response, body)
        except Malformed as error:
            raise _with_limits(error, response) from None

    def _answered(self, request: Request, response: Response, body: dict[str, Json]) -> Response:
        answers = tuple(self._job.split(request.items, body))
        for answer in answers:
            if isinstance(answer, PipelineError):
                answer.message = self._redact(answer.message)
        usage = self._usage(request, body)
        if len(answers) == 1 and not usage.estimated and isinstance(answers[0], dict):
            answers = ({**answers[0], "usage": body["usage"]},)
        model, tier = body.get("model"), body.get("service_tier")
        return Response(
            response.status,
            self._shown(response),
            b"",
            response.limits,
            answers,
            usage,
            self._model(model, request),
            self._name(tier) if isinstance(tier, str) else None,
            len(response.body),
        )

    def _model(self, name: Json, request: Request) -> str:
        """The model that answered. Nearly always it is that of the last answer."""
        if name != self._last_model[0]:
            self._last_model = name, self._name(name) if isinstance(name, str) else ""
        return self._last_model[1] or request.model

    def _shown(self, response: Response) -> dict[str, str]:
        """The one header that results show."""
        name = response.headers.get(_REQUEST_ID)
        return {} if name is None else {_REQUEST_ID: self._name(name)}

    def _name(self, text: str) -> str:
        """A name that the server chose, as it may be written everywhere."""
        return self._redact(text)[:_LONGEST_NAME]

    def _not_an_answer(self, response: Response, body: Json) -> PipelineError:
        if isinstance(body, dict) and body.get("error"):
            return classify(response.status, response.headers, response.body, redact=self._redact)
        return _with_limits(Ambiguous("the answer holds no result", code="empty_answer"), response)

    def _usage(self, request: Request, body: dict[str, Json]) -> Usage:
        reading = read_usage(
            body.get("usage"),
            input_bound=request.input_bound,
            output_bound=request.output_bound,
            estimate=sum([item.input_tokens for item in request.items]),
            items=len(request.items),
            min_output=_written(body.get("choices")),
        )
        if reading.remark and reading.remark not in self._remarked:
            self._remarked.add(reading.remark)
            self._observers.see(Notice("warning", _REMARKS[reading.remark]))
        return reading.usage


def _with_limits(error: PipelineError, response: Response) -> PipelineError:
    error.status, error.limits = response.status, response.limits
    return error


def _written(choices: Json) -> int:
    """How many choices hold a text: each took at least one output token."""
    return sum(map(_has_text, choices)) if isinstance(choices, list) else 0


def _has_text(choice: Json) -> bool:
    if not isinstance(choice, dict):
        return False
    message = choice.get("message")
    return bool(message.get("content") if isinstance(message, dict) else choice.get("text"))
