"""The states of a circuit, driven by hand."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.circuit import Breaker, CircuitPolicy, State


def permit(breaker: Breaker, now: float) -> int:
    given_permit = breaker.admit(now)
    assert given_permit is not None
    return given_permit


def opened(now: float = 0.0, policy: CircuitPolicy | None = None) -> Breaker:
    breaker = Breaker(policy or CircuitPolicy())
    for _ in range(20):
        breaker.failed(permit(breaker, now), now)
    assert breaker.state is State.OPEN
    return breaker


def ramping(now: float) -> Breaker:
    breaker = opened(now - 5.0)
    breaker.answered(permit(breaker, now), now)
    assert breaker.state is State.RAMPING
    return breaker


def state_of(breaker: Breaker) -> State:
    return breaker.state


def admitted(breaker: Breaker, now: float, most: int = 2_000) -> int:
    return sum(breaker.admit(now) is not None for _ in range(most))


def test_nineteen_failures_in_a_row_leave_it_closed_and_the_twentieth_opens_it() -> None:
    breaker = Breaker(CircuitPolicy())
    for _ in range(19):
        breaker.failed(permit(breaker, 0.0), 0.0)

    assert state_of(breaker) is State.CLOSED

    breaker.failed(permit(breaker, 0.0), 0.0)

    assert state_of(breaker) is State.OPEN
    assert breaker.admit(0.0) is None


def test_an_answer_ends_a_row_of_failures() -> None:
    breaker = Breaker(CircuitPolicy())
    for _ in range(10):
        for _ in range(4):
            breaker.failed(permit(breaker, 0.0), 0.0)
        breaker.answered(permit(breaker, 0.0), 0.0)

    assert state_of(breaker) is State.CLOSED


@pytest.mark.parametrize(("ok", "state"), [(1, State.OPEN), (2, State.OPEN), (3, State.CLOSED)])
def test_it_opens_where_nearly_all_of_two_minutes_failed(ok: int, state: State) -> None:
    breaker = Breaker(CircuitPolicy(failures=30))
    for _ in range(ok):
        breaker.answered(permit(breaker, 0.0), 0.0)
    for _ in range(30 - ok):
        breaker.failed(permit(breaker, 0.0), 0.0)

    assert state_of(breaker) is state  # (30 - 2·ok) / 31 is 0.90, 0.84 and 0.77 against 0.8


def test_answers_of_long_ago_do_not_hide_failures() -> None:
    breaker = Breaker(CircuitPolicy(failures=50))
    for _ in range(1_000):
        breaker.answered(permit(breaker, 0.0), 0.0)
    breaker.answered(permit(breaker, 200.0), 200.0)
    for _ in range(49):
        breaker.failed(permit(breaker, 200.0), 200.0)

    assert state_of(breaker) is State.OPEN  # (50 - 2·1) / 51 = 0.94: the thousand are outside the window


def test_one_probe_is_admitted_after_five_seconds() -> None:
    breaker = opened(100.0)

    assert breaker.next_at(100.0) == 105.0
    assert breaker.admit(104.9) is None
    assert breaker.admit(105.0) is not None
    assert breaker.admit(200.0) is None
    assert breaker.next_at(200.0) is None


def test_each_failed_probe_doubles_the_wait_up_to_five_minutes() -> None:
    breaker, now = opened(policy=CircuitPolicy(max_outage=1e9)), 0.0
    waits = []
    for _ in range(9):
        at = breaker.next_at(now)
        assert at is not None
        waits.append(at - now)
        now = at
        breaker.failed(permit(breaker, now), now)

    assert waits == [5, 10, 20, 40, 80, 160, 300, 300, 300]


def test_a_probe_that_was_not_sent_leaves_its_place_to_another() -> None:
    breaker = opened()
    breaker.released(permit(breaker, 5.0))

    assert breaker.admit(5.0) is not None


def test_after_the_probe_twice_as_many_are_admitted_every_five_seconds() -> None:
    breaker = ramping(100.0)

    assert admitted(breaker, 100.0) == 2
    assert breaker.next_at(100.0) == 105.0
    assert admitted(breaker, 104.9) == 0
    assert admitted(breaker, 105.0) == 2  # 4 at once, of which 2 are under way
    assert admitted(breaker, 110.0) == 4


def test_while_ramping_an_answer_makes_room() -> None:
    breaker = ramping(100.0)
    first, _ = permit(breaker, 100.0), permit(breaker, 100.0)
    breaker.answered(first, 100.5)

    assert admitted(breaker, 100.5) == 1


def test_it_is_closed_a_minute_after_the_probe_at_the_latest() -> None:
    breaker = ramping(100.0)

    assert admitted(breaker, 145.0) == 2_000
    assert state_of(breaker) is State.CLOSED
    assert breaker.next_at(145.0) is None


def test_a_circuit_that_opens_again_while_ramping_stays_open_longer() -> None:
    breaker = ramping(100.0)
    for _ in range(20):
        breaker.failed(permit(breaker, 101.0), 101.0)

    assert breaker.next_at(101.0) == 111.0


def test_a_circuit_that_closed_forgets_how_long_it_was_open() -> None:
    breaker = ramping(100.0)
    permit(breaker, 145.0)
    for _ in range(20):
        breaker.failed(permit(breaker, 200.0), 200.0)

    assert breaker.next_at(200.0) == 205.0


def test_outcomes_from_before_it_opened_do_not_decide_the_probe() -> None:
    breaker = Breaker(CircuitPolicy())
    late = permit(breaker, 0.0)
    for _ in range(20):
        breaker.failed(permit(breaker, 0.0), 0.0)
    probe = permit(breaker, 5.0)
    breaker.failed(late, 5.0)

    assert state_of(breaker) is State.HALF_OPEN

    breaker.answered(late, 5.0)
    assert state_of(breaker) is State.HALF_OPEN

    breaker.answered(probe, 6.0)
    assert state_of(breaker) is State.RAMPING


def test_an_outage_is_too_long_once_nothing_was_answered_for_half_an_hour() -> None:
    breaker, now = opened(), 0.0
    while breaker.unavailable(now) is None:
        at = breaker.next_at(now)
        assert at is not None
        now = at
        breaker.failed(permit(breaker, now), now)

    assert now == 1_800.0
    assert breaker.unavailable(now) == 1_800.0


def test_an_answer_ends_the_outage() -> None:
    breaker = Breaker(CircuitPolicy())
    breaker.failed(permit(breaker, 0.0), 0.0)
    breaker.answered(permit(breaker, 1_799.0), 1_799.0)
    breaker.failed(permit(breaker, 1_801.0), 1_801.0)

    assert breaker.unavailable(1_801.0) is None


@pytest.mark.parametrize("hours", [1, 10])
def test_a_total_outage_sees_few_probes(hours: int) -> None:
    breaker, now, probes = opened(policy=CircuitPolicy(max_outage=1e9)), 0.0, 0
    while True:
        at = breaker.next_at(now)
        assert at is not None
        if at > hours * 3_600:
            break
        now = at
        breaker.failed(permit(breaker, now), now)
        probes += 1

    assert probes <= 6 + hours * 12


@given(st.lists(st.tuples(st.sampled_from(["ok", "fail", "release", "admit"]), st.floats(0, 40)), max_size=300))
def test_whatever_happens_time_or_an_outcome_admits_again(steps: list[tuple[str, float]]) -> None:
    breaker, now = Breaker(CircuitPolicy(failures=3)), 0.0
    out: list[int] = []
    for what, passed in steps:
        now += passed
        if what == "admit":
            given_permit = breaker.admit(now)
            out += [] if given_permit is None else [given_permit]
        elif out:
            held = out.pop(0)
            if what == "release":
                breaker.released(held)
            else:
                (breaker.answered if what == "ok" else breaker.failed)(held, now)
    for held in out:
        breaker.released(held)

    at = breaker.next_at(now)
    assert breaker.admit(now if at is None else max(now, at)) is not None


def test_the_first_request_goes_alone_until_it_is_answered() -> None:
    breaker = Breaker(CircuitPolicy(proof=2.0))
    permit = breaker.admit(10.0)
    alone = breaker.admit(10.5)
    assert permit is not None
    breaker.answered(permit, 10.6)

    assert alone is None
    assert all(breaker.admit(10.6) is not None for _ in range(100))


def test_a_first_request_that_is_slow_does_not_hold_the_others_for_long() -> None:
    breaker = Breaker(CircuitPolicy(proof=2.0))
    breaker.admit(10.0)

    assert breaker.next_at(10.0) == 12.0
    assert breaker.admit(11.9) is None
    assert all(breaker.admit(12.0) is not None for _ in range(100))


def test_a_first_request_that_was_not_sent_makes_way_for_the_next() -> None:
    breaker = Breaker(CircuitPolicy(proof=2.0))
    permit = breaker.admit(10.0)
    assert permit is not None
    breaker.released(permit)

    assert breaker.admit(10.1) is not None
    assert breaker.admit(10.1) is None


def test_a_first_request_that_failed_is_counted_and_the_others_go() -> None:
    breaker = Breaker(CircuitPolicy(proof=2.0, failures=2))
    permit = breaker.admit(10.0)
    assert permit is not None
    breaker.failed(permit, 10.1)
    second = breaker.admit(10.1)
    assert second is not None
    breaker.failed(second, 10.2)

    assert breaker.state is State.OPEN
