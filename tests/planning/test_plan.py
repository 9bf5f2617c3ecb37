from __future__ import annotations

from pathlib import Path

import pytest
import tiktoken

from pipeline.config import Loaded, load
from pipeline.core.tokens import encoding_name
from pipeline.engine import UNBOUNDED_CHARGE
from pipeline.errors import UsageError
from pipeline.planning import plan
from pipeline.runner import run
from pipeline.storage.vocabulary import load as load_vocabulary
from tests.planning.inputs import CHAT, EMBEDDINGS, config, texts

USD = 1_000_000_000


def tokens(text: str, model: str = "text-embedding-3-small") -> int:
    vocabulary = load_vocabulary(encoding_name(model))
    assert isinstance(vocabulary, tiktoken.Encoding)
    return len(vocabulary.encode_ordinary(text))


async def test_embeddings_cost_their_counted_tokens_to_the_nano_dollar(tmp_path: Path) -> None:
    found = await plan(config(tmp_path, texts("a parcel", "came late", "again"), EMBEDDINGS))
    counted = tokens("a parcel") + tokens("came late") + tokens("again")

    assert (found.records, found.requests, found.tokens_input, found.exact) == (3, 1, counted, True)
    assert found.cost_least_nusd == found.cost_nusd == found.cost_bound_nusd == counted * 20
    assert found.price_source == "genai-prices 0.2.3 of 2026-11-10"


async def test_the_batch_api_would_cost_half_and_its_price_has_its_own_source(tmp_path: Path) -> None:
    found = await plan(config(tmp_path, texts("a parcel"), EMBEDDINGS))

    assert found.batch_api is not None
    assert found.batch_api.bound_nusd == tokens("a parcel") * 10
    assert found.batch_api.price_source == "prices.yaml on genai-prices 0.2.3 of 2026-11-20"


async def test_a_chat_costs_an_interval_by_kind_of_token(tmp_path: Path) -> None:
    found = await plan(config(tmp_path, texts("why?"), CHAT))
    count = found.tokens_input

    assert count == 3 + 3 + tokens("user", "gpt-5") + tokens("why?", "gpt-5")
    assert found.cost is not None
    assert found.cost.input_nusd == found.cost_nusd == count * 200
    assert found.cost.cached_nusd == found.cost_least_nusd == count * 20
    assert found.cost.output_bound_nusd == 100 * 1200
    assert found.cost_bound_nusd == count * 250 + 100 * 1200  # all of it written to the cache


async def test_without_a_limit_nothing_bounds_the_cost(tmp_path: Path) -> None:
    found = await plan(config(tmp_path, texts("why?"), CHAT, max_output_tokens=None, limits={"tpm": 1000}))

    assert (found.tokens_output_bound, found.cost_bound_nusd) == (None, None)
    assert found.cost is not None
    assert found.cost.output_bound_nusd is None
    assert found.cost_nusd == found.tokens_input * 200
    assert found.seconds == pytest.approx(60 * (found.tokens_input + UNBOUNDED_CHARGE) / 1000)


async def test_an_unknown_price_is_none_and_not_zero(tmp_path: Path) -> None:
    found = await plan(config(tmp_path, texts("why?"), CHAT, model="gpt-99"))

    assert (found.cost_least_nusd, found.cost_nusd, found.cost_bound_nusd, found.cost, found.batch_api) == (None,) * 5


async def test_a_flex_job_costs_half_and_at_most_what_the_standard_tier_costs(tmp_path: Path) -> None:
    found = await plan(config(tmp_path, texts("why?"), CHAT, params={"service_tier": "flex"}))

    assert found.cost_nusd == found.tokens_input * 100
    assert found.cost_bound_nusd == found.tokens_input * 250 + 100 * 1200


async def test_a_line_that_names_its_tier_costs_what_that_does(tmp_path: Path) -> None:
    body = {"model": "gpt-5.6-luna", "messages": [{"role": "user", "content": "why?"}], "max_completion_tokens": 10}
    lines = [
        {"custom_id": "a", "method": "POST", "url": "/v1/chat/completions", "body": {**body, **named}}
        for named in ({}, {"service_tier": "flex"}, {"service_tier": "priority"})
    ]
    found = await plan(config(tmp_path, lines, {"job": "chat"}))
    each = found.tokens_input // 3

    assert found.cost_nusd == each * 200 + each * 100 + each * 400


