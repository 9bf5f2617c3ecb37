from collections.abc import Mapping
from datetime import UTC, datetime

import pytest

from pipeline.core.pricing import Price, PriceBook, PriceCard, Rates, Tier
from pipeline.core.request_prices import Quote, RequestPrices, quote
from pipeline.errors import Rejected, UsageError
from pipeline.types import Request, Response, Usage

AT = datetime(2026, 11, 21, tzinfo=UTC).timestamp()


def price(usd_per_mtok: float) -> Price:
    nano = round(usd_per_mtok * 1_000_000_000)
    return Price(Rates.of(nano, 10 * nano), source="prices.yaml")


CHEAP, CHEAP_FLEX, CHEAP_FAST, CHEAP_BATCH, DEAR = price(1), price(0.5), price(2), price(0.4), price(5)
CARDS: Mapping[str, PriceCard] = {
    "cheap": PriceCard({"standard": CHEAP, "flex": CHEAP_FLEX, "priority": CHEAP_FAST, "batch": CHEAP_BATCH}),
    "cheap-2026-11-01": PriceCard(
        {"standard": CHEAP, "flex": CHEAP_FLEX, "priority": CHEAP_FAST, "batch": CHEAP_BATCH}
    ),
    "dear": PriceCard({"standard": DEAR}),
}
BOOK = PriceBook(lambda model, _at: CARDS.get(model))


def quoted(
    answered: str, answered_tier: str | None = "default", *, asked: str = "cheap", tier: Tier | None = None
) -> Quote:
    return quote(BOOK, asked=asked, answered=answered, asked_tier=tier, answered_tier=answered_tier, at=AT)


def test_a_response_by_the_model_asked_for_has_its_price() -> None:
    assert quoted("cheap") == (CHEAP, "")


def test_a_snapshot_of_the_model_with_the_same_prices_is_no_surprise() -> None:
    assert quoted("cheap-2026-11-01") == (CHEAP, "")


def test_another_model_is_charged_at_its_own_price_and_remarked() -> None:
    found = quoted("dear")

    assert found.price == DEAR
    assert "'dear' answered for 'cheap'" in found.remark


def test_a_model_without_a_price_is_charged_as_the_one_asked_for() -> None:
    found = quoted("cheap\x1b[31m-ft")

    assert found.price == CHEAP
    assert "'cheap\\x1b[31m-ft' answered and has no known price" in found.remark


def test_a_response_that_names_no_model_is_charged_as_the_one_asked_for() -> None:
    assert quoted("") == (CHEAP, "")


def test_a_known_model_that_answers_for_an_unknown_one_has_its_price() -> None:
    found = quoted("dear", asked="nobody")

    assert found.price == DEAR
    assert found.remark


@pytest.mark.parametrize("answered", ["nobody", ""])
def test_a_cost_that_nobody_knows_is_not_zero(answered: str) -> None:
    found = quoted(answered, asked="nobody")

    assert found.price is None
    assert "'nobody' has no known price" in found.remark


@pytest.mark.parametrize(
    ("answered_tier", "expected"),
    [("default", CHEAP), ("flex", CHEAP_FLEX), ("priority", CHEAP_FAST), ("fast", CHEAP_FAST), ("batch", CHEAP_BATCH)],
)
def test_the_tier_that_answered_is_charged(answered_tier: str, expected: Price) -> None:
    assert quoted("cheap", answered_tier, tier="priority") == (expected, "")


@pytest.mark.parametrize(
    ("tier", "expected"), [(None, CHEAP), ("flex", CHEAP), ("priority", CHEAP_FAST), ("batch", CHEAP_BATCH)]
)
def test_a_response_without_a_tier_is_charged_the_dearer_of_asked_and_standard(
    tier: Tier | None, expected: Price
) -> None:
    assert quoted("cheap", None, tier=tier) == (expected, "")


def test_the_batch_api_is_batch_whatever_the_response_says() -> None:
    assert quoted("cheap", "default", tier="batch") == (CHEAP_BATCH, "")


def test_an_unheard_of_tier_is_charged_as_the_dearest() -> None:
    found = quoted("cheap", "turbo")

    assert found.price == CHEAP_FAST
    assert "service tier 'turbo' has no known price" in found.remark


def test_a_surcharge_without_a_price_is_charged_as_the_dearest() -> None:
    found = quoted("dear", "priority", asked="dear")

    assert found.price == DEAR
    assert "service tier 'priority'" in found.remark


