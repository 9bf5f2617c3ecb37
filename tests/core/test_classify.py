"""Every row of the table of refusals, and every dialect of error bodies."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.classify import classify
from pipeline.errors import (
    Ambiguous,
    JobStopped,
    NeedsPerson,
    PipelineError,
    Rejected,
    Retryable,
    Throttled,
    Transient,
    Unreachable,
)
from pipeline.secret import Secret


def refusal(status: int, code: object = None, kind: str | None = None, **named: Any) -> PipelineError:
    body = {"error": {"message": "a message", "type": kind, "param": None, "code": code}}
    return classify(status, named.pop("headers", {}), orjson.dumps(body), **named)


@pytest.mark.parametrize(
    "code",
    [
        "insufficient_quota",
        "credit_balance_exhausted",
        "organization_spend_limit_exceeded",
        "project_spend_limit_exceeded",
        "organization_usage_limit_exceeded",
        "billing_hard_limit_reached",
        "billing_not_active",
        "enforced_spend_limit_reached",
    ],
)
@pytest.mark.parametrize("status", [400, 402, 403, 429])
def test_an_exhausted_quota_needs_a_person(code: str, status: int) -> None:
    error = refusal(status, code, "rate_limit_error", headers={"retry-after": "1", "x-should-retry": "true"})

    assert isinstance(error, NeedsPerson)
    assert (error.code, error.exit_code) == (code, 6)


def test_an_exhausted_quota_is_known_by_its_type_where_the_code_is_new() -> None:
    assert isinstance(refusal(429, "weekly_limit_exceeded", "insufficient_quota"), NeedsPerson)


@pytest.mark.parametrize("status", [301, 302, 307, 308, 401, 402, 403, 404, 405, 407, 501])
def test_these_statuses_need_a_person(status: int) -> None:
    assert isinstance(classify(status, {}, b""), NeedsPerson)


@pytest.mark.parametrize("status", [408, 409, 425, 499, 500, 502, 503, 504, 520, 521, 522, 523, 524, 526])
def test_these_statuses_are_transient(status: int) -> None:
    error = classify(status, {}, b"<html>bad gateway</html>")

    assert isinstance(error, Transient)
    assert error.code == f"http_{status}"
    assert error.billed is (status in {502, 504, 524})


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (429, "rate_limit_exceeded", "requests"),
        (429, None, "tokens"),
        (429, None, None),
        (429, "slow_down", "rate_limit_error"),
        (429, "resource_unavailable", None),
        (429, "429", "internal_server_error"),
        (503, "slow_down", None),
        (503, "server_is_overloaded", "service_unavailable_error"),
        (529, None, "overloaded_error"),
        (529, None, None),
    ],
)
def test_these_refusals_ask_for_fewer_requests(status: int, code: str | None, kind: str | None) -> None:
    error = refusal(status, code, kind)

    assert isinstance(error, Throttled)
    assert not error.billed
    assert not error.counted


@pytest.mark.parametrize("status", [400, 406, 410, 413, 415, 422])
def test_other_refusals_are_the_records_fault_and_a_batch_is_halved(status: int) -> None:
    error = refusal(status, None, "invalid_request_error")

    assert isinstance(error, Rejected)
    assert error.halve
    assert not error.billed


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (400, "context_length_exceeded", "invalid_request_error"),
        (400, 400, "exceed_context_size_error"),
        (500, "context_length_exceeded", None),
        (400, "content_filter", None),
        (403, "content_policy_violation", None),
        (400, "cyber_policy", None),
        (429, "request_too_large", "tokens"),
        (413, None, "request_too_large"),
    ],
)
def test_a_code_that_blames_the_record_beats_the_status(status: int, code: object, kind: str | None) -> None:
    error = refusal(status, code, kind, headers={"x-should-retry": "true"})

    assert isinstance(error, Rejected)


def test_a_request_above_the_limit_that_a_429_names_can_never_succeed() -> None:
    headers = {"x-ratelimit-limit-tokens": "10000"}

    above = refusal(429, "rate_limit_exceeded", "tokens", headers=headers, tokens=10_001)
    within = refusal(429, "rate_limit_exceeded", "tokens", headers=headers, tokens=10_000)

    assert isinstance(above, Rejected)
    assert above.code == "request_too_large"
    assert above.halve
    assert isinstance(within, Throttled)


@pytest.mark.parametrize("code", ["model_not_found", None])
def test_an_unknown_model_stops_the_job_unless_something_succeeded(code: str | None) -> None:
    stopped = refusal(404, code, "invalid_request_error")
    rejected = refusal(404, code, "invalid_request_error", succeeded=True)

    assert isinstance(stopped, NeedsPerson)
    assert isinstance(rejected, Rejected)
    assert not rejected.halve


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_server_can_forbid_a_retry(status: int) -> None:
    error = classify(status, {"x-should-retry": "false"}, b"")

    assert isinstance(error, Rejected)
    assert not error.halve


def test_a_server_can_allow_a_retry_of_what_only_its_status_rejects() -> None:
    assert isinstance(refusal(400, headers={"x-should-retry": "true"}), Transient)
    assert isinstance(refusal(401, headers={"x-should-retry": "true"}), NeedsPerson)


@pytest.mark.parametrize(
    ("code", "kind", "expected"),
    [
        (None, None, Ambiguous),
        ("never_heard_of", "server_error", Ambiguous),
        (500, None, Ambiguous),
        ("rate_limit_exceeded", None, Throttled),
        (429, None, Throttled),
        ("insufficient_quota", None, NeedsPerson),
        ("context_length_exceeded", None, Rejected),
        (None, "invalid_request_error", Rejected),
    ],
)
def test_an_error_in_a_200_is_judged_by_its_body_and_may_have_been_billed(
    code: object, kind: str | None, expected: type[PipelineError]
) -> None:
    error = refusal(200, code, kind)

    assert type(error) is expected
    assert error.billed


@pytest.mark.parametrize("body", [b"", b"<html></html>", b"[]", b"ok", b"null", b"{}", b'"x"', b"12"])
def test_a_200_that_holds_nothing_is_ambiguous(body: bytes) -> None:
    assert type(classify(200, {}, body)) is Ambiguous


@pytest.mark.parametrize(
    ("body", "code", "text"),
    [
        (b'{"error":{"message":"m","type":"t","code":"c"}}', "c", "m"),
        (b'{"error":{"message":"m","type":"t","code":null}}', "t", "m"),
        (b'{"error":{"message":"m","type":"BadRequestError","code":400}}', "BadRequestError", "m"),
        (b'{"error":{"message":"m","code":"400"}}', "http_400", "m"),
        (b'{"error":"m","error_type":"validation"}', "validation", "m"),
        (b'{"object":"error","message":"m","type":"t","code":3210}', "3210", "m"),
        (b'{"detail":"m"}', "http_400", "m"),
        (b'{"type":"error","error":{"type":"t","message":"m","error_code":"c"}}', "c", "m"),
        (b'[{"error":{"message":"m","code":"c"}}]', "c", "m"),
        (b"Too many inputs", "http_400", "Too many inputs"),
        (b"<html>m</html>", "http_400", None),
        (b"", "http_400", None),
        (b"\xff\xfe", "http_400", None),
        (b'{"error":{"message":["m"],"code":{"a":1},"type":true}}', "http_400", None),
        (b'{"error":{"message":"m","code":"two words\\n"}}', "http_400", "m"),
    ],
)
def test_every_dialect_is_understood(body: bytes, code: str, text: str | None) -> None:
    error = classify(400, {}, body)

    assert error.code == code
    assert text is None or error.message.endswith(f"; it says: {text}")
    assert "html" not in error.message


def test_the_hint_and_the_limits_come_with_the_error() -> None:
    headers = {
        "retry-after": "2",
        "x-ratelimit-remaining-tokens": "0",
        "x-ratelimit-reset-tokens": "6m0s",
    }

    throttled = classify(429, headers, b"")

    assert throttled.hint == 2.0
    assert throttled.limits is not None
    assert throttled.limits.remaining_tokens == 0


def test_a_reset_is_no_hint_for_a_server_that_failed() -> None:
    headers = {"x-ratelimit-remaining-tokens": "0", "x-ratelimit-reset-tokens": "6h"}

    assert classify(500, headers, b"").hint is None
    assert classify(429, headers, b"").hint == 6 * 3_600
    assert classify(503, {"retry-after": "4"}, b"").hint == 4.0


def test_a_message_shows_what_the_server_said_without_control_characters_and_cut() -> None:
    text = "bad\x1b[31m\nrow\u202e" + "x" * 500

    message = classify(400, {}, orjson.dumps({"error": {"message": text}})).message

    assert message.endswith("it says: bad [31m row " + "x" * 187)
    assert message.isprintable()


def test_a_key_that_the_server_repeats_is_not_shown() -> None:
    secret = Secret("canary-0123456789")

    for text in ("canary-0123456789", "Bearer canary-0123456789", "x" * 180 + "canary-0123456789" * 20):
        body = orjson.dumps({"error": {"message": f"wrong key {text}", "code": "invalid_api_key"}})
        assert "canary" not in classify(401, {}, body, redact=secret.redact).message


def test_what_looks_like_a_key_is_never_shown() -> None:
    body = orjson.dumps({"error": {"message": "Incorrect API key provided: sk-proj-abc*****wxyz."}})

    assert "sk-" not in classify(401, {}, body).message


def test_a_redirect_names_its_goal_without_its_query() -> None:
    message = classify(307, {"location": "https://api.example.com/v2?key=abc"}, b"").message

    assert message.endswith("it says: https://api.example.com/v2")


HEADERS = st.dictionaries(
    st.sampled_from(["retry-after", "x-should-retry", "date", "location", "x-ratelimit-limit-tokens"]), st.text()
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(["error", "code", "type", "message"]), inner),
)


@given(st.integers(100, 599), HEADERS, st.binary() | JSON.map(orjson.dumps))
def test_every_response_becomes_one_error_of_the_tree(status: int, headers: dict[str, str], body: bytes) -> None:
    error = classify(status, headers, body, now=1e9)

    assert isinstance(error, Retryable | Rejected | JobStopped)
    assert not isinstance(error, Unreachable)
    assert error.status == status
    assert error.code
