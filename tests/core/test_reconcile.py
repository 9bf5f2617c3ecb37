from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.reconcile import Billed, Comparison, Quantity, Recorded, family, reconcile

DAY = "2026-11-20"
ONE_PERCENT = Fraction(1, 100)


def recorded(day: str = DAY, model: str = "luna", **changes: int) -> Recorded:
    numbers = {"requests": 10, "input": 1_000, "cached": 400, "output": 200, "cost_nusd": 5_000_000}
    unknown = {"unknown_requests": 0, "unknown_nusd": 0, "unpriced": 0}
    return Recorded(day, model, **{**numbers, **unknown, **changes})


def billed(day: str = DAY, model: str = "luna", **changes: int) -> Billed:
    numbers = {"requests": 10, "input": 1_000, "cached": 400, "output": 200, "cost_nusd": 5_000_000}
    return Billed(day, model, **{**numbers, **changes})


def only(log: list[Recorded], export: list[Billed], tolerance: Fraction = ONE_PERCENT) -> Comparison:
    (compared,) = reconcile(log, export, tolerance)
    return compared


def test_the_same_on_both_sides_agrees() -> None:
    assert only([recorded()], [billed()], Fraction(0)).verdict == "agrees"


def test_a_day_is_compared_as_a_sum_of_its_rows_and_lines() -> None:
    compared = only(
        [recorded(), recorded(cost_nusd=7)], [billed(cost_nusd=5_000_000), billed(cost_nusd=7)], Fraction(0)
    )

    assert compared.verdict == "agrees"
    assert compared.quantities[:2] == (
        Quantity("cost_nusd", 5_000_007, 5_000_007, 5_000_007),
        Quantity("requests", 20, 20, 20),
    )


@pytest.mark.parametrize(
    ("cost", "verdict"), [(5_050_000, "agrees"), (5_050_001, "more"), (4_950_000, "agrees"), (4_949_999, "less")]
)
def test_a_difference_of_more_than_the_tolerance_is_one(cost: int, verdict: str) -> None:
    assert only([recorded()], [billed(cost_nusd=cost)]).verdict == verdict


@pytest.mark.parametrize("name", ["cost_nusd", "requests", "input", "output"])
def test_more_of_anything_that_costs_is_more_billed(name: str) -> None:
    more = billed()._replace(**{name: 6_000_000})  # type: ignore[arg-type]

    assert only([recorded()], [more]).billed_above


def test_more_from_the_cache_is_not_more_billed() -> None:
    assert only([recorded()], [billed(cached=900)]).verdict == "agrees"


def test_an_unknown_that_was_not_billed_explains_what_is_missing() -> None:
    compared = only([recorded(unknown_requests=1, unknown_nusd=1_000_000)], [billed()])
    cost = compared.quantities[0]

    assert compared.verdict == "less"
    assert (cost.recorded, cost.difference, cost.explained) == (6_000_000, -1_000_000, 1_000_000)


def test_an_unknown_that_was_billed_in_part_explains_the_rest() -> None:
    export = billed(requests=11, input=1_100, output=250, cost_nusd=5_300_000)
    compared = only([recorded(unknown_requests=1, unknown_nusd=1_000_000)], [export])

    assert compared.verdict == "less"
    assert compared.quantities[0].explained == 700_000


def test_less_than_what_is_known_is_not_explained_beyond_the_unknown() -> None:
    cost = only([recorded(unknown_requests=1, unknown_nusd=1_000_000)], [billed(cost_nusd=2_000_000)]).quantities[0]

    assert (cost.difference, cost.explained) == (-4_000_000, 1_000_000)


def test_above_what_is_known_and_unknown_is_more_billed() -> None:
    export = billed(requests=11, cost_nusd=6_100_000)

    assert only([recorded(unknown_requests=1, unknown_nusd=1_000_000)], [export]).verdict == "more"


def test_tokens_of_a_request_without_an_answer_have_no_upper_bound() -> None:
    export = Billed(DAY, "luna", input=9_000, output=9_000)

    assert only([recorded(unknown_requests=1, unknown_nusd=1)], [export]).verdict == "agrees"
    assert only([recorded()], [export]).verdict == "more"


