from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.lane import Charge, Lane
from pipeline.core.meter import Meter, Stopwatch
from pipeline.core.queue import Queue, Waiter
from pipeline.types import RateLimits


def ready(lane: Lane, now: float, tokens: int = 1) -> float:
    """Return when `lane` lets a request of `tokens` through, asking again whenever it says so."""
    while (wait := lane.wait(tokens, now)) > 0:
        assert wait < math.inf
        now += wait
    return now


def rate(lane: Lane, now: float, seconds: float) -> float:
    """Return how many requests a second pass from `now` on, all served at once."""
    sent, end = 0, now + seconds
    while (now := ready(lane, now)) < end:
        lane.served(lane.take(1, now), None, None, now)
        sent += 1
    return sent / seconds


def refuse(lane: Lane, now: float, hint: float | None = 1.0, *, jitter: float = 0.0, ramp: bool = False) -> Charge:
    """Send a request at `now` and have it refused at once."""
    charge = lane.take(1, now)
    lane.refused(charge, None, now)
    lane.pause(charge, hint, jitter, now, ramp=ramp)
    return charge


def test_a_lane_waits_for_the_slower_of_its_buckets() -> None:
    lane = Lane(rpm=6000, tpm=60_000, now=-10.0)
    lane.take(2000, 0.0)

    assert lane.wait(10, 0.0) == pytest.approx(lane.tokens.wait(10, 0.0))
    assert lane.bound(10, 0.0) == "tokens"


def test_a_charge_above_the_limit_a_minute_never_fits() -> None:
    lane = Lane(rpm=60, tpm=1000, now=0.0)

    assert lane.fits(1000)
    assert not lane.fits(1001)
    assert Lane(rpm=60, tpm=None, now=0.0).fits(10**9)


def test_a_hint_is_kept_exactly() -> None:
    lane = Lane(rpm=6000, tpm=None, now=0.0)
    refuse(lane, 5.0, hint=3.25)

    assert lane.bound(1, 5.0) == "pause"
    assert ready(lane, 5.0) == 8.25


def test_a_pause_only_moves_later() -> None:
    lane = Lane(rpm=6000, tpm=None, now=0.0)
    first, second = lane.take(1, 1.0), lane.take(1, 1.0)

    assert lane.pause(first, 10.0, 0.0, 1.0) == 10.0
    assert lane.pause(second, 2.0, 0.0, 1.5) == 0.0
    assert ready(lane, 1.5) == 11.0
    assert lane.pause(second, 20.0, 0.0, 2.0) == 11.0
    assert ready(lane, 2.0) == 22.0


def test_pauses_without_a_hint_double_until_something_succeeds() -> None:
    lane, now, pauses = Lane(None, None, 0.0), 1.0, []
    for _ in range(9):
        refuse(lane, now, hint=None)
        pauses.append(ready(lane, now) - now)
        now += pauses[-1] + 0.001
    lane.served(lane.take(1, now), None, None, now)
    refuse(lane, now + 1, hint=None)

    assert pauses == pytest.approx([0.5, 1, 2, 4, 8, 16, 32, 60, 60])
    assert ready(lane, now + 1) == pytest.approx(now + 1.5)


def test_jitter_only_lengthens_a_pause() -> None:
    lane = Lane(None, None, 0.0)
    refuse(lane, 1.0, hint=None, jitter=1.0)

    assert ready(lane, 1.0) == 1.75


def test_after_a_pause_there_is_no_burst() -> None:
    lane = Lane(rpm=6000, tpm=None, now=0.0)
    refuse(lane, 5.0, hint=60.0)

    assert rate(lane, 65.0, 1.0) == pytest.approx(70, abs=2)


def test_a_refused_attempt_gets_its_tokens_back_and_not_its_request() -> None:
    lane = Lane(rpm=60, tpm=60_000, now=0.0)
    charge = lane.take(700, 10.0)
    lane.refused(charge, None, 10.0)

    assert lane.tokens.wait(700, 10.0) == 0
    assert lane.requests.wait(1, 10.0) > 0


def test_an_unsent_attempt_gets_everything_back() -> None:
    lane = Lane(rpm=60, tpm=60_000, now=0.0)
    lane.unsent(lane.take(700, 10.0), 10.0)

    assert lane.wait(700, 10.0) == 0


