"""Secrets do not show."""

from __future__ import annotations

import base64
import copy
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.secret import Secret, redact_patterns

KEY = "canary/0123+456789=="


@pytest.mark.parametrize(
    "shown",
    [
        repr(Secret(KEY)),
        str(Secret(KEY)),
        f"{Secret(KEY)}",
        f"{Secret(KEY)!r}",
        f"{Secret(KEY):>20}",
        "%s" % Secret(KEY),  # noqa: UP031 - one more way to print it
        repr([Secret(KEY)]),
        pickle.dumps(Secret(KEY)).decode("latin-1"),
        copy.deepcopy(Secret(KEY)).reveal(),
    ],
)
def test_a_secret_shows_as_three_stars(shown: str) -> None:
    assert "canary" not in shown
    assert "***" in shown


def test_a_secret_reveals_its_value_only_when_asked() -> None:
    assert Secret(KEY).reveal() == KEY


def test_secrets_are_equal_by_value() -> None:
    assert Secret("a") == Secret("a")
    assert Secret("a") != Secret("b")
    assert len({Secret("a"), Secret("a")}) == 1


@pytest.mark.parametrize(
    "form",
    [
        KEY,
        base64.b64encode(KEY.encode()).decode(),
        base64.urlsafe_b64encode(KEY.encode()).decode(),
        "canary%2F0123%2B456789%3D%3D",
    ],
)
def test_every_spelling_of_the_key_is_redacted(form: str) -> None:
    assert Secret(KEY).redact(f"before {form} after").replace("=", "") == "before *** after"


@pytest.mark.parametrize(
    ("text", "redacted"),
    [
        ("key sk-proj-abcDEF_123*****wxyz. Find", "key *** Find"),
        ("Authorization: Bearer abc.def-ghi, next", "Authorization: Bearer ***, next"),
        ("https://user:pass@host/path", "https://***@host/path"),
        ("GET /v1?api_key=abc&x=1", "GET /v1?api_key=***&x=1"),
        ("a task-list and risk-free words", "a task-list and risk-free words"),
        ("mail me@example.com", "mail me@example.com"),
    ],
)
def test_what_looks_like_a_key_is_redacted(text: str, redacted: str) -> None:
    assert redact_patterns(text) == redacted


@given(st.text(), st.text(alphabet="abcdefXYZ0123456789-_", min_size=8, max_size=60), st.text())
def test_no_text_keeps_the_key(before: str, key: str, after: str) -> None:
    assert key not in Secret(key).redact(before + key + after)


def test_a_value_too_short_to_be_a_secret_does_not_garble_texts() -> None:
    assert Secret("x").redact("an example") == "an example"
