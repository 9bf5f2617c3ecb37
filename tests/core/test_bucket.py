from __future__ import annotations

from itertools import accumulate, pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.bucket import BURST, DRIFT, SURCHARGE, Taken, TokenBucket
from pipeline.core.limits import Limits


def per_second(per_minute: int) -> float:
    return per_minute / 60 * (1 - DRIFT)


def full(per_minute: int) -> TokenBucket:
    """A bucket that is full at time 0."""
    return TokenBucket(per_minute, -100.0)


def take_when_ready(bucket: TokenBucket, charge: float, now: float) -> float:
    """Take `charge` as soon as it may go and return when that was."""
    at = now + bucket.wait(charge, now)
    bucket.take(charge, at)
    return at


@pytest.mark.parametrize("field", ["concurrency", "rpm", "tpm", "per_second"])
def test_a_limit_below_one_is_refused(field: str) -> None:
    with pytest.raises(ValueError, match=f"{field} must be at least 1, not 0"):
        Limits(**{"concurrency": 1} | {field: 0})


def test_the_first_request_goes_at_once() -> None:
    assert TokenBucket(1, now=5.0).wait(1, 5.0) == 0


def test_without_a_limit_nothing_waits() -> None:
    bucket = TokenBucket(None, 0.0)
    for _ in range(1000):
        bucket.take(5000, 0.0)

    assert bucket.wait(5000, 0.0) == 0


def test_the_wait_is_exact() -> None:
    bucket = full(6000)
    bucket.take(70, 0.0)

    wait = bucket.wait(30, 0.0)

    assert wait == pytest.approx((30 - BURST * per_second(6000) + 70) / per_second(6000))
    assert bucket.wait(30, wait - 0.001) > 0
    assert bucket.wait(30, wait) == 0


def test_a_full_bucket_lets_three_quarters_of_a_second_go_at_once() -> None:
    bucket = full(6000)
    gone = 0
    while bucket.wait(1, 0.0) == 0:
        bucket.take(1, 0.0)
        gone += 1

    assert gone == 74


def test_a_charge_above_capacity_borrows() -> None:
    bucket = full(60_000)

    assert bucket.wait(5000, 0.0) == 0
    bucket.take(5000, 0.0)
    owed = 5000 * (1 + SURCHARGE) - BURST * per_second(60_000)
    assert bucket.wait(1, 0.0) == pytest.approx((owed + 1) / per_second(60_000))


def test_a_charge_above_capacity_waits_for_a_full_bucket() -> None:
    bucket = full(60_000)
    bucket.take(100, 0.0)

    assert bucket.wait(5000, 0.0) == pytest.approx(100 / per_second(60_000))


def test_single_requests_are_kept_a_little_further_apart_than_the_limit_says() -> None:
    bucket = TokenBucket(60, 0.0)
    times = [take_when_ready(bucket, 1, 0.0)]
    for _ in range(3):
        times.append(take_when_ready(bucket, 1, times[-1]))

    gaps = [later - earlier for earlier, later in pairwise(times)]
    assert gaps == pytest.approx([(1 + SURCHARGE) / (1 - DRIFT)] * 3)


def test_a_refusal_moves_single_requests_apart_and_by_no_more_than_a_tenth_of_a_second() -> None:
    bucket = TokenBucket(60, 0.0)
    for _ in range(10):
        bucket.loosen()
    bucket.take(1, 0.0)

    assert bucket.wait(1, 0.0) == pytest.approx(1 / (1 - DRIFT) + 0.1)


def test_a_stopped_process_gets_no_burst() -> None:
    bucket = full(6000)
    bucket.take(1, 0.0)

    assert bucket.wait(75, 600.0) == 0
    bucket.take(74, 600.0)
    assert bucket.wait(1, 600.0) > 0


