import subprocess
import sys
from datetime import UTC, datetime
from decimal import ROUND_CEILING, Decimal
from pathlib import Path

import genai_prices
import pytest
from genai_prices.data_snapshot import get_snapshot
from genai_prices.types import ModelInfo
from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.pricing import FREE, PriceBook, Rates
from pipeline.errors import UsageError
from pipeline.storage.prices import load_price_book, price_files
from pipeline.types import Usage

BUILTIN = Path(__file__).parents[2] / "configs" / "prices.yaml"
USD = 1_000_000_000
NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
SOURCE = f"genai-prices {genai_prices.__version__}"


def at(day: str) -> float:
    return datetime.fromisoformat(day).replace(tzinfo=UTC).timestamp()


def book(tmp_path: Path, text: str, provider: str = "openai") -> PriceBook:
    path = tmp_path / "prices.yaml"
    path.write_text(text)
    return load_price_book(provider, [path, BUILTIN])


def nano(usd: str) -> int:
    return round(float(usd) * USD)


OPENAI = load_price_book("openai", [BUILTIN])


# --- genai-prices behind the files


def test_luna_costs_what_openai_says_with_cache_and_long_input() -> None:
    price = OPENAI.price("gpt-5.6-luna", "default", NOW.timestamp())

    assert price is not None
    assert price.rates == Rates.of(nano("0.2"), nano("1.2"), cached=nano("0.02"), cache_write=nano("0.25"))
    assert price.long_input == (
        (272_000, Rates.of(nano("0.4"), nano("1.8"), cached=nano("0.04"), cache_write=nano("0.5"))),
    )
    assert price.source == SOURCE


def test_luna_has_its_own_prices_for_flex_fast_and_batch() -> None:
    found = [OPENAI.known_price("gpt-6-luna", tier, NOW.timestamp()) for tier in (None, "flex", "fast", "batch")]

    assert [price.rates.input for price in found] == [nano("0.1"), nano("0.05"), nano("0.2"), nano("0.05")]
    assert [price.rates.output for price in found] == [nano("0.5"), nano("0.25"), nano("1"), nano("0.25")]


def test_a_model_that_another_provider_lends_has_its_standard_price_only() -> None:
    azure = load_price_book("azure", [])

    assert azure.price("gpt-6-luna", "default", NOW.timestamp()) == OPENAI.price("gpt-6-luna", None, NOW.timestamp())
    assert azure.price("gpt-6-luna", "batch", NOW.timestamp()) == azure.price("gpt-6-luna", None, NOW.timestamp())
    assert azure.price("gpt-6-luna", "fast", NOW.timestamp()) is None


def test_an_old_request_costs_what_it_cost_on_its_day() -> None:
    before = OPENAI.price("gpt-5.6-luna", None, at("2026-07-29T23:59:59"))
    after = OPENAI.price("gpt-5.6-luna", None, at("2026-07-30T00:00:00"))

    assert before is not None
    assert after is not None
    assert (before.rates.input, after.rates.input) == (nano("1"), nano("0.2"))


def test_off_peak_hours_have_their_price() -> None:
    deepseek = load_price_book("deepseek", [BUILTIN])
    rates = [
        price.rates.input
        for hour in ("00:59", "01:00", "03:59", "04:00")
        if (price := deepseek.price("deepseek-v4-flash", None, at(f"2026-11-21T{hour}:30")))
    ]

    assert rates == [nano("0.15"), nano("0.30"), nano("0.30"), nano("0.15")]


def test_models_and_providers_that_nobody_knows_have_no_price() -> None:
    assert OPENAI.price("gpt-99", None, NOW.timestamp()) is None
    assert load_price_book("nobody", [BUILTIN]).price("gpt-4o", None, NOW.timestamp()) is None


def test_models_that_are_not_billed_by_token_have_no_price() -> None:
    assert OPENAI.price("whisper-1", None, NOW.timestamp()) is None


def test_models_without_any_price_in_the_data_are_unknown_and_not_free() -> None:
    copilot = load_price_book("github-copilot", [])

    assert copilot.price("gpt-4o", None, NOW.timestamp()) is None


