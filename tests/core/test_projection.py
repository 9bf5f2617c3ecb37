from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.projection import expected, projected

USD = 1_000_000_000


def test_a_quarter_that_cost_a_dollar_makes_four() -> None:
    assert projected(1 * USD, 0, 250, 0.25) == 4 * USD


def test_what_lost_answers_may_have_cost_is_added_and_not_multiplied() -> None:
    assert projected(1 * USD, USD // 10, 250, 0.25) == 4 * USD + USD // 10


def test_the_end_costs_what_it_cost_however_small_it_was() -> None:
    assert projected(123, 4, 3, 1.0) == 127


@pytest.mark.parametrize(
    ("settled", "share"),
    [(19, 0.5), (0, 0.0), (5000, 0.009), (5000, None)],
    ids=["too few", "none", "too small a share", "nobody knows how many there are"],
)
def test_nothing_is_projected_until_enough_is_settled(settled: int, share: float | None) -> None:
    assert projected(1 * USD, 0, settled, share) is None


def test_twenty_records_or_a_hundredth_are_enough() -> None:
    assert projected(20, 0, 20, 0.01) == 2000


@given(st.integers(1, 10**6), st.integers(20, 10**6), st.data())
def test_records_that_all_cost_the_same_are_projected_exactly(each: int, total: int, data: st.DataObject) -> None:
    settled = data.draw(st.integers(min(total, max(20, total // 100 + 1)), total))
    found = projected(settled * each, 0, settled, settled / total)

    assert found == pytest.approx(total * each, rel=1e-9)


def test_the_rest_is_expected_to_cost_what_the_settled_records_did_on_average() -> None:
    assert expected(300, 100, 50) == 150


@pytest.mark.parametrize(("spent", "settled"), [(0, 100), (300, 19)])
def test_nothing_is_expected_from_few_records_or_from_free_ones(spent: int, settled: int) -> None:
    assert expected(spent, settled, 50) is None