def test_time_that_goes_back_changes_nothing() -> None:
    bucket = full(6000)
    bucket.take(70, 10.0)

    before = bucket.wait(50, 10.0)
    bucket.take(0, 3.0)
    assert bucket.wait(50, 10.0) == before


def test_what_was_charged_too_much_comes_back() -> None:
    bucket = full(60_000)
    taken = bucket.take(700, 0.0)
    bucket.settle(taken, 200, 0.0)

    assert bucket.wait(BURST * per_second(60_000) - 200, 0.0) == 0


def test_a_charge_given_back_leaves_no_surcharge() -> None:
    bucket = full(60_000)
    bucket.settle(bucket.take(5000, 0.0), 0, 0.0)

    assert bucket.wait(BURST * per_second(60_000), 0.0) == 0


def test_settling_takes_back_the_surcharge_of_what_was_not_used() -> None:
    bucket = full(60_000)
    bucket.settle(bucket.take(5000, 0.0), 600, 0.0)

    left = BURST * per_second(60_000) - 600 * (1 + SURCHARGE)
    assert bucket.wait(left, 0.0) == 0
    assert bucket.wait(left + 1, 0.0) > 0


def test_what_was_charged_too_little_is_owed() -> None:
    bucket = full(60_000)
    taken = bucket.take(BURST * per_second(60_000) - 1, 0.0)
    bucket.settle(taken, taken.charge + 1000, 0.0)

    assert bucket.wait(1, 0.0) == pytest.approx(1000 / per_second(60_000))


def test_giving_back_never_fills_a_bucket_above_its_capacity() -> None:
    bucket = full(6000)
    taken = bucket.take(50, 0.0)
    bucket.settle(taken, 0, 10.0)
    bucket.take(75, 10.0)

    assert bucket.wait(1, 10.0) > 0


def test_a_lower_limit_from_headers_is_believed_at_once() -> None:
    bucket = full(6000)
    bucket.learn(600, None, 0.0, bucket.take(1, 0.0))
    bucket.take(7, 0.0)

    assert bucket.limit == 600
    assert bucket.wait(5, 0.0) == pytest.approx((5 - (per_second(600) * BURST - 7)) / per_second(600))


def test_a_higher_limit_from_headers_does_not_lift_the_configured_one() -> None:
    bucket = full(600)
    bucket.learn(14_400, None, 0.0, bucket.take(1, 0.0))

    assert bucket.limit == 600


def test_a_limit_that_was_lowered_can_come_back() -> None:
    bucket = full(600)
    bucket.learn(60, None, 0.0, bucket.take(1, 0.0))
    bucket.learn(1000, None, 1.0, bucket.take(1, 1.0))

    assert bucket.limit == 600


def test_where_no_limit_is_configured_the_headers_limit_stands() -> None:
    bucket = TokenBucket(None, 0.0)
    bucket.learn(60_000, None, 0.0, bucket.take(10, 0.0))

    assert bucket.limit == 60_000
    assert bucket.wait(100, 0.0) == pytest.approx(100 / per_second(60_000))


@pytest.mark.parametrize("limit", [0, -1, 99])
def test_a_limit_that_the_served_charge_disproves_is_ignored(limit: int) -> None:
    bucket = full(60_000)
    bucket.learn(limit, None, 0.0, bucket.take(100, 0.0))

    assert bucket.limit == 60_000


def test_a_lower_remaining_is_believed_at_once() -> None:
    bucket = full(6000)
    bucket.learn(None, 0, 0.0, bucket.take(1, 0.0))

    assert bucket.wait(1, 0.0) == pytest.approx(1 / per_second(6000))


def test_a_shortfall_seen_by_two_responses_is_corrected_once() -> None:
    once, twice = full(6000), full(6000)
    taken = once.take(1, 0.0), twice.take(1, 0.0)
    once.take(1, 0.0)
    again = twice.take(1, 0.0)

    once.learn(None, 10, 0.0, taken[0])
    twice.learn(None, 10, 0.0, taken[1])
    twice.learn(None, 9, 0.0, again)

    assert twice.wait(60, 0.0) == pytest.approx(once.wait(60, 0.0))


