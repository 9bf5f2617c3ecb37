from __future__ import annotations

import json
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.timeline import COLUMNS, INPUT, MOST_ROWS, PAUSED, SENT, WIDTH, Timeline

MOMENTS = st.lists(st.floats(0, 1e7, allow_nan=False), max_size=60)


def sent_at(*moments: float) -> Timeline:
    timeline = Timeline()
    for at in sorted(moments):
        timeline.row(at)[SENT] += 1
    timeline.reach(max(moments, default=0.0))
    return timeline


def columns(values: list[object]) -> dict[str, list[object]]:
    return dict.fromkeys(COLUMNS, values)


@given(MOMENTS)
def test_whatever_is_merged_the_total_stays_and_the_rows_are_few(moments: list[float]) -> None:
    timeline = sent_at(*moments)

    assert timeline.total(SENT) == len(moments)
    assert len(timeline.rows) <= MOST_ROWS


@given(MOMENTS)
def test_each_row_holds_exactly_what_happened_in_its_time(moments: list[float]) -> None:
    timeline = sent_at(*moments)
    width = timeline.width

    for number, row in enumerate(timeline.rows):
        assert row[SENT] == sum(number * width <= at < (number + 1) * width for at in moments)


@given(MOMENTS, MOMENTS)
def test_one_after_the_other_keeps_both_totals_and_the_bound(first: list[float], then: list[float]) -> None:
    timeline, later = sent_at(*first), sent_at(*then)
    began = timeline.extend(later)

    assert timeline.total(SENT) == len(first) + len(then)
    assert len(timeline.rows) <= MOST_ROWS
    assert began >= max(first, default=0.0)
    assert timeline.seconds == pytest.approx(began + later.seconds)


@given(st.lists(st.tuples(st.floats(0, 5000), st.floats(0, 5000)), max_size=20))
def test_seconds_are_spread_over_the_rows_that_they_lie_in(spans: list[tuple[float, float]]) -> None:
    timeline = Timeline()
    for start, length in spans:
        timeline.spread(PAUSED, start, start + length)

    assert timeline.total(PAUSED) == pytest.approx(sum(length for _, length in spans), abs=1e-6)
    assert all(row[PAUSED] <= len(spans) * timeline.width + 1e-9 for row in timeline.rows)


def test_a_pause_over_three_rows_fills_the_one_in_the_middle() -> None:
    timeline = Timeline()
    timeline.spread(PAUSED, 0.75, 2.25)

    assert [row[PAUSED] for row in timeline.rows] == [0.25, 1.0, 0.25]


def test_a_second_is_a_row_until_the_rows_are_full() -> None:
    timeline = sent_at(*range(MOST_ROWS))
    widths = [timeline.width]
    timeline.row(MOST_ROWS)[SENT] += 1
    widths.append(timeline.width)

    assert widths == [WIDTH, 2 * WIDTH]
    assert [row[SENT] for row in timeline.rows] == [2] * (MOST_ROWS // 2) + [1]


@given(MOMENTS)
def test_it_is_read_as_it_was_written(moments: list[float]) -> None:
    timeline = sent_at(*moments)
    timeline.row(0)[INPUT] += 12_345
    read = Timeline.of(json.loads(json.dumps(timeline.as_dict())))

    assert (read.width, read.rows) == (timeline.width, timeline.rows)
    assert read.seconds == pytest.approx(timeline.seconds, abs=1e-3)


@pytest.mark.parametrize(
    "change",
    [
        {"width": 3.0},
        {"width": -1},
        {"width": float("inf")},
        {"seconds": -1.0},
        {"seconds": float("nan")},
        {"columns": {}},
        {"columns": columns([0] * (MOST_ROWS + 1))},
        {"columns": columns(["0"])},
        {"columns": columns([0]) | {"sent": []}},
    ],
)
def test_what_is_no_timeline_is_refused(change: dict[str, object]) -> None:
    good = {"width": 1.0, "seconds": 1.0, "columns": columns([0])}
    Timeline.of(good)

    with pytest.raises((KeyError, TypeError, ValueError)):
        Timeline.of({**good, **change})


@given(MOMENTS, st.integers(1, 240), st.floats(0, 60))
def test_steps_hold_all_that_happened_side_by_side(moments: list[float], most: int, shortest: float) -> None:
    timeline = sent_at(*moments)
    steps = timeline.steps(most, shortest)

    assert sum(step.sums[SENT] for step in steps) == len(moments)
    assert 1 <= len(steps) <= most
    assert steps[0].start == 0
    assert all(one.end == other.start for one, other in pairwise(steps))
    assert all(step.end > step.start for step in steps)


def test_a_rate_is_of_the_time_that_has_passed_and_not_of_the_whole_row() -> None:
    timeline = Timeline()
    for at in (0.1, 0.6, 1.1, 1.6, 2.1, 2.6):
        timeline.row(at)[SENT] += 1
    timeline.reach(3.0 - 1e-9)

    assert [step.per_minute(SENT) for step in timeline.steps(3, 0)] == pytest.approx([120, 120, 120])
