"""What single responses cost at the prices that come with the program, each with its sum written out."""

from __future__ import annotations

import tomllib
from datetime import UTC, datetime
from pathlib import Path

import pytest

from pipeline.core.request_prices import RequestPrices
from pipeline.errors import UsageError
from pipeline.storage.prices import _RELEASED, load_price_book
from pipeline.types import Request, Response, Usage

ROOT = Path(__file__).parents[2]
NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
OPENAI = load_price_book("openai", [ROOT / "configs" / "prices.yaml"])
REMARKS: list[str] = []


def mtok(usd: str, tokens: int) -> int:
    """Nano-USD of `tokens` at `usd` per million; whole for the numbers used here."""
    nano, rest = divmod(round(float(usd) * 1_000_000_000) * tokens, 1_000_000)
    assert rest == 0
    return nano


def prices(tier: str | None = None) -> RequestPrices:
    REMARKS.clear()
    return RequestPrices(OPENAI, tier=tier, refuse_unknown=False, remark=REMARKS.append)


def bill(
    model: str, usage: Usage, *, tier: str | None = None, answered: str | None = "default", at: datetime = NOW
) -> int:
    """What a response by `model` costs that was asked for in `tier` and answered in `answered`."""
    asked = Request("/chat/completions", b"{}", (), model, tokens=0, input_bound=0, output_bound=0)
    response = Response(200, {}, b"", usage=usage, model=model, service_tier=answered)
    return prices(tier).cost(asked, response, at.timestamp())


def test_embeddings_in_the_batch_api_cost_half_though_genai_prices_says_the_whole() -> None:
    usage = Usage(input=1_000_000)

    assert bill("text-embedding-3-small", usage, answered=None) == mtok("0.02", 1_000_000)
    assert bill("text-embedding-3-small", usage, tier="batch", answered=None) == mtok("0.01", 1_000_000)
    assert bill("text-embedding-3-large", usage, tier="batch", answered=None) == mtok("0.065", 1_000_000)
    assert bill("text-embedding-ada-002", usage, tier="batch", answered=None) == mtok("0.05", 1_000_000)


def test_a_misspelt_tier_is_refused_and_not_priced_as_standard() -> None:
    with pytest.raises(UsageError, match="service_tier 'flexx' is unknown") as refused:
        prices("flexx")

    assert refused.value.exit_code == 2


def test_a_tier_that_nobody_knows_in_an_answer_costs_the_dearest() -> None:
    usage = Usage(input=1000, output=100)

    assert bill("gpt-6-luna", usage, answered="flexx") == mtok("0.2", 1000) + mtok("1", 100)
    assert REMARKS == ["service tier 'flexx' has no known price: charged as the dearest"]


def test_an_unknown_model_has_no_cost_and_is_said_to_have_none() -> None:
    assert bill("gpt-99", Usage(input=1000, output=100)) == 0
    assert REMARKS == ["model 'gpt-99' has no known price: its cost is not counted"]


def test_a_price_that_changes_at_midnight_splits_the_bill() -> None:
    """On 2026-07-30 the price of gpt-5.6-luna fell from 1 and 6 dollars to 0.20 and 1.20."""
    usage = Usage(input=1000, output=100)
    last = datetime(2026, 7, 29, 23, 59, 59, 999_999, tzinfo=UTC)
    first = datetime(2026, 7, 30, tzinfo=UTC)

    assert bill("gpt-5.6-luna", usage, at=last) == mtok("1", 1000) + mtok("6", 100)
    assert bill("gpt-5.6-luna", usage, at=first) == mtok("0.2", 1000) + mtok("1.2", 100)


def test_a_long_context_is_dearer_from_the_first_token_on_and_begins_above_272_000() -> None:
    assert bill("gpt-5.6-luna", Usage(272_000, 1000)) == mtok("0.2", 272_000) + mtok("1.2", 1000)
    assert bill("gpt-5.6-luna", Usage(272_001, 1000)) == mtok("0.4", 272_001) + mtok("1.8", 1000)


def test_cache_writes_cost_a_quarter_more_than_the_input() -> None:
    usage = Usage(input=1000, output=10, cache_write=600)

    assert bill("gpt-5.6-luna", usage) == mtok("0.2", 400) + mtok("0.25", 600) + mtok("1.2", 10)


def test_cached_reads_cost_their_own_price() -> None:
    usage = Usage(input=1000, output=10, cached=900)

    assert bill("gpt-5.6-luna", usage) == mtok("0.2", 100) + mtok("0.02", 900) + mtok("1.2", 10)
    assert bill("gpt-6.1-terra", usage) == mtok("1", 100) + mtok("0.05", 900) + mtok("5", 10)
    assert bill("gpt-4o-mini", usage) == mtok("0.15", 100) + mtok("0.075", 900) + mtok("0.6", 10)


def test_reasoning_tokens_are_inside_the_output_and_not_charged_twice() -> None:
    with_reasoning = Usage(input=1000, output=500, reasoning=450)

    assert bill("gpt-5.6-luna", with_reasoning) == mtok("0.2", 1000) + mtok("1.2", 500)


def test_flex_costs_half() -> None:
    usage = Usage(input=1000, output=100, cached=500)

    assert bill("gpt-5.6-luna", usage, tier="flex", answered="flex") == (
        mtok("0.1", 500) + mtok("0.01", 500) + mtok("0.6", 100)
    )


def test_a_flex_request_that_was_served_in_the_standard_tier_costs_the_whole() -> None:
    assert bill("gpt-5.6-luna", Usage(1000, 100), tier="flex") == mtok("0.2", 1000) + mtok("1.2", 100)


def test_a_fast_request_costs_twice_and_the_standard_price_where_it_was_downgraded() -> None:
    usage = Usage(input=1000, output=100)

    assert bill("gpt-5.6-luna", usage, tier="fast", answered="priority") == mtok("0.4", 1000) + mtok("2.4", 100)
    assert bill("gpt-5.6-luna", usage, tier="fast", answered="default") == mtok("0.2", 1000) + mtok("1.2", 100)
    assert REMARKS == []


def test_a_server_of_ones_own_costs_nothing() -> None:
    free = RequestPrices(load_price_book("free", []), tier=None, refuse_unknown=True, remark=REMARKS.append)
    asked = Request("/completions", b"{}", (), "llama", tokens=0, input_bound=9, output_bound=9)

    assert free.cost(asked, Response(200, {}, b"", usage=Usage(9, 9), model="llama"), NOW.timestamp()) == 0
    assert free.sources == {"free"}


def test_a_cost_says_where_its_price_is_from_and_of_which_day() -> None:
    standard, batch = prices(), prices("batch")
    asked = Request("/embeddings", b"{}", (), "text-embedding-3-small", tokens=0, input_bound=0, output_bound=0)
    for counted in (standard, batch):
        counted.cost(asked, Response(200, {}, b"", usage=Usage(1), model="text-embedding-3-small"), NOW.timestamp())

    assert standard.sources == {"genai-prices 0.2.3 of 2026-11-10"}
    assert batch.sources == {"prices.yaml on genai-prices 0.2.3 of 2026-11-20"}


def test_the_locked_genai_prices_has_its_date() -> None:
    lock = tomllib.loads((ROOT / "uv.lock").read_text())
    locked = next(package for package in lock["package"] if package["name"] == "genai-prices")

    assert _RELEASED[locked["version"]].isoformat() == locked["wheels"][0]["upload-time"][:10]