def test_what_was_sent_since_does_not_count_twice() -> None:
    """A provider as full as we are reports what it had before our later sends: no correction."""
    told, plain = full(6000), full(6000)
    first = told.take(10, 0.0)
    plain.take(10, 0.0)
    for bucket in (told, plain):
        bucket.take(50, 0.0)
    told.learn(None, 100 - 10, 0.3, first)

    assert told.wait(70, 0.3) == plain.wait(70, 0.3)


def test_what_a_provider_held_under_another_limit_is_forgotten() -> None:
    """A bucket of ten that holds three after a request is well; a bucket of a hundred would not be."""
    bucket = TokenBucket(6000, 0.0)
    bucket.learn(6000, 99, 0.0, bucket.take(1, 0.0))
    bucket.learn(600, 9, 0.1, bucket.take(1, 0.1))
    now = 0.1 + bucket.wait(1, 0.1)
    taken = bucket.take(1, now)
    before = bucket.wait(1, now)
    bucket.learn(600, 3, now, taken)

    assert bucket.wait(1, now) == before


def test_a_remaining_that_is_always_zero_does_not_strangle() -> None:
    bucket, now, sent = TokenBucket(6000, 0.0), 0.0, 0
    while now < 60:
        now += bucket.wait(1, now)
        bucket.learn(None, 0, now, bucket.take(1, now))
        sent += 1

    assert sent > 0.98 * 6000


def test_a_provider_that_drains_is_followed_before_it_refuses() -> None:
    """It counts a fifth more than we do: its bucket of a minute's worth drains, and never runs dry."""
    bucket, now, theirs, lowest = TokenBucket(60_000, 0.0), 0.0, 60_000.0, 60_000.0
    while now < 600:
        wait = bucket.wait(100, now)
        now, theirs = now + wait, min(60_000.0, theirs + wait * 1000)
        taken = bucket.take(100, now)
        theirs -= 120
        lowest = min(lowest, theirs)
        bucket.learn(60_000, int(theirs), now, taken)

    assert 0 < lowest < 1000


def test_a_held_bucket_lets_nothing_through_and_no_burst_after() -> None:
    bucket = full(6000)
    bucket.hold(10.0, 1, 0.0)

    assert bucket.wait(1, 0.0) == 10.0
    assert bucket.wait(1, 9.999) == pytest.approx(0.001)
    assert bucket.wait(1, 10.0) == 0
    bucket.take(1, 10.0)
    assert bucket.wait(1, 10.0) == pytest.approx(1 / per_second(6000))


def test_what_comes_back_while_held_makes_no_burst() -> None:
    bucket = full(6000)
    taken = [bucket.take(10, 0.0) for _ in range(7)]
    bucket.hold(10.0, 1, 0.0)
    for one in taken:
        bucket.settle(one, 0, 1.0)
    bucket.take(1, 10.0)

    assert bucket.wait(1, 10.0) > 0


def test_a_large_charge_held_up_makes_no_burst_of_small_ones() -> None:
    bucket = full(6000)
    bucket.hold(10.0, 5000, 0.0)
    bucket.take(BURST * per_second(6000), 10.0)

    assert bucket.wait(1, 10.0) > 0


def test_a_scaled_bucket_refills_at_its_share() -> None:
    bucket = full(6000)
    bucket.scale(0.5, 0.0)
    bucket.take(37, 0.0)

    assert bucket.wait(20, 0.0) == pytest.approx(
        (20 - (0.5 * BURST * per_second(6000) - 37)) / (0.5 * per_second(6000))
    )


def test_repr_shows_level_capacity_and_rate() -> None:
    assert repr(TokenBucket(6000, 0.0)) == "<TokenBucket 1.0 of 74.9, 99.90/s of 6000/min>"
    assert repr(TokenBucket(None, 0.0)) == "<TokenBucket unlimited>"


