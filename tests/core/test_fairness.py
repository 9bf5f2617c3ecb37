from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.fairness import CREDIT, LEAD, Member, credited, is_ahead


def test_who_had_more_lets_the_other_go_first_while_it_waits() -> None:
    behind = Member(had=10.0, waits_until=5.25)

    assert is_ahead(10.0 + 2 * LEAD, [behind], now=5.0)
    assert not is_ahead(10.0 + 2 * LEAD, [behind], now=5.25)
    assert not is_ahead(10.0 + LEAD / 2, [behind], now=5.0)


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=8))
def test_of_those_that_wait_one_may_always_go(had: list[float]) -> None:
    members = [Member(each, 1.0) for each in had]

    assert not all(is_ahead(one.had, [other for other in members if other is not one], 0.0) for one in members)


def test_what_was_not_asked_for_is_caught_up_only_so_far() -> None:
    assert credited(0.0, [Member(100.0, 1.0)], now=0.0) == 100.0 - CREDIT
    assert credited(0.0, [Member(100.0, 1.0)], now=1.0) == 0.0
    assert credited(99.0, [Member(100.0, 1.0)], now=0.0) == 99.0
    assert credited(3.0, [], now=0.0) == 3.0
