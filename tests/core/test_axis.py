from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.axis import ceiling, time_ticks


@given(st.floats(1e-6, 1e15))
def test_an_axis_ends_at_or_little_above_its_greatest_value(value: float) -> None:
    top = ceiling(value)

    assert value * (1 - 1e-9) <= top <= 2 * value * (1 + 1e-9)


@pytest.mark.parametrize(("value", "top"), [(0, 1), (1, 1), (0.3, 0.3), (720, 800), (1001, 2000), (3000, 3000)])
def test_it_ends_at_an_easy_number(value: float, top: float) -> None:
    assert ceiling(value) == pytest.approx(top)


@given(st.floats(0.01, 1e8))
def test_ticks_of_time_are_few_and_rise_from_the_start(seconds: float) -> None:
    ticks = time_ticks(seconds)

    assert 1 <= len(ticks) <= 7
    assert ticks[0].at == 0
    assert [tick.at for tick in ticks] == sorted({tick.at for tick in ticks})
    assert ticks[-1].at <= 1
    assert len({tick.label for tick in ticks}) == len(ticks)


@pytest.mark.parametrize(
    ("seconds", "labels"),
    [
        (4, ["0:00", "0:01", "0:02", "0:03", "0:04"]),
        (170, ["0:00", "0:30", "1:00", "1:30", "2:00", "2:30"]),
        (7000, ["0:00 h", "0:30 h", "1:00 h", "1:30 h"]),
        (5 * 86_400, ["0 d", "1 d", "2 d", "3 d", "4 d", "5 d"]),
    ],
)
def test_they_are_at_round_times(seconds: float, labels: list[str]) -> None:
    assert [tick.label for tick in time_ticks(seconds)] == labels