@given(
    per_minute=st.integers(1, 100_000),
    steps=st.lists(st.tuples(st.floats(0, 5), st.floats(0.001, 1.0)), min_size=1, max_size=60),
)
def test_no_window_gets_more_than_capacity_and_refill(per_minute: int, steps: list[tuple[float, float]]) -> None:
    """For every window from one grant to a later one, the last charge aside where it borrows."""
    bucket, now = TokenBucket(per_minute, 0.0), 0.0
    capacity, rate = max(1.0, BURST * per_second(per_minute)), per_second(per_minute)
    granted: list[tuple[float, float]] = []
    for pause, share in steps:
        charge = share * per_minute
        now = take_when_ready(bucket, charge, now + pause)
        granted.append((now, charge))
    for first in range(len(granted)):
        sums = accumulate(charge for _, charge in granted[first:])
        for (at, charge), total in zip(granted[first:], sums, strict=True):
            allowed = capacity + rate * (at - granted[first][0]) + max(0.0, charge - capacity)
            assert total <= allowed * (1 + 1e-6) + 1e-6


@given(charges=st.lists(st.tuples(st.integers(0, 5000), st.integers(0, 5000)), max_size=30))
def test_settling_leaves_what_was_used_and_nothing_else(charges: list[tuple[int, int]]) -> None:
    bucket = full(10_000_000)
    for charge, used in charges:
        bucket.settle(bucket.take(charge, 0.0), used, 0.0)
    used = sum(used for _, used in charges)

    whole = BURST * per_second(10_000_000)
    expected = max(0.0, used / per_second(10_000_000))
    assert bucket.wait(whole, 0.0) == pytest.approx(expected, rel=1e-6, abs=1e-6)


@given(
    limits=st.lists(st.one_of(st.none(), st.integers(-5, 10**9)), max_size=20),
    remaining=st.lists(st.one_of(st.none(), st.integers(-5, 10**9)), max_size=20),
)
def test_no_header_makes_a_bucket_unlimited_or_endless(limits: list[int | None], remaining: list[int | None]) -> None:
    bucket, now = TokenBucket(6000, 0.0), 0.0
    for limit, left in zip(limits, remaining, strict=False):
        now += bucket.wait(1, now)
        bucket.learn(limit, left, now, bucket.take(1, now))
        assert bucket.limit is not None
        assert 1 <= bucket.limit <= 6000

    assert bucket.wait(1, now) <= 2 * 60 / (bucket.limit or 1) * 1.2 + 60


def test_taken_remembers_how_the_bucket_stood() -> None:
    assert TokenBucket(6000, 0.0).take(0.5, 0.0) == Taken(charge=0.5, cost=0.5, before=1.0, corrected=0.0)


@pytest.mark.parametrize(
    ("mine", "learnt", "other", "expected"),
    [
        (600, None, None, 600),
        (600, None, 300, 600),
        (600, None, 900, 900),
        (600, 400, 900, 400),
        (None, None, 900, 900),
        (None, 400, 900, 400),
        (None, 1_200, 900, 900),
    ],
)
def test_of_two_configured_limits_the_higher_is_shared_and_never_more_than_was_learnt(
    mine: int | None, learnt: int | None, other: int | None, expected: int
) -> None:
    bucket = TokenBucket(mine, 0.0)
    bucket.learn(learnt, None, 0.0, bucket.take(1, 0.0))
    bucket.agree(other, 1.0)

    assert bucket.limit == expected


def test_a_bucket_that_is_alone_again_keeps_to_its_own_limit() -> None:
    bucket = TokenBucket(600, 0.0)
    bucket.agree(900, 1.0)
    bucket.keep_to(600, 2.0)
    bucket.learn(900, None, 3.0, bucket.take(1, 3.0))

    assert bucket.limit == 600
    assert bucket.configured == 600
