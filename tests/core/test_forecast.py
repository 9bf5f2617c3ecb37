from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.forecast import Forecast, forecast, in_batch_api, plus
from pipeline.core.pricing import Price, PriceBook, PriceCard, Rates, Tier
from pipeline.core.request_prices import Quotes, RequestPrices
from pipeline.types import Request, Response, Usage

AT = datetime(2026, 11, 21, tzinfo=UTC).timestamp()
USD = 1_000_000_000
"""Nano-USD a million tokens: 1,000 a token."""


def price(tokens_in: int, out: int, *, cached: int | None = None, written: int | None = None) -> Price:
    return Price(Rates.of(tokens_in * USD, out * USD, cached=cached, cache_write=written), source="list")


STANDARD = price(4, 8, cached=USD, written=5 * USD)
FLEX = price(2, 4, cached=USD // 2)
BATCH = price(1, 2)
CARD = PriceCard({"standard": STANDARD, "flex": FLEX, "batch": BATCH})


def prices(tier: Tier | None = None, card: PriceCard | None = CARD) -> RequestPrices:
    return RequestPrices(PriceBook(lambda _model, _at: card), tier=tier, refuse_unknown=False, remark=print)


def quotes(tier: Tier | None = None, named: str | None = None) -> Quotes:
    found = prices(tier).quotes("m", named, AT)
    assert found is not None
    return found


def test_a_request_is_forecast_by_kind_of_token() -> None:
    assert forecast(quotes(), 100, 10) == Forecast(
        least=100 * 1000,  # all of it cached
        input=100 * 4000,
        cached=100 * 1000,
        output=10 * 8000,
        most=100 * 5000 + 10 * 8000,  # all of it written to the cache
    )


def test_a_flex_request_may_cost_what_a_standard_one_does() -> None:
    found = forecast(quotes("flex"), 100, 10)

    assert (found.input, found.output) == (100 * 2000, 10 * 4000)
    assert (found.least, found.most) == (100 * 500, 100 * 5000 + 10 * 8000)


def test_a_tier_that_the_request_names_comes_before_that_of_the_config() -> None:
    assert quotes(None, "flex").asked == FLEX
    assert quotes("flex", "default").asked == STANDARD


def test_a_tier_that_nobody_knows_may_be_any() -> None:
    found = quotes(None, "turbo")

    assert (found.asked, set(found.charged)) == (STANDARD, {STANDARD, FLEX, BATCH})


def test_the_batch_api_has_a_forecast_of_its_own() -> None:
    batch = in_batch_api(quotes())

    assert batch is not None
    assert forecast(batch, 100, 10) == Forecast(100_000, 100_000, 100_000, 20_000, 120_000)


def test_without_a_price_in_the_batch_api_none_is_made_up() -> None:
    found = prices(card=PriceCard({"standard": STANDARD})).quotes("m", None, AT)

    assert found is not None
    assert in_batch_api(found) is None


def test_an_unknown_model_has_no_quotes() -> None:
    assert prices(card=None).quotes("m", None, AT) is None


def test_estimated_tokens_widen_the_interval_by_two_fifths_each_way() -> None:
    found = forecast(quotes(), 100, 10, counted=False)

    assert found.input == 100 * 4000
    assert (found.least, found.most) == (60 * 1000, 140 * 5000 + 10 * 8000)


def test_a_sum_is_by_kind() -> None:
    assert plus(Forecast(1, 2, 3, 4, 5), Forecast(10, 20, 30, 40, 50)) == (11, 22, 33, 44, 55)


@st.composite
def answers(draw: st.DrawFn) -> tuple[Usage, str]:
    tokens_in, out = draw(st.integers(0, 10**6)), draw(st.integers(0, 10**5))
    cached = draw(st.integers(0, tokens_in))
    usage = Usage(tokens_in, out, cached, draw(st.integers(0, tokens_in - cached)), draw(st.integers(0, out)))
    return usage, draw(st.sampled_from(["default", "flex"]))


@given(answers(), st.integers(0, 10**5))
def test_whatever_a_flex_request_brings_and_whoever_serves_it_the_bill_lies_in_the_interval(
    answer: tuple[Usage, str], spare: int
) -> None:
    usage, served = answer
    counted = prices("flex")
    request = Request("/chat/completions", b"{}", (), "m", tokens=0, input_bound=0, output_bound=0)
    bill = counted.cost(request, Response(200, {}, b"", usage=usage, model="m", service_tier=served), AT)
    found = forecast(quotes("flex"), usage.input, usage.output + spare)

    assert found.least <= bill <= found.most


@pytest.mark.parametrize("tokens_in", [272_000, 272_001])
def test_the_interval_holds_on_both_sides_of_a_long_context(tokens_in: int) -> None:
    long_input = Price(STANDARD.rates, ((272_000, Rates.of(8 * USD, 12 * USD, cached=2 * USD)),))
    found = forecast(Quotes(long_input, (long_input,), None), tokens_in, 10)

    assert found.input == long_input.cost(Usage(tokens_in))
    assert found.least == long_input.cost(Usage(tokens_in, cached=tokens_in))
    assert found.most == long_input.bound(tokens_in, 10) >= found.input + found.output