def test_a_fast_request_to_a_model_without_a_fast_price_is_unknown() -> None:
    assert OPENAI.price("gpt-4", "fast", NOW.timestamp()) is None
    assert OPENAI.price("gpt-6-luna", "fast", NOW.timestamp()) == OPENAI.price(
        "gpt-6-luna", "priority", NOW.timestamp()
    )


def test_a_fee_per_request_is_kept() -> None:
    sonar = load_price_book("perplexity", []).price("sonar", None, NOW.timestamp())

    assert sonar is not None
    assert sonar.cost(Usage(input=100, output=50)) == 12 * USD // 1000 + 150 * 1000


def test_a_local_server_is_free() -> None:
    free = load_price_book("free", [])

    assert [free.price("any", tier, NOW.timestamp()) for tier in (None, "flex", "fast", "batch")] == [FREE] * 4


def is_text(model: ModelInfo) -> bool:
    prices = vars(model.get_prices(NOW))
    token_kinds = {"input_mtok", "output_mtok", "cache_read_mtok", "cache_write_mtok", "output_reasoning_mtok"}
    return prices.get("input_mtok") is not None and all(
        value is None or key in token_kinds or key.endswith("_kcount") for key, value in prices.items()
    )


PROVIDER = next(provider for provider in get_snapshot().providers if provider.id == "openai")
TEXT_MODELS = {
    name: model
    for model in PROVIDER.models
    for name in (model.id, f"{model.id}:org::id", f"{model.id}x:org::id", f"{model.id}-2024-08-06:org::id")
    if is_text(model) and PROVIDER.find_model(name) is model
}
CONTEXTS = {
    "standard": {},
    "flex": {"service_tier": "flex"},
    "priority": {"service_tier": "priority"},
    "batch": {"processing": "batch"},
}


@st.composite
def usages(draw: st.DrawFn) -> Usage:
    whole_in, whole_out = draw(st.integers(0, 600_000)), draw(st.integers(0, 100_000))
    cached = draw(st.integers(0, whole_in))
    written = draw(st.integers(0, whole_in - cached))
    return Usage(whole_in, whole_out, cached, written, draw(st.integers(0, whole_out)))


past = st.datetimes(datetime(2025, 1, 1), datetime(2026, 11, 21), timezones=st.just(UTC))  # noqa: DTZ001 - see timezones
days = st.just(NOW) | past


@given(st.sampled_from(sorted(TEXT_MODELS)), st.sampled_from(sorted(CONTEXTS)), days, usages())
def test_costs_equal_those_of_genai_prices(name: str, tier: str, day: datetime, usage: Usage) -> None:
    model, context = TEXT_MODELS[name], CONTEXTS[tier]
    price = OPENAI.price(name, tier, day.timestamp())
    if price is None:
        assert tier == "priority"
        assert model.get_prices(day, context) == model.get_prices(day)
        return
    theirs = model.calc_price(
        genai_prices.Usage(
            input_tokens=usage.input,
            output_tokens=usage.output,
            cache_read_tokens=usage.cached,
            cache_write_tokens=usage.cache_write,
            output_reasoning_tokens=usage.reasoning,
        ),
        PROVIDER,
        genai_request_timestamp=day,
        price_context=context,
    ).total_price

    if tier == "batch" and model.id.startswith("text-embedding-"):
        theirs /= 2
    assert price.cost(usage) == int((theirs * USD).to_integral_value(ROUND_CEILING))


def test_the_comparison_covers_chat_and_embedding_models() -> None:
    covered = {model.id for model in TEXT_MODELS.values()}

    assert {"gpt-6-luna", "gpt-5.4", "gpt-4o-mini", "o3", "text-embedding-3-small"} <= covered
    assert len(covered) > 60


def test_genai_prices_is_imported_at_the_first_look_up_only() -> None:
    code = (
        "import sys; from pathlib import Path; from pipeline.storage.prices import load_price_book\n"
        f"book = load_price_book('simulator', [Path({str(BUILTIN)!r})])\n"
        "book.price('simulator-text-1', None, 1.8e9)\n"
        "assert 'genai_prices' not in sys.modules\n"
    )

    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