def test_a_failed_attempt_keeps_its_charge() -> None:
    lane = Lane(rpm=None, tpm=60_000, now=0.0)
    lane.failed(lane.take(700, 10.0), None, 10.0)

    assert lane.wait(700, 10.0) > 0.6


def test_a_served_attempt_is_settled_by_its_usage() -> None:
    lane = Lane(rpm=None, tpm=60_000, now=0.0)
    lane.served(lane.take(700, 10.0), 50, None, 10.0)

    assert lane.wait(690, 10.0) == 0


def test_the_rate_is_cut_once_for_all_that_were_in_flight() -> None:
    lane = Lane(rpm=6000, tpm=None, now=0.0)
    charges = [lane.take(1, 5.0) for _ in range(50)]
    for number, charge in enumerate(charges):
        lane.refused(charge, None, 5.1 + number / 1000)
        lane.pause(charge, 1.0, 0.0, 5.1 + number / 1000)

    assert lane.share == 0.7


def test_the_rate_grows_back_to_the_whole_limit() -> None:
    lane = Lane(rpm=6000, tpm=None, now=0.0)
    refuse(lane, 5.0, hint=1.0)

    assert rate(lane, 6.0, 2.0) == pytest.approx(70, abs=1)
    assert rate(lane, 8.0, 2.0) == pytest.approx(75, abs=1)
    assert rate(lane, 10.0, 2.0) == pytest.approx(80, abs=1)
    assert rate(lane, 12.0, 8.0) == pytest.approx((85 + 90 + 95 + 100) / 4, abs=1)
    assert rate(lane, 20.0, 10.0) == pytest.approx(99.9, abs=0.5)
    assert lane.share == 1


def test_a_long_wait_is_shortened_as_the_rate_grows_back() -> None:
    lane = Lane(rpm=None, tpm=60_000, now=0.0)
    refuse(lane, 5.0, hint=1.0)
    lane.take(10_000, 6.0)

    paid_back = 2 * (700 + 750 + 800 + 850 + 900 + 950)
    assert ready(lane, 6.0, tokens=1) == pytest.approx(18.0 + (10_150 - paid_back) / 1000, abs=0.1)


def test_a_refused_single_request_moves_the_next_ones_apart() -> None:
    lane = Lane(rpm=60, tpm=None, now=0.0)
    refuse(lane, 1.0, hint=1.0)
    rate(lane, 2.0, 60.0)
    at = ready(lane, 62.0)
    lane.take(1, at)

    assert ready(lane, at) - at == pytest.approx(1.03 / 0.999, abs=0.002)


def test_a_late_refusal_does_not_hasten_the_recovery() -> None:
    lane = Lane(rpm=6000, tpm=None, now=0.0)
    late = lane.take(1, 4.0)
    refuse(lane, 5.0, hint=1.0)
    rate(lane, 6.0, 1.9)
    lane.refused(late, None, 7.9)
    lane.pause(late, None, 0.0, 7.9)

    assert rate(lane, 7.9, 2.0) == pytest.approx(75, abs=1)
    assert lane.share == 0.75


def test_after_slow_down_traffic_rises_by_no_more_than_half_in_fifteen_minutes() -> None:
    lane = Lane(rpm=3000, tpm=None, now=0.0)
    rate(lane, 0.0, 60.0)
    refuse(lane, 60.0, hint=1.0, ramp=True)
    first = rate(lane, 61.0, 10.0)
    rate(lane, 71.0, 880.0)
    last = rate(lane, 951.0, 10.0)

    assert first == pytest.approx(35, rel=0.03)
    assert 1.35 * first < last <= 1.5 * first


def test_an_ordinary_refusal_does_not_end_the_slow_ramp() -> None:
    lane = Lane(rpm=600, tpm=None, now=0.0)
    rate(lane, 0.0, 10.0)
    refuse(lane, 10.0, hint=1.0, ramp=True)
    rate(lane, 11.0, 10.0)
    before = lane.share
    refuse(lane, 30.0, hint=1.0)
    rate(lane, 31.0, 14.0)

    assert lane.share == pytest.approx(before * 0.7, rel=0.02)


