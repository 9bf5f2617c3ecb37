"""When to try again, and when to stop."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.backoff import GiveUp, RetryAfter, RetryBudget, RetryPolicy, Tries, decide, delay
from pipeline.errors import (
    Ambiguous,
    EndpointUnavailable,
    Malformed,
    PipelineError,
    Rejected,
    Retryable,
    Throttled,
    Transient,
    Unreachable,
)

POLICY = RetryPolicy()
JITTER = st.floats(0, 1, exclude_max=True)
NOON = 1_794_225_600.0  # Mon, 09 Nov 2026 12:00:00 GMT


def tries(*, sent: int = 1, counted: int | None = None, before: int = 0, elapsed: float = 0.0, items: int = 1) -> Tries:
    return Tries(sent, sent if counted is None else counted, before, elapsed, items)


def decided(error: Retryable, so_far: Tries, *, jitter: float = 0.5) -> RetryAfter | GiveUp:
    return decide(error, so_far, POLICY, now=NOON, jitter=jitter)


def final(error: Retryable, so_far: Tries) -> PipelineError:
    decision = decided(error, so_far)
    assert isinstance(decision, GiveUp)
    return decision.error


@pytest.mark.parametrize(
    ("retry", "most"), [(0, 0.5), (1, 1.0), (2, 2.0), (6, 32.0), (7, 60.0), (8, 60.0), (10_000, 60.0)]
)
def test_the_wait_doubles_up_to_its_cap(retry: int, most: float) -> None:
    assert delay(POLICY, retry, None, 0.0) == 0.0
    assert delay(POLICY, retry, None, 0.5) == most / 2


@pytest.mark.parametrize(("hint", "most"), [(0.3, 0.33), (10.0, 11.0), (50.0, 55.0), (600.0, 605.0)])
def test_a_hint_is_spread_upwards_by_a_tenth_and_at_most_five_seconds(hint: float, most: float) -> None:
    assert delay(POLICY, 3, hint, 0.0) == hint
    assert delay(POLICY, 3, hint, 0.5) == pytest.approx((hint + most) / 2)


@given(st.integers(0, 100), st.floats(0.001, 900), JITTER)
def test_no_retry_is_earlier_than_the_server_asked(retry: int, hint: float, jitter: float) -> None:
    assert hint <= delay(POLICY, retry, hint, jitter) <= hint + 5.0


@pytest.mark.parametrize("error", [Transient("no"), Ambiguous("no", code="timeout")])
def test_a_failed_attempt_is_tried_again_until_the_attempts_are_used(error: Retryable) -> None:
    assert decided(error, tries(sent=5)) == RetryAfter(0.5 * 0.5 * 2**4)
    assert isinstance(final(error, tries(sent=6)), Rejected)


@pytest.mark.parametrize("error", [Throttled("no"), Unreachable("no")])
def test_what_was_throttled_or_never_left_does_not_use_attempts(error: Retryable) -> None:
    assert isinstance(decided(error, tries(sent=1_000, counted=0)), RetryAfter)
    assert isinstance(decided(error, tries(sent=1_000, counted=5)), RetryAfter)


def test_a_request_that_failed_every_time_keeps_the_last_code_and_is_not_halved() -> None:
    error = final(Transient("the server failed", code="http_500", status=500), tries(sent=6, items=20))

    assert isinstance(error, Rejected)
    assert (error.code, error.status, error.halve) == ("http_500", 500, False)
    assert error.message == "gave up after 6 attempts: the server failed"


def test_a_throttled_request_is_given_up_after_a_day() -> None:
    assert isinstance(decided(Throttled("no"), tries(counted=0, elapsed=86_000)), RetryAfter)
    assert isinstance(final(Throttled("no"), tries(counted=0, elapsed=86_400)), Rejected)


def test_a_hint_at_the_longest_wait_is_kept_and_one_above_it_ends_the_run() -> None:
    assert decided(Throttled("no", hint=900.0), tries(counted=0), jitter=0.0) == RetryAfter(900.0)

    error = final(Throttled("no", hint=901.0, code="rate_limit_exceeded"), tries(counted=0))

    assert isinstance(error, EndpointUnavailable)
    assert error.exit_code == 7
    assert "until 2026-11-09 12:15:01 UTC" in error.message


def test_a_hint_beyond_any_calendar_ends_the_run() -> None:
    assert isinstance(final(Throttled("no", hint=1e300), tries(counted=0)), EndpointUnavailable)


def test_a_malformed_batch_goes_back_to_be_split() -> None:
    error = Malformed("wrong count")

    assert final(error, tries(items=2)) is error


def test_a_malformed_answer_to_one_record_is_asked_for_once_more() -> None:
    assert isinstance(decided(Malformed("wrong count"), tries()), RetryAfter)
    assert isinstance(final(Malformed("wrong count"), tries(sent=2)), Rejected)
    assert isinstance(final(Malformed("wrong count"), tries(before=1)), Rejected)


def test_the_budget_allows_a_hundred_retries_at_once() -> None:
    budget = RetryBudget()

    assert [budget.spend(0.0) for _ in range(100)] == [0.0] * 100


def test_an_empty_budget_still_allows_ten_in_ten_seconds_and_then_one_a_second() -> None:
    budget = RetryBudget()
    for _ in range(100):
        budget.spend(0.0)

    assert [budget.spend(0.0) for _ in range(13)] == [0.0] * 10 + [1.0, 2.0, 3.0]
    assert [budget.spend(100.0) for _ in range(11)] == [0.0] * 10 + [1.0]


def test_five_successes_earn_one_retry() -> None:
    budget = RetryBudget()
    for _ in range(110):
        budget.spend(0.0)
    for _ in range(4):
        budget.earn()
    assert budget.spend(0.0) == 1.0

    budget.earn()

    assert budget.spend(0.0) == 0.0
    assert budget.spend(0.0) == 2.0


def test_the_budget_never_holds_more_than_a_hundred() -> None:
    budget = RetryBudget()
    for _ in range(1_000):
        budget.earn()

    assert [budget.spend(0.0) for _ in range(111)] == [0.0] * 110 + [1.0]


@given(st.lists(st.tuples(st.sampled_from(["earn", "spend"]), st.floats(0, 5)), max_size=400))
def test_retries_never_exceed_what_was_earned_and_the_floor(steps: list[tuple[str, float]]) -> None:
    budget, now, earned = RetryBudget(), 0.0, 0
    at: list[float] = []
    for what, passed in steps:
        now += passed
        if what == "earn":
            budget.earn()
            earned += 1
        else:
            at.append(now + budget.spend(now))

    end = max(at, default=0.0)
    assert len(at) <= 100 + 0.2 * earned + 10 + end + 1


def test_too_long_a_wait_keeps_code_and_status() -> None:
    error = Throttled("later", code="rate_limit_exceeded", status=429)
    error.hint = POLICY.max_wait + 1
    given_up = final(error, tries())

    assert (given_up.code, given_up.status) == ("rate_limit_exceeded", 429)


def test_a_wait_that_ends_just_at_the_wall_is_waited_for() -> None:
    error = Throttled("later", code="x")
    error.hint = 10.0
    seconds = decided(error, tries(), jitter=0.0)
    assert isinstance(seconds, RetryAfter)

    assert isinstance(decided(error, tries(elapsed=POLICY.wall - seconds.seconds), jitter=0.0), RetryAfter)
    assert isinstance(decided(error, tries(elapsed=POLICY.wall - seconds.seconds + 1), jitter=0.0), GiveUp)