async def test_a_misspelt_tier_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="service_tier 'flexx' is unknown"):
        await plan(config(tmp_path, texts("why?"), CHAT, params={"service_tier": "flexx"}))


async def test_dead_letters_from_the_start_are_counted_by_code_with_the_first_places(tmp_path: Path) -> None:
    lines = [{"text": "good"}, b"{", {"other": 1}, b"", b"[]", b"{", b"{", b"{", {"text": " "}]
    found = await plan(config(tmp_path, lines, EMBEDDINGS))
    name = tmp_path / "in.jsonl"

    assert found.records == 8
    assert found.bad == {"incomplete": 4, "template": 1, "json_array": 1, "empty_input": 1}
    assert found.bad_examples["incomplete"] == [f"{name}:2", f"{name}:6", f"{name}:7"]
    assert found.bad_examples["empty_input"] == [f"{name}:9"]


async def test_records_that_are_too_long_are_dead_letters_or_cut_as_the_config_says(tmp_path: Path) -> None:
    lines = texts("short", "word " * 9000, "and " * 9000)
    refused = await plan(config(tmp_path, lines, EMBEDDINGS))
    cut = await plan(config(tmp_path, lines, EMBEDDINGS, too_long="truncate"))

    assert (refused.bad, refused.too_long, refused.tokens_input) == ({"too_long": 2}, 0, tokens("short"))
    assert (cut.bad, cut.too_long, cut.tokens_input) == ({}, 2, tokens("short") + 2 * 8192)


async def test_a_record_that_is_charged_more_than_the_limit_a_minute_can_never_be_sent(tmp_path: Path) -> None:
    found = await plan(config(tmp_path, texts("word " * 300, "short"), EMBEDDINGS, limits={"tpm": 200}))

    assert (found.bad, found.requests) == ({"request_too_large": 1}, 1)


async def test_a_budget_makes_lines_without_a_limit_dead_letters(tmp_path: Path) -> None:
    body = {"model": "gpt-5.6-luna", "messages": [{"role": "user", "content": "why?"}]}
    line = {"custom_id": "a", "method": "POST", "url": "/v1/chat/completions", "body": body}
    found = await plan(config(tmp_path, [line], {"job": "chat"}, budget={"hard_usd": 1}))

    assert found.bad == {"unbounded": 1}


async def test_records_that_say_the_same_are_counted_and_priced(tmp_path: Path) -> None:
    found = await plan(config(tmp_path, texts("one", "two words", "one", "two words", "two words"), EMBEDDINGS))
    repeated = tokens("one") + 2 * tokens("two words")

    assert found.duplicates is not None
    assert (found.duplicates.records, found.duplicates.tokens_input, found.duplicates.exact) == (3, repeated, True)
    assert found.duplicates.cost_nusd == repeated * 20


async def test_what_counts_is_what_would_be_sent_and_not_what_the_line_says(tmp_path: Path) -> None:
    lines = [{"text": "one", "id": number} for number in range(3)]
    found = await plan(config(tmp_path, lines, EMBEDDINGS))

    assert found.duplicates is not None
    assert found.duplicates.records == 2


async def test_the_time_is_that_of_the_limit_that_allows_least_and_all_are_said(tmp_path: Path) -> None:
    limits = {"rpm": 30, "tpm": 1_000_000, "per_second": 10, "concurrency": 4}
    found = await plan(config(tmp_path, texts(*"abcdefgh"), EMBEDDINGS, batch={"max_items": 1}, limits=limits))

    assert (found.seconds, found.bound_by, found.seconds_per_latency) == (16, "requests", 2)
    assert found.seconds_by == {
        "requests": 16,
        "tokens": pytest.approx(8 * 60 / 1_000_000),
        "requests a second": pytest.approx(0.8),
    }


async def test_without_limits_only_the_concurrency_bounds_the_time(tmp_path: Path) -> None:
    found = await plan(config(tmp_path, texts("a"), EMBEDDINGS, limits={"concurrency": 4}))

    assert (found.seconds, found.bound_by, found.seconds_by) == (0, "concurrency", {})
    assert found.seconds_per_latency == 0.25


