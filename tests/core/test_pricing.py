from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.pricing import FREE, Price, PriceBook, PriceCard, Rates, tier_named
from pipeline.errors import UsageError
from pipeline.types import Usage

USD = 1_000_000_000
NOON = datetime(2026, 11, 21, 12, tzinfo=UTC).timestamp()
DAY = 86_400


def mtok(usd: str, tokens: int) -> int:
    """Nano-USD of `tokens` at `usd` per million, as one would reckon by hand; exact for the numbers used here."""
    cents, rest = divmod(round(float(usd) * USD) * tokens, 1_000_000)
    assert rest == 0
    return cents


def rates(tokens_in: str, cached: str, written: str, out: str, reasoning: str | None = None) -> Rates:
    return Rates(*(round(float(usd) * USD) for usd in (tokens_in, cached, written, out, reasoning or out)))


LUNA = Price(
    rates("0.2", "0.02", "0.25", "1.2"),
    long_input=((272_000, rates("0.4", "0.04", "0.5", "1.8")),),
)
MINI = Price(rates("0.15", "0.075", "0.15", "0.60"))


def test_each_token_is_in_one_bucket() -> None:
    usage = Usage(input=1000, output=200, cached=400, cache_write=100, reasoning=150)

    assert LUNA.cost(usage) == mtok("0.2", 500) + mtok("0.02", 400) + mtok("0.25", 100) + mtok("1.2", 200)


def test_reasoning_has_its_own_price_where_there_is_one() -> None:
    research = Price(rates("2", "2", "2", "8", reasoning="3"))

    assert research.cost(Usage(input=10, output=100, reasoning=60)) == mtok("2", 10) + mtok("8", 40) + mtok("3", 60)


def test_a_million_embedded_tokens_cost_two_cents() -> None:
    assert Price(rates("0.02", "0.02", "0.02", "0")).cost(Usage(input=1_000_000)) == USD * 2 // 100


def test_272_000_input_tokens_are_still_short() -> None:
    assert LUNA.cost(Usage(input=272_000, output=10)) == mtok("0.2", 272_000) + mtok("1.2", 10)


def test_272_001_input_tokens_are_long_from_the_first_on() -> None:
    assert LUNA.cost(Usage(input=272_001, output=10)) == mtok("0.4", 272_001) + mtok("1.8", 10)


def test_cached_tokens_count_towards_the_length_of_the_input() -> None:
    usage = Usage(input=272_001, cached=272_001)

    assert LUNA.cost(usage) == mtok("0.04", 272_001)


def test_a_fraction_of_a_nano_dollar_is_rounded_up_once_per_request() -> None:
    third = Price(Rates(333_333, 0, 0, 333_333, 0))

    assert third.cost(Usage(input=1)) == 1
    assert third.cost(Usage(input=3)) == 1
    assert third.cost(Usage(input=1, output=1)) == 1
    assert third.cost(Usage(input=4)) == 2


def test_a_fee_per_request_is_added() -> None:
    sonar = Price(rates("1", "1", "1", "1"), request=12_000_000)

    assert sonar.cost(Usage(input=100, output=50)) == 12_000_000 + mtok("1", 150)
    assert sonar.bound(100, 50) == 12_000_000 + mtok("1", 150)


def test_no_tokens_cost_nothing() -> None:
    assert LUNA.cost(Usage()) == 0


def test_the_bound_takes_the_dearest_kind_of_each_side() -> None:
    research = Price(rates("2", "1", "2.5", "8", reasoning="9"))

    assert research.bound(1000, 100) == mtok("2.5", 1000) + mtok("9", 100)


def test_the_bound_takes_the_dearest_length_that_can_be_reached() -> None:
    assert LUNA.bound(272_000, 10) == mtok("0.25", 272_000) + mtok("1.2", 10)
    assert LUNA.bound(272_001, 10) == mtok("0.5", 272_001) + mtok("1.8", 10)


def test_a_long_input_that_is_cheaper_does_not_lower_the_bound() -> None:
    price = Price(rates("2", "2", "2", "2"), ((100, rates("1", "1", "1", "1")),))

    assert price.bound(200, 0) == mtok("2", 200)


def test_an_estimate_costs_its_bound() -> None:
    usage = Usage(input=4000, output=500, estimated=True)

    assert LUNA.cost(usage) == LUNA.bound(4000, 500) > LUNA.cost(usage._replace(estimated=False))


def test_an_absurd_cost_is_cut_to_a_million_dollars() -> None:
    assert LUNA.cost(Usage(input=10**18)) == LUNA.bound(10**18, 0) == 1_000_000 * USD


def test_free_is_free() -> None:
    assert FREE.cost(Usage(10**6, 10**6, 10, 10, 10)) == FREE.bound(10**6, 10**6) == 0


nano_rates = st.builds(Rates, *[st.integers(0, 10**12)] * 5)
prices = st.builds(
    Price,
    nano_rates,
    st.lists(st.tuples(st.integers(0, 10**6), nano_rates), max_size=3).map(lambda bands: tuple(sorted(bands))),
    st.integers(0, 10**9),
)


