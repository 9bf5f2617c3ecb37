from __future__ import annotations

import json
import math
from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pipeline.core.histogram import ERROR, LEAST, Histogram

DURATIONS = st.lists(st.floats(0, 1000), min_size=1, max_size=50)


def noted(*durations: float) -> Histogram:
    histogram = Histogram()
    for seconds in durations:
        histogram.note(seconds)
    return histogram


@given(DURATIONS, st.sampled_from([0.0, 0.5, 0.9, 0.99, 1.0]))
@example([913.0, 968.0], 0.0)
@example([1000.0, 1023.9], 0.5)
def test_a_percentile_is_within_the_error_of_the_true_one(durations: list[float], share: float) -> None:
    true = sorted(durations)[max(1, math.ceil(share * len(durations))) - 1]

    assert noted(*durations).percentile(share) == pytest.approx(true, rel=ERROR, abs=LEAST)


@given(DURATIONS)
def test_percentiles_rise_and_none_is_above_the_longest(durations: list[float]) -> None:
    found = noted(*durations).percentiles()

    assert list(found) == sorted(found)
    assert found.max == max(durations)


@given(DURATIONS)
def test_the_total_is_exact(durations: list[float]) -> None:
    assert noted(*durations).total == pytest.approx(sum(durations))


def test_nothing_noted_is_no_time() -> None:
    assert noted().percentiles() == (0, 0, 0, 0)


def test_what_is_longer_than_the_buckets_reach_is_told_by_the_longest() -> None:
    assert noted(1.0, 5000.0, 7000.0).percentiles() == (7000, 7000, 7000, 7000)


def test_less_than_a_millisecond_is_none() -> None:
    assert noted(0.0005, 0.0005, 2.0).percentile(0.5) == 0


@given(DURATIONS, DURATIONS)
def test_two_together_are_as_one_that_saw_both(one: list[float], other: list[float]) -> None:
    both = noted(*one)
    both.add(noted(*other))

    assert both.percentiles() == noted(*one, *other).percentiles()
    assert both.total == pytest.approx(sum(one) + sum(other))


@given(DURATIONS, st.sampled_from([1, 2, 3, 6]))
def test_every_duration_is_in_the_bin_whose_bounds_are_around_it(durations: list[float], a_doubling: int) -> None:
    bins = noted(*durations).bins(a_doubling)

    assert sum(each.durations for each in bins) == len(durations)
    assert all(one.upper == other.lower for one, other in pairwise(bins))
    assert bins[0].durations > 0
    assert bins[-1].durations > 0
    for each in bins:
        below = sum(seconds < each.upper * (1 - 1e-9) for seconds in durations)
        above = sum(seconds <= each.upper * (1 + 1e-9) for seconds in durations)
        assert below <= sum(other.durations for other in bins if other.upper <= each.upper) <= above


@given(DURATIONS)
def test_it_is_read_as_it_was_written(durations: list[float]) -> None:
    histogram = noted(*durations)
    read = Histogram.of(json.loads(json.dumps(histogram.as_dict())))

    assert read.as_dict() == histogram.as_dict()


@pytest.mark.parametrize("change", [{"counts": {"122": 1}}, {"counts": {"x": 1}}, {"counts": []}, {"total": math.inf}])
def test_what_is_no_histogram_is_refused(change: dict[str, object]) -> None:
    with pytest.raises((KeyError, TypeError, ValueError, IndexError, AttributeError)):
        Histogram.of({**noted(1.0).as_dict(), **change})