def test_slow_down_cuts_from_the_rate_that_was_used() -> None:
    lane, now = Lane(rpm=60_000, tpm=None, now=0.0), 0.0
    while now < 120.0:
        now += 0.01
        lane.served(lane.take(1, now), None, None, now)
    refuse(lane, now, hint=1.0, ramp=True)

    assert lane.share == 0.1


def test_after_two_refusals_without_a_success_one_goes_at_a_time() -> None:
    lane = Lane(rpm=6000, tpm=None, now=0.0)
    refuse(lane, 5.0)
    refuse(lane, 6.5)
    probe = lane.take(1, 7.5)

    assert lane.wait(1, 8.0) == math.inf
    assert lane.bound(1, 8.0) == "pause"
    lane.served(probe, None, None, 8.5)
    assert lane.wait(1, 8.5) == 0


@pytest.mark.parametrize("end", ["failed", "unsent", "refused"])
def test_a_probe_that_ends_without_an_answer_lets_the_next_one_go(end: str) -> None:
    lane = Lane(rpm=6000, tpm=None, now=0.0)
    refuse(lane, 5.0)
    refuse(lane, 6.5)
    probe = lane.take(1, 7.5)
    match end:
        case "failed":
            lane.failed(probe, None, 8.0)
        case "unsent":
            lane.unsent(probe, 8.0)
        case _:
            lane.refused(probe, None, 8.0)
            lane.pause(probe, 1.0, 0.0, 8.0)

    assert ready(lane, 8.0) == pytest.approx(9.0 if end == "refused" else 8.0)


def test_answers_from_before_a_refusal_do_not_end_the_probing() -> None:
    lane = Lane(rpm=6000, tpm=None, now=0.0)
    old, older = lane.take(1, 4.0), lane.take(1, 4.0)
    refuse(lane, 5.0)
    refuse(lane, 6.5)
    lane.take(1, 7.5)
    lane.served(old, None, None, 8.0)
    lane.failed(older, None, 8.0)

    assert lane.wait(1, 8.5) == math.inf


def test_probes_do_not_cut_the_rate_further() -> None:
    lane = Lane(rpm=6000, tpm=None, now=0.0)
    now = 1.0
    for _ in range(10):
        refuse(lane, now)
        now = ready(lane, now) + 0.001

    assert lane.share == 0.7


def test_limits_from_headers_reach_their_buckets() -> None:
    lane = Lane(rpm=None, tpm=None, now=0.0)
    lane.served(lane.take(100, 0.0), None, RateLimits(600, 599, 60_000, 59_900), 0.1)

    assert (lane.requests.limit, lane.tokens.limit) == (600, 60_000)


@pytest.mark.parametrize(("requests", "tokens"), [(14_400, 6000), (500_000, 300_000)])
def test_a_limit_of_requests_a_day_is_no_limit_a_minute(requests: int, tokens: int) -> None:
    """Groq's header for requests is about the day, and the one for tokens about the minute."""
    unknown, known = Lane(None, None, 0.0), Lane(30, None, 0.0)
    for lane in (unknown, known):
        lane.served(lane.take(10, 0.0), None, RateLimits(requests, requests - 1, tokens, tokens - 10), 0.1)

    assert (unknown.requests.limit, unknown.tokens.limit) == (None, tokens)
    assert known.requests.limit == 30


def test_a_refusal_says_that_the_charge_is_above_the_limit() -> None:
    lane = Lane(None, 100_000, 0.0)
    charge = lane.take(50_000, 0.0)
    lane.refused(charge, RateLimits(limit_tokens=30_000, remaining_tokens=30_000), 0.1)

    assert not lane.fits(50_000)


def test_utilisation_is_that_of_the_tighter_limit() -> None:
    lane = Lane(rpm=600, tpm=600_000, now=0.0)
    for tenth in range(600):
        lane.take(500, tenth / 10)

    assert lane.utilisation(60.0) == pytest.approx(1.0, rel=0.01)
    assert lane.used(60.0) == pytest.approx((600, 300_000), rel=0.01)


