from __future__ import annotations

import pytest

from pipeline.core.deadline import drain_within


@pytest.mark.parametrize(("left", "drain", "expected"), [(7200, 30, 30), (60, 30, 30), (10, 30, 5), (0, 30, 0)])
def test_the_last_seconds_before_a_deadline_are_for_what_is_in_flight(
    left: float, drain: float, expected: float
) -> None:
    assert drain_within(left, drain) == expected
