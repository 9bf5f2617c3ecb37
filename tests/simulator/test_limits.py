from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.simulator.limits import Bucket, Limits, go_duration
from pipeline.simulator.refusal import Refusal


def limits(rpm: int | None = None, tpm: int | None = None, *, burst: float = 1.0, count_refused: bool = True) -> Limits:
    return Limits(rpm, tpm, burst_seconds=burst, count_refused=count_refused, now=0)


def admitted(judge: Limits, tokens: int, now: float) -> bool:
    try:
        judge.admit(tokens, now)
    except Refusal:
        return False
    return True


def refusal(judge: Limits, tokens: int, now: float) -> Refusal:
    with pytest.raises(Refusal) as caught:
        judge.admit(tokens, now)
    return caught.value


def test_one_second_s_worth_is_admitted_at_once_and_no_more() -> None:
    judge = limits(rpm=600)

    assert [admitted(judge, 0, now=0) for _ in range(12)] == [True] * 10 + [False] * 2


def test_a_full_minute_s_requests_never_fit_into_one_second() -> None:
    judge = limits(rpm=6000, count_refused=False)

    assert sum(admitted(judge, 0, now=step / 1000) for step in range(1000)) == 199


def test_one_request_per_second_is_admitted_at_sixty_per_minute() -> None:
    judge = limits(rpm=60)

    assert all(admitted(judge, 0, now=second) for second in range(100))


def test_a_slow_limit_still_admits_one_request() -> None:
    judge = limits(rpm=1, count_refused=False)

    assert [admitted(judge, 0, now) for now in (0, 30, 60)] == [True, False, True]


def test_a_charge_above_the_capacity_needs_a_full_bucket_and_borrows() -> None:
    judge = limits(tpm=6000)

    assert [admitted(judge, 300, now) for now in (0, 1, 2, 2.9, 3)] == [True, False, False, False, True]


def test_a_charge_above_the_minute_s_limit_is_too_large() -> None:
    refused = refusal(limits(tpm=1000), 1001, now=0)

    assert (refused.status, "Retry-After" in refused.headers) == (429, False)
    assert b"Request too large" in refused.content


def test_a_charge_of_exactly_the_minute_s_limit_is_admitted() -> None:
    assert admitted(limits(tpm=1000), 1000, now=0)


def test_a_refusal_for_tokens_takes_no_tokens() -> None:
    judge = limits(tpm=600)
    judge.admit(10, now=0)
    refusal(judge, 5, now=0.4)

    assert admitted(judge, 5, now=0.5)


@pytest.mark.parametrize(("rpm", "wait", "seconds", "milliseconds"), [(60, 1, "1", "1000"), (20, 3, "3", "3000")])
def test_a_refusal_says_how_long_to_wait(rpm: int, wait: int, seconds: str, milliseconds: str) -> None:
    judge = limits(rpm=rpm, count_refused=False)
    judge.admit(0, now=0)
    refused = refusal(judge, 0, now=0)

    assert (refused.headers["Retry-After"], refused.headers["retry-after-ms"]) == (seconds, milliseconds)
    assert refused.headers["x-ratelimit-remaining-requests"] == "0"
    assert admitted(judge, 0, now=wait)


def test_whole_seconds_to_wait_are_rounded_up() -> None:
    judge = limits(rpm=50, count_refused=False)
    judge.admit(0, now=0)

    assert refusal(judge, 0, now=0).headers["Retry-After"] == "2"


def test_the_type_of_the_error_names_the_limit_that_was_hit() -> None:
    judge = limits(rpm=6000, tpm=600)
    judge.admit(10, now=0)

    assert b'"type":"tokens"' in refusal(judge, 10, now=0).content


def test_a_refused_request_counts() -> None:
    strict, lenient = limits(rpm=600, tpm=600), limits(rpm=600, tpm=600, count_refused=False)
    for judge in (strict, lenient):
        judge.admit(10, now=0)
        refusal(judge, 10, now=0)

    assert strict.headers(0)["x-ratelimit-remaining-requests"] == "598"
    assert lenient.headers(0)["x-ratelimit-remaining-requests"] == "599"


@pytest.mark.parametrize("rpm", [1, 600])
def test_a_client_that_hammers_is_slowed_to_half_and_not_locked_out(rpm: int) -> None:
    judge = limits(rpm=rpm)
    refill = 60 / rpm
    served = sum(admitted(judge, 0, now=step / 20 * refill) for step in range(20 * 600))

    assert 290 <= served <= 320


def test_headers_show_the_limit_what_remains_and_when_it_is_full() -> None:
    judge = limits(rpm=60, tpm=60_000)
    judge.admit(400, now=0)

    assert judge.headers(now=0.1) == {
        "x-ratelimit-limit-requests": "60",
        "x-ratelimit-remaining-requests": "59",
        "x-ratelimit-reset-requests": "900ms",
        "x-ratelimit-limit-tokens": "60000",
        "x-ratelimit-remaining-tokens": "59700",
        "x-ratelimit-reset-tokens": "300ms",
    }


def test_without_limits_everything_is_admitted_and_no_header_is_sent() -> None:
    judge = limits()

    assert all(admitted(judge, 10**9, now=0) for _ in range(100))
    assert judge.headers(0) == {}


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0s"), (0.0001, "1ms"), (0.12, "120ms"), (1, "1s"), (1.74, "1.74s"), (360, "6m0s"), (7201.5, "2h0m1.5s")],
)
def test_durations_read_as_go_prints_them(seconds: float, text: str) -> None:
    assert go_duration(seconds) == text


charges = st.lists(st.tuples(st.integers(0, 2000), st.floats(0, 3)), max_size=60)


@given(per_minute=st.integers(60, 100_000), burst=st.floats(0.1, 5), steps=charges)
def test_no_window_admits_more_than_its_refill_and_one_burst(
    per_minute: int, burst: float, steps: list[tuple[int, float]]
) -> None:
    bucket, now, taken, largest = Bucket(per_minute, burst, 0), 0.0, 0, 0
    for charge, pause in steps:
        now += pause
        if bucket.wait(charge, now) == 0:
            bucket.take(charge)
            taken += charge
            largest = max(largest, charge)

    assert taken <= per_minute / 60 * now + max(bucket.capacity, largest) + 0.01 + 1e-6 * bucket.capacity


@given(per_minute=st.integers(1, 100_000), burst=st.floats(0.1, 5), steps=charges)
def test_whoever_waits_as_told_is_admitted(per_minute: int, burst: float, steps: list[tuple[int, float]]) -> None:
    bucket, now = Bucket(per_minute, burst, 0), 0.0
    for charge, pause in steps:
        now += pause
        now += bucket.wait(charge, now)

        assert bucket.wait(charge, now) == 0
        bucket.take(charge)


@given(per_minute=st.integers(1, 1_000_000), taken=st.integers(0, 1_000_000), now=st.floats(0, 1000))
def test_remaining_lies_between_nothing_and_the_limit(per_minute: int, taken: int, now: float) -> None:
    bucket = Bucket(per_minute, 1.0, 0)
    bucket.take(taken)

    assert 0 <= bucket.remaining(now) <= per_minute
    assert math.isfinite(bucket.reset(now))
