from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.histogram import ERROR, LEAST, Histogram

DURATIONS = st.lists(st.floats(0, 1000), min_size=1, max_size=50)


def noted(*durations: float) -> Histogram:
    histogram = Histogram()
    for seconds in durations:
        histogram.note(seconds)
    return histogram


@given(DURATIONS, st.sampled_from([0.0, 0.5, 0.9, 0.99, 1.0]))
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