def test_what_was_used_follows_the_usage_reported() -> None:
    lane = Lane(rpm=None, tpm=600_000, now=0.0)
    for tenth in range(600):
        lane.served(lane.take(500, tenth / 10), 100, None, tenth / 10)

    assert lane.used(60.0) == pytest.approx((600, 60_000), rel=0.01)


def test_a_meter_forgets_what_is_long_past() -> None:
    meter = Meter(0.0)
    for second in range(60):
        meter.add(10, float(second))

    assert meter.per_minute(60.0) == pytest.approx(600, rel=0.05)
    assert meter.per_minute(260.0) < 1


def test_a_stopwatch_adds_up_each_cause() -> None:
    watch = Stopwatch()
    watch.note("tokens", 1.0)
    watch.note("pause", 3.0)
    watch.note(None, 4.0)
    watch.note("tokens", 10.0)

    assert watch.read(10.5) == {"tokens": 2.5, "pause": 1.0}


def test_a_lane_that_may_go_is_not_held_up_by_one_that_may_not() -> None:
    busy, free = Lane(60, None, 0.0), Lane(60, None, 0.0)
    busy.take(1, 0.0)
    queue: Queue[Waiter] = Queue()
    first, second = Waiter(busy, 1, 0.1), Waiter(free, 1, 0.2)
    queue.join(first)
    queue.join(second)

    turn = queue.turn(0.3)
    assert (turn.ready, turn.first, turn.wait) == (second, first, 0.0)


def test_of_those_that_may_go_the_one_that_waited_longest_goes() -> None:
    queue: Queue[Waiter] = Queue()
    waiters = [Waiter(Lane(None, None, 0.0), 1, asked) for asked in (0.2, 0.1, 0.3)]
    for waiter in waiters:
        queue.join(waiter)

    assert queue.turn(1.0).ready is waiters[1]


def test_nobody_overtakes_in_a_lane() -> None:
    lane = Lane(None, 60_000, 0.0)
    queue: Queue[Waiter] = Queue()
    large, small = Waiter(lane, 50_000, 0.1), Waiter(lane, 1, 0.2)
    queue.join(large)
    queue.join(small)

    assert queue.turn(0.3).ready is None
    assert queue.turn(1.0).ready is large
    queue.leave(large)
    assert queue.turn(1.0).ready is small
    queue.leave(small)
    assert not queue.waits_for(lane)


def test_one_who_leaves_from_the_middle_leaves_no_hole() -> None:
    lane = Lane(None, None, 0.0)
    queue: Queue[Waiter] = Queue()
    waiters = [Waiter(lane, 1, float(number)) for number in range(3)]
    for waiter in waiters:
        queue.join(waiter)
    queue.leave(waiters[1])
    queue.leave(waiters[0])

    assert queue.turn(5.0).ready is waiters[2]


def test_repr_shows_share_and_buckets() -> None:
    assert repr(Lane(60, None, 0.0)) == (
        "<Lane at 100%, requests <TokenBucket 1.0 of 1.0, 1.00/s of 60/min>, tokens <TokenBucket unlimited>>"
    )


@given(
    st.lists(st.tuples(st.sampled_from(["take", "serve", "refuse", "fail"]), st.floats(0, 5)), max_size=30),
    st.none() | st.integers(60, 60_000),
    st.none() | st.integers(600, 600_000),
)
def test_a_lane_restored_from_another_goes_on_as_it_would(
    steps: list[tuple[str, float]], rpm: int | None, tpm: int | None
) -> None:
    def live(lane: Lane, now: float) -> list[float]:
        seen = []
        for step, seconds in steps:
            now += seconds
            seen.append(lane.wait(100, now))
            charge = lane.take(100, now)
            if step == "serve":
                lane.served(charge, 150, RateLimits(50, 3, 500, 7), now + 0.1)
            elif step == "refuse":
                lane.refused(charge, None, now + 0.1)
                lane.pause(charge, None, 0.5, now + 0.1)
            elif step == "fail":
                lane.failed(charge, None, now + 0.1)
        return seen

    one, other = Lane(rpm, tpm, 0.0), Lane(7, None, 50.0)
    live(one, 1.0)
    other.restore(one.state())

    assert str(other.state()) == str(one.state())
    assert live(other, 200.0) == live(one, 200.0)
