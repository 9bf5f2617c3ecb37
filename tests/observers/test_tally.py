from __future__ import annotations

from pipeline.events import Paused
from pipeline.observers.tally import Tally


def test_pauses_that_overlap_count_once() -> None:
    now = 0.0
    tally = Tally(lambda: now)
    tally.see(Paused(10.0, "rate_limit_exceeded"))
    now = 4.0
    tally.see(Paused(6.0, "rate_limit_exceeded"))
    tally.see(Paused(8.0, "rate_limit_exceeded"))
    now = 100.0
    tally.see(Paused(1.0, "rate_limit_exceeded"))
    now = 200.0

    assert tally.paused() == 12 + 1


def test_a_pause_under_way_counts_as_far_as_it_has_come() -> None:
    now = 0.0
    tally = Tally(lambda: now)
    tally.see(Paused(60.0, "rate_limit_exceeded"))
    now = 15.0

    assert tally.paused() == 15