async def test_batches_bound_by_tokens_are_packed_as_a_run_packs_them(tmp_path: Path) -> None:
    lines = texts(*("the parcel came late " * (number % 13 + 1) for number in range(300)))
    keys = {"batch": {"max_items": 2048, "max_tokens": 900}, "model": "simulator-hashing-256", "endpoint": "simulator"}
    loaded = config(tmp_path, lines, EMBEDDINGS, **keys)
    found = await plan(loaded)

    assert found.requests == await requests_of_a_run(loaded)


async def requests_of_a_run(loaded: Loaded) -> int:
    from pipeline.simulator import Options, Simulator  # noqa: PLC0415 - the one user

    async with Simulator(Options(engine="hashing")) as server:
        environ = {"SIMULATOR_BASE_URL": server.url, "PIPELINE_STATE": str(loaded.folder / "usage")}
        await run(load(loaded.path, {}, environ))
        return len(server.record.entries())


async def test_lines_that_bring_their_model_are_counted_with_its_vocabulary(tmp_path: Path) -> None:
    bodies = [{"model": "text-embedding-3-small", "input": text} for text in ("un colis est arrivé", "en retard")]
    lines = [{"custom_id": "a", "method": "POST", "url": "/v1/embeddings", "body": body} for body in bodies]
    found = await plan(config(tmp_path, lines, {"job": "embeddings"}))

    assert (found.model, found.exact) == ("text-embedding-3-small", True)
    assert found.tokens_input == tokens("un colis est arrivé") + tokens("en retard")


async def test_lines_of_models_with_other_vocabularies_are_not_said_to_be_counted(tmp_path: Path) -> None:
    bodies = [{"model": model, "prompt": "a", "max_tokens": 1} for model in ("gpt-4", "gpt-4o")]
    lines = [{"custom_id": "a", "method": "POST", "url": "/v1/completions", "body": body} for body in bodies]

    found = await plan(config(tmp_path, lines, {"job": "completions"}))

    assert not found.exact
    assert found.cost_bound_nusd is not None
    assert found.cost_nusd is not None
    assert found.cost_bound_nusd > found.cost_nusd + 60 * 1000 + 10 * 1000  # the second's input is estimated


async def test_a_model_of_unknown_vocabulary_has_estimated_tokens_and_a_wide_interval(tmp_path: Path) -> None:
    found = await plan(config(tmp_path, texts("why? " * 100), CHAT, model="gpt-6-luna"))

    assert not found.exact
    assert found.cost_nusd is not None
    assert found.cost_bound_nusd is not None
    assert found.cost_bound_nusd >= 1.4 * found.cost_nusd + 100 * 500


async def test_a_model_that_ends_too_soon_is_named_with_its_day(tmp_path: Path) -> None:
    gone = await plan(config(tmp_path, texts("why?"), CHAT, model="o1"))
    long = await plan(config(tmp_path, texts(*"a" * 25_000), CHAT, model="o3", limits={"rpm": 1}))
    fine = await plan(config(tmp_path, texts("why?"), CHAT))

    assert [(each.model, each.day) for each in (*gone.shutdowns, *long.shutdowns)] == [
        ("o1", "2026-10-23"),
        ("o3", "2026-12-11"),
    ]
    assert fine.shutdowns == []


async def test_a_plan_says_how_far_it_has_read(tmp_path: Path) -> None:
    heard: list[tuple[int, float | None]] = []
    lines = texts(*("word " * 200 for _ in range(3000)))
    await plan(config(tmp_path, lines, EMBEDDINGS), progress=lambda records, share: heard.append((records, share)))

    assert len(heard) > 2
    assert heard == sorted(heard)
    assert heard[-1] == (3000, 1.0)


async def test_an_empty_input_costs_nothing(tmp_path: Path) -> None:
    found = await plan(config(tmp_path, [], EMBEDDINGS))

    assert (found.records, found.requests, found.cost_nusd, found.cost_bound_nusd) == (0, 0, 0, 0)


async def test_a_local_server_is_free(tmp_path: Path) -> None:
    (tmp_path / "endpoints.yaml").write_text("mine: {base_url: 'http://localhost:8000/v1', prices: free}\n")
    found = await plan(config(tmp_path, texts("why?"), CHAT, endpoint="mine", model="llama"))

    assert (found.cost_least_nusd, found.cost_bound_nusd, found.price_source) == (0, 0, "free")