# --- the built-in file


def test_embeddings_in_the_batch_api_cost_half() -> None:
    price = OPENAI.price("text-embedding-3-small", "batch", NOW.timestamp())

    assert price is not None
    assert price.cost(Usage(input=1_000_000)) == nano("0.01")
    assert price.source == f"prices.yaml on {SOURCE}"
    assert OPENAI.price("text-embedding-3-small", None, NOW.timestamp()) != price


@pytest.mark.parametrize("model", ["omni-moderation-latest", "text-moderation-stable"])
def test_moderation_is_known_to_cost_nothing(model: str) -> None:
    price = OPENAI.known_price(model, None, NOW.timestamp())

    assert price.bound(10**6, 0) == 0


def test_the_simulators_invented_prices() -> None:
    simulator = load_price_book("simulator", [BUILTIN])
    text = simulator.known_price("simulator-text-1", None, NOW.timestamp())
    embeddings = simulator.known_price("simulator-wordllama-256", None, NOW.timestamp())

    assert text.cost(Usage(input=1000, output=100, cached=400)) == 600 * 150 + 400 * 75 + 100 * 600
    assert embeddings.cost(Usage(input=1000)) == 1000 * 20
    assert simulator.known_price("simulator-hashing-256", None, NOW.timestamp()).rates == embeddings.rates


# --- a user's file


OVERRIDE = """
openai:
  gpt-6-luna:
    - from: 2026-01-01
      checked: 2026-01-02
      input_usd_per_mtok: 0.08
      cached_usd_per_mtok: 0.008
      cache_write_usd_per_mtok: 0.1
      output_usd_per_mtok: 0.4
      reasoning_usd_per_mtok: 0.3
      long_input: {above: 272_000, input_usd_per_mtok: 0.16, output_usd_per_mtok: 0.6}
      flex: 0.5
      batch: {input_usd_per_mtok: 0.03, output_usd_per_mtok: 0.2}
    - from: 2026-11-01
      input_usd_per_mtok: 0.05
      output_usd_per_mtok: 0.25
"""


def test_an_override_comes_before_genai_prices_from_its_day_on(tmp_path: Path) -> None:
    prices = book(tmp_path, OVERRIDE)
    found = [prices.known_price("gpt-6-luna", None, at(day)) for day in ("2025-12-31", "2026-01-01", "2026-11-01")]

    assert [price.source for price in found] == [SOURCE, "prices.yaml", "prices.yaml"]
    assert [price.rates.input for price in found] == [nano("0.1"), nano("0.08"), nano("0.05")]


def test_every_key_of_an_entry_is_a_price(tmp_path: Path) -> None:
    price = book(tmp_path, OVERRIDE).known_price("GPT-6-Luna", "default", at("2026-06-01"))

    assert price.rates == Rates(nano("0.08"), nano("0.008"), nano("0.1"), nano("0.4"), nano("0.3"))
    assert price.long_input == ((272_000, Rates.of(nano("0.16"), nano("0.6"))),)
    assert price.checked is not None
    assert price.checked.isoformat() == "2026-01-02"


def test_a_tier_is_a_factor_on_the_standard_price_or_has_its_own(tmp_path: Path) -> None:
    prices = book(tmp_path, OVERRIDE)
    flex = prices.known_price("gpt-6-luna", "flex", at("2026-06-01"))
    batch = prices.known_price("gpt-6-luna", "batch", at("2026-06-01"))

    assert flex.rates == Rates(nano("0.04"), nano("0.004"), nano("0.05"), nano("0.2"), nano("0.15"))
    assert flex.long_input == ((272_000, Rates.of(nano("0.08"), nano("0.3"))),)
    assert batch.rates == Rates.of(nano("0.03"), nano("0.2"))
    assert prices.price("gpt-6-luna", "priority", at("2026-06-01")) is None


