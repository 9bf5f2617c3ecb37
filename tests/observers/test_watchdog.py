from __future__ import annotations

from pipeline.events import AttemptEnded
from pipeline.observers.watchdog import GRACE, LAG, Watchdog

ENDED = AttemptEnded(1.0, 1, 1, 1, None, None, 200)


class Bench:
    """A watchdog on a clock that is set by hand."""

    def __init__(self, in_flight: int = 1) -> None:
        self.now = 0.0
        self.in_flight = in_flight
        self.shown: list[str] = []
        self.ends = 0
        self.dog = Watchdog(600.0, lambda: self.in_flight, show=self.shown.append, end=self.end, now=lambda: self.now)

    def end(self) -> None:
        self.ends += 1

    def look_at(self, now: float) -> None:
        self.now = now
        self.dog.look()


def test_a_loop_that_turns_is_left_alone() -> None:
    bench = Bench()
    for second in range(1, 100):
        bench.now = second
        bench.dog.turned()
        bench.dog.look()

    assert (bench.shown, bench.ends) == ([], 0)


def test_a_stuck_loop_is_shown_once_with_the_place_where_it_stands() -> None:
    bench = Bench()
    bench.look_at(LAG)
    before = list(bench.shown)
    bench.look_at(LAG + 1)
    bench.look_at(LAG + 2)

    assert before == []
    assert len(bench.shown) == 1
    assert __file__ in bench.shown[0]
    assert "ENDED" not in bench.shown[0], "places, not values"


def test_a_process_in_which_nothing_ends_is_ended() -> None:
    bench = Bench()
    bench.now = 600.0
    bench.dog.turned()
    bench.look_at(600.0 + GRACE)
    assert bench.ends == 0
    bench.dog.turned()
    bench.look_at(600.0 + GRACE + 1)

    assert bench.ends == 1


def test_an_attempt_that_ends_puts_the_end_off() -> None:
    bench = Bench()
    bench.now = 700.0
    bench.dog.see(ENDED)
    bench.dog.turned()
    bench.look_at(700.0 + 600.0 + GRACE - 1)

    assert bench.ends == 0


def test_a_pause_with_nothing_on_the_wire_is_no_stall() -> None:
    bench = Bench(in_flight=0)
    bench.now = 10_000.0
    bench.dog.turned()
    bench.dog.look()

    assert bench.ends == 0