@st.composite
def usages(draw: st.DrawFn) -> Usage:
    whole_in, whole_out = draw(st.integers(0, 2 * 10**6)), draw(st.integers(0, 10**6))
    cached = draw(st.integers(0, whole_in))
    return Usage(whole_in, whole_out, cached, draw(st.integers(0, whole_in - cached)), draw(st.integers(0, whole_out)))


@given(prices, usages(), st.integers(0, 10**6), st.integers(0, 10**6))
def test_no_usage_costs_more_than_its_bound(price: Price, usage: Usage, more_in: int, more_out: int) -> None:
    assert price.cost(usage) <= price.bound(usage.input + more_in, usage.output + more_out)


@given(prices, usages())
def test_a_cost_is_the_exact_sum_rounded_up(price: Price, usage: Usage) -> None:
    reached = [rates for above, rates in price.long_input if usage.input > above]
    rate = (reached or [price.rates])[-1]
    plain = usage.input - usage.cached - usage.cache_write
    exact = (
        plain * rate.input
        + usage.cached * rate.cached
        + usage.cache_write * rate.cache_write
        + (usage.output - usage.reasoning) * rate.output
        + usage.reasoning * rate.reasoning
    )

    over = (price.cost(usage) - price.request) * 1_000_000 - exact
    assert 0 <= over < 1_000_000


def test_kinds_without_a_rate_cost_what_they_are_a_part_of() -> None:
    assert Rates.of(5, 7) == Rates(5, 5, 5, 7, 7)
    assert Rates.of(5, 7, cached=0, cache_write=6, reasoning=0) == Rates(5, 0, 6, 7, 0)


@pytest.mark.parametrize(
    ("name", "tier"),
    [
        (None, "standard"),
        ("auto", "standard"),
        ("default", "standard"),
        ("scale", "standard"),
        ("flex", "flex"),
        ("fast", "priority"),
        ("priority", "priority"),
        ("batch", "batch"),
    ],
)
def test_a_service_tier_has_one_price(name: str | None, tier: str) -> None:
    assert tier_named(name) == tier


@pytest.mark.parametrize("name", ["", "Flex", "prioritty", "on-demand"])
def test_a_misspelt_tier_is_refused(name: str) -> None:
    with pytest.raises(UsageError, match=r"service_tier .* is unknown") as refused:
        tier_named(name)

    assert refused.value.exit_code == 2


def test_a_discount_that_the_model_does_not_have_is_the_standard_price() -> None:
    card = PriceCard({"standard": MINI})

    assert (card.price("flex"), card.price("batch")) == (MINI, MINI)


def test_a_surcharge_that_the_model_does_not_have_is_unknown() -> None:
    assert PriceCard({"standard": MINI}).price("priority") is None


def test_the_dearest_tier_is_found_on_long_inputs_too() -> None:
    assert PriceCard({"standard": MINI, "flex": LUNA}).dearest() == LUNA


def dated_book() -> tuple[PriceBook, list[tuple[str, float]]]:
    """A book in which `mini` becomes `LUNA` at midnight, and the look-ups that it made."""
    looked_up: list[tuple[str, float]] = []

    def lookup(model: str, at: float) -> PriceCard | None:
        looked_up.append((model, at))
        if model != "mini":
            return None
        return PriceCard({"standard": MINI if at < NOON + DAY / 2 else LUNA})

    return PriceBook(lookup), looked_up


def test_the_price_is_that_of_the_day_of_the_request() -> None:
    book, _ = dated_book()

    assert book.price("mini", None, NOON + DAY / 2 - 1) == MINI
    assert book.price("mini", None, NOON + DAY / 2) == LUNA
    assert book.price("mini", None, NOON) == MINI


def test_a_model_is_looked_up_once_a_minute_known_or_not() -> None:
    book, looked_up = dated_book()
    for second in range(60):
        book.price("mini", None, NOON + second)
        book.price("nobody", None, NOON + second)

    assert looked_up == [("mini", NOON), ("nobody", NOON)]


def test_a_server_that_invents_models_does_not_fill_the_memory() -> None:
    book, _ = dated_book()
    for number in range(3000):
        book.price(f"model-{number}", None, NOON)

    assert book._card.cache_info().currsize <= 1024
    assert book.price("mini", None, NOON) == MINI


def test_an_unknown_model_has_no_price() -> None:
    book, _ = dated_book()

    assert book.price("nobody", None, NOON) is None


def test_an_unknown_tier_has_no_price_even_for_an_unknown_model() -> None:
    book, _ = dated_book()

    with pytest.raises(UsageError, match="unknown"):
        book.price("nobody", "cheap", NOON)


def test_a_budget_needs_a_known_price() -> None:
    book, _ = dated_book()

    assert book.known_price("mini", "flex", NOON) == MINI
    with pytest.raises(UsageError, match="no price is known for model 'nobody'") as refused:
        book.known_price("nobody", None, NOON)
    assert (refused.value.exit_code, refused.value.code) == (2, "unknown_price")
    with pytest.raises(UsageError, match="service tier priority"):
        book.known_price("mini", "fast", NOON)
