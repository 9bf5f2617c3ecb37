from __future__ import annotations

from collections.abc import Sequence

import pytest

from jobs.embeddings import Embeddings
from pipeline.backends.fake import FakeBackend
from pipeline.core.tokens import TextTokenizer
from pipeline.errors import Ambiguous, Malformed, NeedsPerson, PipelineError, Transient
from pipeline.events import Event, Notice
from pipeline.job import JobSpec
from pipeline.middleware.drain import Drain, Draining
from pipeline.middleware.validation import Validation
from pipeline.types import Item, RateLimits, Record, Request, Response, Usage
from tests.rig import answer

ITEM = Item(Record(1, "1", {"text": "a"}), "a", 1)
REQUEST = Request("/embeddings", b"{}", (ITEM,), "m", 1, 10, 0)


class Seen:
    """An observer that remembers."""

    def __init__(self) -> None:
        self.notices: list[str] = []

    def see(self, event: Event) -> None:
        if isinstance(event, Notice):
            self.notices.append(event.message)


def validation(script: Sequence[Response | PipelineError], seen: Seen | None = None) -> Validation:
    job = Embeddings(JobSpec("m", TextTokenizer("cl100k_base"), templates={"text": lambda data: str(data["text"])}))
    return Validation(FakeBackend(script), job, seen or Seen(), lambda text: text.replace("secret", "***"))


VECTOR = {"data": [{"index": 0, "embedding": [1.0, 2.0]}], "model": "m-2", "service_tier": "flex"}
USAGE = {"prompt_tokens": 4, "total_tokens": 4}


async def test_a_good_answer_brings_its_usage_model_and_tier() -> None:
    response = await validation([answer({**VECTOR, "usage": USAGE})]).send(REQUEST)

    assert (response.usage.input, response.model, response.service_tier) == (4, "m-2", "flex")
    assert response.answers[0]["usage"] == USAGE  # type: ignore[index]


@pytest.mark.parametrize("model", [None, 5, ["m"]])
async def test_an_answer_without_a_usable_model_or_tier_is_that_of_the_request(model: object) -> None:
    body = {**VECTOR, "model": model, "service_tier": model, "usage": USAGE}
    response = await validation([answer(body)]).send(REQUEST)

    assert (response.model, response.service_tier) == ("m", None)


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b"{}", b"null", b'"x"', b"\xff", b'{"data": [], "usage": {}}'])
async def test_a_200_that_is_no_answer_may_have_been_billed(body: bytes) -> None:
    limits = RateLimits(60, 59)
    with pytest.raises(Ambiguous) as caught:
        await validation([Response(200, {}, body, limits)]).send(REQUEST)

    assert caught.value.billed
    assert (caught.value.status, caught.value.limits) == (200, limits)


async def test_a_200_with_an_error_is_that_error_without_the_key() -> None:
    body = {"error": {"message": "your key secret is wrong", "code": "invalid_api_key", "type": "x", "param": None}}
    with pytest.raises(NeedsPerson) as caught:
        await validation([answer(body)]).send(REQUEST)

    assert "secret" not in caught.value.message
    assert "***" in caught.value.message


async def test_answers_that_cannot_be_matched_are_malformed() -> None:
    with pytest.raises(Malformed):
        await validation([answer({**VECTOR, "data": [*VECTOR["data"], *VECTOR["data"]]})]).send(REQUEST)


async def test_a_usage_that_is_not_believed_is_said_once() -> None:
    seen = Seen()
    backend = validation([answer(VECTOR), answer(VECTOR)], seen)
    first = await backend.send(REQUEST)
    await backend.send(REQUEST)

    assert first.usage.estimated
    assert first.usage.input == 10
    assert len(seen.notices) == 1


async def test_tokens_that_are_no_text_are_said_once_to_be_priced_as_text() -> None:
    seen = Seen()
    usage = {"prompt_tokens": 9, "total_tokens": 9, "prompt_tokens_details": {"audio_tokens": 4}}
    backend = validation([answer({**VECTOR, "usage": usage})] * 2, seen)
    heard = [(await backend.send(REQUEST)).usage for _ in range(2)]

    assert heard == [Usage(9), Usage(9)]
    assert len(seen.notices) == 1
    assert "only text has a known price" in seen.notices[0]


async def test_nothing_goes_out_once_the_job_stops() -> None:
    backend = FakeBackend([answer(VECTOR), Transient("500")])
    drain = Drain(backend)
    await drain.send(REQUEST)
    assert drain.on_wire == set()
    drain.close()

    with pytest.raises(Draining):
        await drain.send(REQUEST)
    assert len(backend.requests) == 1


async def test_what_fails_while_the_job_stops_is_not_tried_again() -> None:
    drain: Drain

    def fail(_: Request) -> Transient:
        drain.close()
        return Transient("500")

    drain = Drain(FakeBackend(fail))
    with pytest.raises(Draining) as caught:
        await drain.send(REQUEST)

    assert isinstance(caught.value.__cause__, Transient)
    assert drain.on_wire == set()


async def test_what_fails_while_the_job_runs_is_for_the_retry() -> None:
    with pytest.raises(Transient):
        await Drain(FakeBackend([Transient("500")])).send(REQUEST)
