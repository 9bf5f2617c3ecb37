from __future__ import annotations

from collections.abc import Callable

from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.concurrency import AdaptiveConcurrency


def serve(limit: AdaptiveConcurrency, latency: Callable[[int], float], rounds: int, now: float = 0.0) -> float:
    """Answer full rounds of attempts, each after `latency(in flight)`; return the time when the last is done."""
    for _ in range(rounds):
        in_flight, began = limit.limit, now
        now += latency(in_flight)
        for _ in range(in_flight):
            limit.succeeded(began, in_flight, now)
    return now


def slots(k: int) -> Callable[[int], float]:
    """A server that works on `k` requests at a time, one second each."""
    return lambda in_flight: max(1.0, in_flight / k)


def throughput(in_flight: int, latency: Callable[[int], float]) -> float:
    return in_flight / latency(in_flight)


def test_it_finds_the_throughput_of_a_server_with_slots() -> None:
    for k in (1, 3, 8, 9, 13, 32, 100, 250):
        limit = AdaptiveConcurrency(256)
        serve(limit, slots(k), 200)

        assert throughput(limit.limit, slots(k)) >= 0.95 * min(k, 256)


def test_it_does_not_grow_far_beyond_what_helps() -> None:
    limit = AdaptiveConcurrency(1000)
    serve(limit, slots(20), 2000)

    assert limit.limit <= 64


def test_it_grows_while_batching_still_pays() -> None:
    """A server whose latency grows with the root of its load: throughput grows all the way."""
    limit = AdaptiveConcurrency(200)
    serve(limit, lambda in_flight: in_flight**0.5, 400)

    assert limit.limit == 200


def test_it_stays_below_the_load_at_which_a_server_collapses() -> None:
    def collapsing(in_flight: int) -> float:
        return 1.0 if in_flight <= 40 else (in_flight / 40) ** 3

    limit = AdaptiveConcurrency(1000)
    serve(limit, collapsing, 400)

    assert throughput(limit.limit, collapsing) >= 0.8 * 40


def test_a_refusal_cuts_once_for_all_that_were_in_flight() -> None:
    limit = AdaptiveConcurrency(64, start=40)
    for _ in range(40):
        limit.failed(began=0.0, now=1.0)

    assert limit.limit == 28


def test_it_recovers_after_a_cut() -> None:
    limit = AdaptiveConcurrency(256)
    now = serve(limit, slots(100), 100)
    for _ in range(10):
        limit.failed(began=now, now=now)
        now += 1

    assert limit.limit < 10
    serve(limit, slots(100), 200, now)
    assert limit.limit >= 95


def test_it_does_not_grow_while_there_is_too_little_work() -> None:
    limit = AdaptiveConcurrency(256)
    for number in range(1000):
        limit.succeeded(began=float(number), in_flight=2, now=number + 1.0)
        assert limit.limit == 8


def test_answers_to_attempts_from_before_a_change_do_not_count() -> None:
    limit = AdaptiveConcurrency(256)
    now = serve(limit, slots(100), 2)
    for _ in range(100):
        limit.succeeded(began=now - 0.5, in_flight=16, now=now + 5.0)

    assert limit.limit == 16


@given(events=st.lists(st.tuples(st.booleans(), st.floats(0, 10), st.integers(1, 64)), max_size=300))
def test_it_stays_between_one_and_the_cap(events: list[tuple[bool, float, int]]) -> None:
    limit, now = AdaptiveConcurrency(20), 0.0
    for ok, seconds, in_flight in events:
        began, now = now, now + seconds
        if ok:
            limit.succeeded(began, in_flight, now)
        else:
            limit.failed(began, now)
        assert 1 <= limit.limit <= 20


def test_repr_shows_limit_and_cap() -> None:
    assert repr(AdaptiveConcurrency(64)) == "<AdaptiveConcurrency 8 of 64>"
