from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.report.cost import budget_meter, by_outcome, by_token, dollars, meter
from tests.report.facts import recorded


@given(st.integers(0, 10**12), st.lists(st.integers(0, 10**12), max_size=6))
def test_the_parts_of_a_meter_lie_side_by_side_and_none_is_lost(whole: int, amounts: list[int]) -> None:
    shares = meter(whole, [("ok", amount, "") for amount in amounts]).shares
    ends = [share.x + share.width for share in shares]

    assert len(shares) == sum(amount > 0 for amount in amounts)
    assert all(share.width >= 3.9 for share in shares)
    assert [share.x for share in shares[1:]] == pytest.approx(ends[:-1])
    assert max(ends, default=0) <= 1000 + 1e-6


def test_costs_by_kind_of_token_add_up_to_what_was_spent() -> None:
    rows = by_token(recorded())
    costs = [float(row.cost.removeprefix("$")) for row in rows]

    assert [(row.name, row.exact, row.price) for row in rows] == [
        ("input", "809,000", "$0.15"),
        ("cached input", "100,000", "$0.075"),
        ("output", "40,450", "$0.60"),
        ("reasoning", "5,000", "$0.60"),
    ]
    assert sum(costs) == pytest.approx(0.15912, abs=2e-4)


def test_tokens_without_a_price_have_no_cost() -> None:
    about = recorded().about._replace(rates=None)

    assert {row.cost for row in by_token(recorded(about=about))} == {""}


def test_costs_by_outcome_name_what_may_have_been_billed_in_vain() -> None:
    assert [(row.name, row.exact, row.cost) for row in by_outcome(recorded())] == [
        ("answered", "880", "$0.1575"),
        ("answered when sent again", "9", "$0.0016"),
        ("outcome unknown (at most)", "2", "$0.0040"),
    ]


def test_a_budget_is_shown_with_what_is_left_of_it() -> None:
    sums = {"spent_nusd": 10**9, "retried_nusd": 0, "unknown_nusd": 0, "reserved_nusd": 0, "cap_nusd": 4 * 10**9}
    shares = budget_meter(sums).shares

    assert [(share.kind, share.width, share.title) for share in shares] == [
        ("ok", 250, "spent $1.00"),
        ("rest", 750, "$3.00 left"),
    ]


@pytest.mark.parametrize(("nusd", "text"), [(450_000_000, "$0.45"), (5 * 10**9, "$5.00"), (123_400_000, "$0.1234")])
def test_a_round_sum_has_no_empty_digits(nusd: int, text: str) -> None:
    assert dollars(nusd) == text