def test_the_cost_of_requests_without_a_price_has_no_upper_bound() -> None:
    export = Billed(DAY, "luna", cost_nusd=9_000_000)

    compared = only([recorded(unpriced=3)], [export])

    assert (compared.verdict, compared.unpriced) == ("agrees", 3)


def test_each_side_alone_is_named() -> None:
    compared = reconcile([recorded()], [billed(model="sol")], ONE_PERCENT)

    assert [(each.model, each.verdict, each.billed_above) for each in compared] == [
        ("luna", "log_only", False),
        ("sol", "export_only", True),
    ]


def test_what_is_in_the_log_only_is_told_in_the_numbers_of_the_export() -> None:
    log_only, _ = reconcile([recorded()], [Billed("2026-11-21", "luna", cost_nusd=1)], ONE_PERCENT)

    assert [number.name for number in log_only.quantities] == ["cost_nusd"]
    assert reconcile([recorded(cost_nusd=0)], [Billed(DAY, "sol", cost_nusd=0)], ONE_PERCENT) == []


def test_without_a_line_in_the_export_every_number_of_the_log_is_told() -> None:
    assert [number.known for number in only([recorded()], []).quantities] == [5_000_000, 10, 1_000, 200, 400]


def test_a_credit_in_the_export_only_is_not_more_billed() -> None:
    compared = only([], [Billed(DAY, "credit", cost_nusd=-5)])

    assert (compared.verdict, compared.billed_above) == ("export_only", False)


def test_lines_with_nothing_but_zeros_are_no_difference() -> None:
    assert reconcile([], [Billed(DAY, "sol", 0, 0, 0, 0, 0)], ONE_PERCENT) == []


def test_a_snapshot_is_its_model() -> None:
    assert family("gpt-4o-mini-2024-07-18") == "gpt-4o-mini"
    assert family("text-embedding-3-small") == "text-embedding-3-small"

    log = [recorded(model="luna-2026-01-31"), recorded(model="luna", requests=0, input=0, output=0, cost_nusd=0)]
    assert only(log, [billed(cached=800)]).model == "luna"


def test_an_export_that_names_no_models_is_compared_by_day() -> None:
    log = [recorded(), recorded(model="sol"), recorded("2026-11-21")]
    export = [Billed(DAY, None, cost_nusd=10_000_000), Billed("2026-11-21", "luna", cost_nusd=5_000_000)]

    assert [(each.day, each.model, each.verdict) for each in reconcile(log, export, Fraction(0))] == [
        (DAY, "(all models)", "agrees"),
        ("2026-11-21", "(all models)", "agrees"),
    ]


amounts = st.integers(0, 10**15)


@given(known=amounts, unknown=amounts, paid=amounts, tolerance=st.fractions(0, 1))
def test_a_difference_is_explained_within_itself_and_the_unknown(
    known: int, unknown: int, paid: int, tolerance: Fraction
) -> None:
    number = Quantity("cost_nusd", known, known + unknown, paid)

    assert 0 <= number.explained <= unknown
    assert number.known + unknown + number.difference == paid
    assert number.explained == max(0, min(unknown, known + unknown - paid))
    assert (number.verdict(tolerance) == "more") == (paid > (known + unknown) * (1 + tolerance))
    assert (number.verdict(tolerance) == "less") == (paid < (known + unknown) * (1 - tolerance))


rows = st.lists(
    st.builds(
        recorded, st.sampled_from([DAY, "2026-11-21"]), st.sampled_from("ab"), cost_nusd=amounts, unknown_nusd=amounts
    ),
    max_size=8,
)
lines = st.lists(
    st.builds(billed, st.sampled_from([DAY, "2026-11-21"]), st.sampled_from("ab"), cost_nusd=amounts), max_size=8
)


@given(rows, lines)
def test_no_amount_is_lost(log: list[Recorded], export: list[Billed]) -> None:
    costs = [each.quantities[0] for each in reconcile(log, export, ONE_PERCENT)]

    assert sum(cost.billed for cost in costs) == sum(line.cost_nusd or 0 for line in export)
    assert sum(cost.known for cost in costs) == sum(row.cost_nusd for row in log)
    assert sum(cost.recorded for cost in costs) == sum(row.cost_nusd + row.unknown_nusd for row in log)