def test_two_surprises_are_both_remarked() -> None:
    assert quoted("dear", "turbo").remark == (
        "model 'dear' answered for 'cheap': charged at its own price; "
        "service tier 'turbo' has no known price: charged as the dearest"
    )
    assert quoted("cheap", "turbo").remark == "service tier 'turbo' has no known price: charged as the dearest"


def test_an_unknown_tier_in_the_config_is_refused_at_once() -> None:
    with pytest.raises(UsageError, match="service_tier 'turbo' is unknown"):
        RequestPrices(BOOK, tier="turbo", refuse_unknown=False, remark=print)


def request(model: str = "cheap", body: bytes = b"{}") -> Request:
    return Request("/chat/completions", body, (), model, tokens=0, input_bound=1000, output_bound=100)


def response(model: str = "cheap") -> Response:
    return Response(200, {}, b"", usage=Usage(500, 50), model=model, service_tier="default")


def prices(remarks: list[str], *, tier: str | None = None, refuse_unknown: bool = False) -> RequestPrices:
    return RequestPrices(BOOK, tier=tier, refuse_unknown=refuse_unknown, remark=remarks.append)


def test_a_request_is_bound_by_its_tokens_at_the_price_asked_for() -> None:
    assert prices([]).bound(request(), AT) == CHEAP.bound(1000, 100)
    assert prices([], tier="fast").bound(request(), AT) == CHEAP_FAST.bound(1000, 100)
    assert prices([], tier="batch").bound(request(), AT) == CHEAP_BATCH.bound(1000, 100)


def test_a_flex_request_may_be_charged_the_standard_price() -> None:
    assert prices([], tier="flex").bound(request(), AT) == CHEAP.bound(1000, 100)


def test_a_record_that_names_its_own_tier_may_be_charged_any() -> None:
    assert prices([]).bound(request(body=b'{"service_tier":"flex"}'), AT) == CHEAP_FAST.bound(1000, 100)


def test_a_response_costs_its_usage() -> None:
    remarks: list[str] = []
    counted = prices(remarks)

    assert counted.cost(request(), response(), AT) == CHEAP.cost(Usage(500, 50))
    assert (counted.sources, remarks) == ({"prices.yaml"}, [])


def test_a_surprise_is_remarked_once() -> None:
    remarks: list[str] = []
    counted = prices(remarks)
    for _ in range(3):
        counted.cost(request(), response("dear"), AT)

    assert len(remarks) == 1


def test_without_a_budget_an_unknown_price_is_counted_as_unknown() -> None:
    remarks: list[str] = []
    counted = prices(remarks)

    assert counted.bound(request("nobody"), AT) == 0
    assert counted.cost(request("nobody"), response("nobody"), AT) == 0
    assert counted.sources == {"unknown"}
    assert len(remarks) == 1


@pytest.mark.parametrize(("model", "tier"), [("nobody", None), ("dear", "priority")])
def test_with_a_budget_a_request_of_unknown_price_is_not_sent(model: str, tier: str | None) -> None:
    with pytest.raises(Rejected, match="no price is known") as refused:
        prices([], tier=tier, refuse_unknown=True).bound(request(model), AT)

    assert refused.value.code == "unknown_price"


def test_a_model_of_unknown_price_is_refused_before_anything_is_sent() -> None:
    budgeted = prices([], tier="flex", refuse_unknown=True)
    budgeted.require("cheap", AT)

    with pytest.raises(UsageError, match="no price is known for model 'nobody'"):
        budgeted.require("nobody", AT)


def test_without_a_budget_no_model_is_refused() -> None:
    unlimited = prices([])
    unlimited.require("nobody", AT)

    assert [unlimited.knows("cheap", AT), unlimited.knows("nobody", AT)] == [True, False]


def test_a_request_is_priced_at_the_time_it_was_sent() -> None:
    dated = PriceBook(lambda _model, at: PriceCard({"standard": CHEAP if at < AT else DEAR}))
    counted = RequestPrices(dated, tier=None, refuse_unknown=True, remark=print)
    before = AT - 1

    assert [counted.bound(request(), at) for at in (before, AT)] == [CHEAP.bound(1000, 100), DEAR.bound(1000, 100)]
    assert [counted.cost(request(), response(), at) for at in (before, AT)] == [
        CHEAP.cost(Usage(500, 50)),
        DEAR.cost(Usage(500, 50)),
    ]
