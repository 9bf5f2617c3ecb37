"""Waits and limits as servers write them."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.hints import rate_limits, reset_wait, retry_after, wait_hint
from pipeline.types import RateLimits

NOON = 1_794_225_600.0  # Mon, 09 Nov 2026 12:00:00 GMT
NOON_DATE = "Mon, 09 Nov 2026 12:00:00 GMT"


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "56"}, 56.0),
        ({"retry-after": "1.5"}, 1.5),
        ({"retry-after": " 7 "}, 7.0),
        ({"retry-after-ms": "300"}, 0.3),
        ({"retry-after-ms": "300", "retry-after": "1"}, 1.0),
        ({"retry-after-ms": "2500", "retry-after": "1"}, 2.5),
        ({"retry-after": "1000000000"}, 1e9),
        ({"retry-after": "1e9"}, 1e9),
        ({"retry-after": "Mon, 09 Nov 2026 12:00:30 GMT"}, 30.0),
    ],
)
def test_a_retry_after_is_read_in_every_form(headers: dict[str, str], seconds: float) -> None:
    assert retry_after(headers, NOON) == seconds


@pytest.mark.parametrize(
    "text", ["0", "-1", "NaN", "inf", "-inf", "soon", "", "1_000", "9" * 400, "Mon, 99 Nov", "\uff10.x"]
)
def test_a_retry_after_that_makes_no_sense_is_ignored(text: str) -> None:
    assert retry_after({"retry-after": text}, NOON) is None
    assert retry_after({"retry-after-ms": text}, NOON) is None


def test_a_junk_field_does_not_hide_a_good_one() -> None:
    assert retry_after({"retry-after-ms": "NaN", "retry-after": "3"}, NOON) == 3.0


def test_a_date_is_measured_from_the_servers_date_and_not_from_our_clock() -> None:
    headers = {"retry-after": "Mon, 09 Nov 2026 12:00:30 GMT", "date": NOON_DATE}

    assert retry_after(headers, NOON + 86_400) == 30.0
    assert retry_after(headers, None) == 30.0


def test_a_date_without_any_clock_to_measure_it_is_ignored() -> None:
    assert retry_after({"retry-after": NOON_DATE}, None) is None


def test_a_date_that_has_passed_is_ignored() -> None:
    assert retry_after({"retry-after": NOON_DATE, "date": "Mon, 09 Nov 2026 12:00:01 GMT"}, NOON) is None


@pytest.mark.parametrize(
    ("reset", "seconds"),
    [
        ("6m0s", 360.0),
        ("120ms", 0.12),
        ("2s81ms", 2.081),
        ("5h50m30ms", 5 * 3_600 + 50 * 60 + 0.03),
        ("23h47m36.648s", 23 * 3_600 + 47 * 60 + 36.648),
        ("1d2h", 26 * 3_600.0),
        ("250us", 0.00025),
        ("250µs", 0.00025),
        ("1.74", 1.74),
        ("60", 60.0),
        ("2026-11-09T12:01:00Z", 60.0),
        ("2026-11-09T13:01:00+01:00", 60.0),
        (str(int(NOON) + 60), 60.0),
        (str((int(NOON) + 60) * 1_000), 60.0),
    ],
)
def test_a_reset_is_read_in_every_form(reset: str, seconds: float) -> None:
    headers = {"x-ratelimit-remaining-tokens": "0", "x-ratelimit-reset-tokens": reset, "date": NOON_DATE}

    assert reset_wait(headers, NOON + 5) == pytest.approx(seconds)


@pytest.mark.parametrize("reset", ["0s", "-5", "6 m", "m", "1h2", "nan", "tomorrow", "2020-01-01T00:00:00Z", "9" * 400])
def test_a_reset_that_makes_no_sense_is_ignored(reset: str) -> None:
    assert reset_wait({"x-ratelimit-remaining-tokens": "0", "x-ratelimit-reset-tokens": reset}, NOON) is None


def test_a_reset_counts_only_for_a_bucket_that_is_empty() -> None:
    headers = {
        "x-ratelimit-remaining-requests": "1",
        "x-ratelimit-reset-requests": "6m0s",
        "x-ratelimit-remaining-tokens": "0",
        "x-ratelimit-reset-tokens": "3s",
    }

    assert reset_wait(headers, NOON) == 3.0
    assert reset_wait(headers | {"x-ratelimit-remaining-tokens": "1"}, NOON) is None


def test_of_two_empty_buckets_the_later_counts() -> None:
    headers = {
        "x-ratelimit-remaining-requests": "0",
        "x-ratelimit-reset-requests": "20s",
        "x-ratelimit-remaining-project-tokens": "0",
        "x-ratelimit-reset-project-tokens": "30s",
    }

    assert reset_wait(headers, NOON) == 30.0


def test_a_retry_after_is_believed_before_a_reset() -> None:
    headers = {"x-ratelimit-remaining-tokens": "0", "x-ratelimit-reset-tokens": "6m0s"}

    assert wait_hint(headers | {"retry-after": "2"}, NOON) == 2.0
    assert wait_hint(headers, NOON) == 360.0


def test_limits_are_read() -> None:
    headers = {
        "x-ratelimit-limit-requests": "60",
        "x-ratelimit-remaining-requests": "59",
        "x-ratelimit-limit-tokens": "150000",
        "x-ratelimit-remaining-tokens": "149984",
    }

    assert rate_limits(headers) == RateLimits(60, 59, 150_000, 149_984)


def test_a_response_without_limits_says_nothing() -> None:
    assert rate_limits({"content-type": "application/json"}) is None


def test_remaining_without_a_limit_is_kept() -> None:
    assert rate_limits({"x-ratelimit-remaining-tokens": "7"}) == RateLimits(None, None, None, 7)


def test_of_the_accounts_and_the_projects_tokens_the_lower_count() -> None:
    headers = {
        "x-ratelimit-limit-tokens": "150000",
        "x-ratelimit-remaining-tokens": "50000",
        "x-ratelimit-limit-project-tokens": "60000",
        "x-ratelimit-remaining-project-tokens": "57000",
    }

    assert rate_limits(headers) == RateLimits(None, None, 60_000, 50_000)


@pytest.mark.parametrize("text", ["", "many", "-1", "NaN", "inf", "1e400", "1_0"])
def test_a_limit_that_makes_no_sense_is_ignored(text: str) -> None:
    assert rate_limits({"x-ratelimit-remaining-tokens": text}) is None


def test_a_ceiling_of_nothing_is_no_ceiling() -> None:
    headers = {"x-ratelimit-limit-tokens": "0", "x-ratelimit-remaining-tokens": "0"}

    assert rate_limits(headers) == RateLimits(None, None, None, 0)


NAMES = st.sampled_from(
    ["retry-after", "retry-after-ms", "date"]
    + [f"x-ratelimit-{what}-{bucket}" for what in ("limit", "remaining", "reset") for bucket in ("tokens", "requests")]
)
TEXTS = st.one_of(
    st.text(max_size=40),
    st.from_regex(r"\d{1,4}(\.\d{1,3})?(ms|s|m|h|d)?", fullmatch=True),
    st.floats().map(str),
    st.datetimes().map(lambda moment: moment.isoformat()),
    st.datetimes().map(lambda moment: moment.strftime("%a, %d %b %Y %H:%M:%S +99999999")),
    st.just("0"),
)


@given(st.dictionaries(NAMES, TEXTS), st.floats(0, 4e9))
def test_whatever_the_headers_say_a_wait_is_positive_and_finite(headers: dict[str, str], now: float) -> None:
    wait = wait_hint(headers, now)

    assert wait is None or (wait > 0 and math.isfinite(wait))
    rate_limits(headers)


@given(st.integers(0, 400), st.integers(0, 59), st.integers(0, 59), st.integers(1, 999))
def test_go_durations_add_up(hours: int, minutes: int, seconds: int, milliseconds: int) -> None:
    reset = f"{hours}h{minutes}m{seconds}s{milliseconds}ms"
    headers = {"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": reset}

    assert reset_wait(headers, NOON) == pytest.approx(hours * 3_600 + minutes * 60 + seconds + milliseconds / 1_000)