def test_the_greatest_factor_is_a_hundred(tmp_path: Path) -> None:
    prices = book(tmp_path, "openai:\n  gpt-6-luna: [{from: 2026-01-01, batch: 100}]\n")

    assert prices.known_price("gpt-6-luna", "batch", NOW.timestamp()).rates.input == 100 * nano("0.1")


def test_a_factor_is_rounded_up_to_the_nano_dollar_per_million(tmp_path: Path) -> None:
    text = "x:\n  m: [{from: 2026-01-01, input_usd_per_mtok: 0.000000001, output_usd_per_mtok: 0, flex: 0.5}]\n"

    assert book(tmp_path, text, "x").known_price("m", "flex", NOW.timestamp()).rates.input == 1


def test_an_exact_name_comes_before_a_prefix_and_a_long_prefix_before_a_short_one(tmp_path: Path) -> None:
    entry = "[{{from: 2026-01-01, input_usd_per_mtok: {}, output_usd_per_mtok: 0}}]"
    text = "x:\n" + "".join(
        f"  {name}: {entry.format(usd)}\n" for name, usd in [("a*", 1), ("a-b*", 2), ("a-b", 3), ("'*'", 4)]
    )
    prices = book(tmp_path, text, "x")

    found = [prices.known_price(model, None, NOW.timestamp()).rates.input // USD for model in ("a", "a-bc", "a-b", "q")]
    assert found == [1, 2, 3, 4]


def test_a_name_without_an_entry_for_the_day_leaves_it_to_a_prefix(tmp_path: Path) -> None:
    text = """
x:
  a: [{from: 2026-06-01, input_usd_per_mtok: 1, output_usd_per_mtok: 0}]
  a*: [{from: 2026-01-01, input_usd_per_mtok: 2, output_usd_per_mtok: 0}]
"""
    assert book(tmp_path, text, "x").known_price("a", None, at("2026-03-01")).rates.input == 2 * USD


def test_a_near_file_comes_before_a_far_one(tmp_path: Path) -> None:
    text = "simulator:\n  simulator-text-1: [{from: 2026-01-01, input_usd_per_mtok: 9, output_usd_per_mtok: 9}]\n"
    simulator = book(tmp_path, text, "simulator")

    assert simulator.known_price("simulator-text-1", None, NOW.timestamp()).rates.input == 9 * USD
    assert simulator.known_price("simulator-text-1", None, at("2025-01-01")).rates.input == nano("0.15")
    assert simulator.known_price("simulator-hashing-256", None, NOW.timestamp()).rates.input == nano("0.02")


def test_files_are_looked_for_beside_the_config_then_at_home_then_built_in() -> None:
    builtin = Path("/usr/lib/pipeline/prices.yaml")

    assert price_files(Path("/job"), Path("/home/me/.config"), builtin) == [
        Path("/job/prices.yaml"),
        Path("/home/me/.config/pipeline/prices.yaml"),
        builtin,
    ]
    assert price_files(Path("/job"), None, builtin) == [Path("/job/prices.yaml"), builtin]


def test_an_empty_or_missing_file_changes_nothing(tmp_path: Path) -> None:
    empty = tmp_path / "empty.yaml"
    empty.write_text("# nothing yet\n")
    prices = load_price_book("openai", [empty, tmp_path / "missing.yaml"])

    assert prices.known_price("gpt-6-luna", None, NOW.timestamp()).source == SOURCE


GOOD = "from: 2026-01-01, input_usd_per_mtok: 1, output_usd_per_mtok: 1"


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("- 1", "1: prices.yaml: must be a mapping of providers"),
        ("x: 1", "1: x: must be a mapping"),
        ("x:\n  m: 1", "2: x.m: must be a list of dated entries"),
        ("x:\n  m: [1]", "2: x.m: must be a list of dated entries"),
        ("x:\n  1: []", "2: x.1: must be a name, or a prefix that ends in *"),
        ("x:\n  a*b: []", "2: x.a*b: must be a name, or a prefix that ends in *"),
        ("x:\n  m:\n    - {from: 2026-01-01}", "3: x.m.from: the entry has no price"),
        ("x:\n  m:\n    - {input_usd_per_mtok: 1}", "3: x.m.from: is missing: the first day of the price"),
        ("x:\n  m:\n    - {from: soon, batch: 1}", "3: x.m.from: must be a day, such as 2026-11-01"),
        (f"x:\n  m:\n    - {{{GOOD}, checked: 5}}", "3: x.m.checked: must be a day"),
        (
            "x:\n  m:\n    - from: 2026-01-01\n      imput_usd_per_mtok: 1",
            "4: x.m.imput_usd_per_mtok: unknown key (did you mean 'input_usd_per_mtok'?)",
        ),
        (
            "x:\n  m:\n    - {from: 2026-01-01, input_usd_per_mtok: 1}",
            "3: x.m.output_usd_per_mtok: is missing; write 0 where there is no output",
        ),
        (
            "x:\n  m:\n    - {from: 2026-01-01, output_usd_per_mtok: 1}",
            "3: x.m.input_usd_per_mtok: is missing",
        ),
        ("x:\n  m:\n    - {from: 2026-01-01, batch: true}", "3: x.m.batch: must be a number"),
        ("x:\n  m:\n    - {from: 2026-01-01, batch: -0.5}", "3: x.m.batch: must be from 0 to 100"),
        ("x:\n  m:\n    - {from: 2026-01-01, batch: .nan}", "3: x.m.batch: must be a number"),
        ("x:\n  m:\n    - {from: 2026-01-01, batch: .inf}", "3: x.m.batch: must be a number"),
        ("x:\n  m:\n    - {from: 2026-01-01, batch: '1'}", "3: x.m.batch: must be a number"),
        (
            "x:\n  m:\n    - {from: 2026-01-01, batch: {input_usd_per_mtok: 1, from: 2}}",
            "3: x.m.batch.from: unknown key",
        ),
        (
            "x:\n  m:\n    - {from: 2026-01-01, input_usd_per_mtok: 2e6, output_usd_per_mtok: 1}",
            "3: x.m.input_usd_per_mtok: must be from 0 to 1,000,000",
        ),
        (
            "x:\n  m:\n    - {from: 2026-01-01, input_usd_per_mtok: 1e-10, output_usd_per_mtok: 1}",
            "3: x.m.input_usd_per_mtok: has more than nine decimals",
        ),
        (f"x:\n  m:\n    - {{{GOOD}, long_input: {{above: 0}}}}", "3: x.m.long_input.above: must be a number of"),
        (f"x:\n  m:\n    - {{{GOOD}, long_input: 5}}", "3: x.m.long_input: must be a mapping"),
        (f"x:\n  m:\n    - {{{GOOD}}}\n    - {{{GOOD}}}", "4: x.m.from: must be later than in the entry above"),
        (f"x:\n  m:\n    - {{{GOOD}, long_input: {{above: 1}}}}", "3: x.m.long_input.input_usd_per_mtok: is missing"),
        ("x:\n  m: 'open\n", "3: not YAML: "),
        ("x: 1\nx: 2", "not YAML: found duplicate key"),
    ],
)
def test_a_file_that_is_no_price_list_is_refused_with_file_line_and_key(
    tmp_path: Path, text: str, complaint: str
) -> None:
    with pytest.raises(UsageError) as refused:
        book(tmp_path, text, "x")

    assert refused.value.exit_code == 2
    assert str(refused.value).startswith(f"{tmp_path / 'prices.yaml'}:")
    assert complaint in str(refused.value)


def test_a_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "prices.yaml"
    path.write_bytes(b"\xff\xfe\x00x")

    with pytest.raises(UsageError, match=r"prices\.yaml:1: "):
        load_price_book("openai", [path])


def test_a_price_is_exact_however_it_is_written(tmp_path: Path) -> None:
    text = "x:\n  m: [{from: 2026-01-01, input_usd_per_mtok: 0.0028, output_usd_per_mtok: 1.10}]\n"

    assert book(tmp_path, text, "x").known_price("m", None, NOW.timestamp()).rates == Rates.of(
        int(Decimal("0.0028") * USD), int(Decimal("1.10") * USD)
    )
