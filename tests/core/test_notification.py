from __future__ import annotations

import base64
from typing import get_args

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.notification import Event, RunEvent, event_at_end, notification, signature, signing_key
from pipeline.types import Json
from tests.cli.summaries import summary

MOST_BYTES = 64 * 1024
ANY_TEXT = st.text(st.characters(exclude_categories=[]), max_size=2_000)


def told(**changes: object) -> dict[str, Json]:
    content = notification(
        "failed", "it failed", summary(**changes), identity="n-1", host="worker-1", at="2026-11-21T12:00:00Z"
    ).content
    return dict(content)


@pytest.mark.parametrize(
    ("exit_code", "stop", "event"),
    [
        (0, None, "complete"),
        (3, None, "dead_letters"),
        (4, "budget_reached", "hard_budget"),
        (4, "deadline", "deadline"),
        (1, None, "failed"),
        (2, "usage", "failed"),
        (5, "state_mismatch", "failed"),
        (6, "needs_person", "failed"),
        (7, "endpoint_unavailable", "failed"),
        (74, "storage_failed", "failed"),
        (75, "locked", "locked"),
        (130, "interrupted", "interrupted"),
        (143, "interrupted", "interrupted"),
    ],
)
def test_every_exit_code_is_an_event(exit_code: int, stop: str | None, event: str) -> None:
    assert event_at_end(exit_code, stop) == event


def test_a_test_cannot_be_asked_for() -> None:
    assert set(get_args(Event)) - set(get_args(RunEvent)) == {"test"}


def test_the_summary_is_told_in_its_own_words() -> None:
    content, published = told(), summary()

    assert {key: content[key] for key in ("schema_version", "id", "event", "text", "host", "at")} == {
        "schema_version": 1,
        "id": "n-1",
        "event": "failed",
        "text": "it failed",
        "host": "worker-1",
        "at": "2026-11-21T12:00:00Z",
    }
    for key in ("job", "name", "output", "state", "exit_code", "message", "records", "money", "codes", "this_run"):
        assert content[key] == published[key], key


def test_long_texts_are_cut_and_so_are_long_lists_of_codes() -> None:
    content = told(message="m" * 501, output="o" * 500, codes={f"code-{number}": 1 for number in range(100)})

    assert (content["message"], content["output"]) == ("m" * 500 + "…", "o" * 500)
    assert list(content["codes"]) == [f"code-{number}" for number in range(20)]


def test_what_looks_like_a_key_is_masked() -> None:
    assert "canary" not in str(told(message="Bearer canary-0123456789 and sk-canary0123456789"))


@given(ANY_TEXT, ANY_TEXT, ANY_TEXT, st.dictionaries(ANY_TEXT, st.integers(0, 2**63), max_size=30))
def test_whatever_a_summary_holds_a_notification_is_small_and_json(
    name: str, message: str, output: str, codes: dict[str, int]
) -> None:
    published = summary(name=name, message=message, output=output, errors=output, codes=codes)
    made = notification("failed", message, published, identity="n-1", host=name, at="2026-11-21T02:00:00Z").as_json()

    assert len(made) <= MOST_BYTES
    assert orjson.loads(made)["event"] == "failed"


def test_the_signature_of_the_standard_is_ours() -> None:
    """The example by which Standard Webhooks' own libraries are tested."""
    key = signing_key("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")

    assert key == base64.b64decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    assert (
        signature(key, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, b'{"test": 2432232314}')
        == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
    )
