from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.usage import MOST_TOKENS, UsageReading, read_usage
from pipeline.types import Json, Usage

BOUNDS = Usage(input=4000, output=500, estimated=True)


def read(block: Json, **changes: int) -> UsageReading:
    expected = {"input_bound": 4000, "output_bound": 500, "estimate": 1000, "items": 1, "min_output": 1, **changes}
    return read_usage(block, **expected)


def chat(tokens_in: Json = 1000, tokens_out: Json = 200, **more: Json) -> dict[str, Json]:
    return {"prompt_tokens": tokens_in, "completion_tokens": tokens_out, **more}


def test_a_chat_usage_is_read_with_its_details() -> None:
    block = chat(
        total_tokens=1200,
        prompt_tokens_details={"cached_tokens": 400, "cache_write_tokens": 100, "audio_tokens": 0},
        completion_tokens_details={"reasoning_tokens": 150},
    )

    assert read(block) == (Usage(1000, 200, 400, 100, 150), "")


def test_a_responses_usage_is_read_with_its_details() -> None:
    block = {
        "input_tokens": 1000,
        "input_tokens_details": {"cached_tokens": 400, "cache_write_tokens": 100},
        "output_tokens": 200,
        "output_tokens_details": {"reasoning_tokens": 150},
        "total_tokens": 1200,
    }

    assert read(block) == (Usage(1000, 200, 400, 100, 150), "")


def test_an_embeddings_usage_has_no_output() -> None:
    assert read({"prompt_tokens": 1000, "total_tokens": 1000}, output_bound=0, min_output=0) == (Usage(1000), "")


def test_an_embeddings_usage_with_a_total_only_is_all_input() -> None:
    assert read({"total_tokens": 1000}, output_bound=0, min_output=0) == (Usage(1000), "")


def test_an_embeddings_total_above_its_input_is_input() -> None:
    block = {"prompt_tokens": 400, "total_tokens": 1000}

    assert read(block, output_bound=0, min_output=0) == (Usage(1000), "")


def test_without_an_estimate_a_single_token_is_believed() -> None:
    assert read_usage(chat(1, 0), input_bound=4, output_bound=9) == (Usage(1, 0), "")


def test_reasoning_that_only_the_total_shows_is_output() -> None:
    block = chat(100, 20, total_tokens=170, completion_tokens_details={"reasoning_tokens": 50})

    assert read(block, estimate=100) == (Usage(100, 70, reasoning=50), "")


def test_a_total_below_the_sum_changes_nothing() -> None:
    assert read(chat(total_tokens=0)) == (Usage(1000, 200), "")


@pytest.mark.parametrize("details", [None, {}, {"cached_tokens": None}, {"audio_tokens": 0}, {"requests": 3}])
def test_absent_details_are_none(details: Json) -> None:
    assert read(chat(prompt_tokens_details=details)) == (Usage(1000, 200), "")


@pytest.mark.parametrize(
    "details",
    [
        {"prompt_tokens_details": {"text_tokens": 600, "audio_tokens": 400}},
        {"completion_tokens_details": {"audio_tokens": 1}},
        {"input_tokens_details": {"cached_tokens": 4}, "output_tokens_details": {"image_tokens": 7}},
    ],
)
def test_tokens_that_are_no_text_are_believed_and_remarked(details: Json) -> None:
    reading = read(chat(**details))

    assert (reading.usage.input, reading.usage.output, reading.remark) == (1000, 200, "not_text")


def test_predicted_tokens_are_text() -> None:
    block = chat(completion_tokens_details={"accepted_prediction_tokens": 3, "rejected_prediction_tokens": 9})

    assert read(block) == (Usage(1000, 200), "")


@pytest.mark.parametrize("block", [None, [], "usage", 7, True])
def test_a_missing_block_is_charged_at_the_bounds(block: Json) -> None:
    assert read(block) == (BOUNDS, "missing")


GARBAGE: list[Any] = [-1, 1.0, 3.5, True, False, float("nan"), float("inf"), "12", [], {}]


@pytest.mark.parametrize("bad", GARBAGE)
@pytest.mark.parametrize("field", ["prompt_tokens", "completion_tokens", "total_tokens"])
def test_a_count_that_is_none_is_charged_at_the_bounds(field: str, bad: Json) -> None:
    assert read({**chat(), field: bad}) == (BOUNDS, "invalid")


@pytest.mark.parametrize(
    "block",
    [{}, {"prompt_tokens": 1000}, {"completion_tokens": 200}, {"total_tokens": 1200}, chat(None), chat(1000, None)],
)
def test_half_a_block_is_charged_at_the_bounds(block: Json) -> None:
    assert read(block) == (BOUNDS, "invalid")


@pytest.mark.parametrize(
    "block",
    [
        chat(prompt_tokens_details={"cached_tokens": -1}),
        chat(prompt_tokens_details={"cached_tokens": 1.0}),
        chat(prompt_tokens_details={"cached_tokens": 1001}),
        chat(prompt_tokens_details={"cached_tokens": 600, "cache_write_tokens": 401}),
        chat(prompt_tokens_details=[1]),
        chat(completion_tokens_details={"reasoning_tokens": 201}),
        chat(completion_tokens_details={"reasoning_tokens": True}),
    ],
)
def test_parts_that_make_no_sense_are_charged_at_the_bounds(block: Json) -> None:
    assert read(block) == (BOUNDS, "invalid")


def test_garbage_in_an_embeddings_total_is_charged_at_the_bounds() -> None:
    reading = read({"prompt_tokens": 10, "total_tokens": -1}, output_bound=0, min_output=0)

    assert reading == (Usage(4000, estimated=True), "invalid")


def test_the_first_prompt_of_twenty_is_not_the_whole_batch() -> None:
    assert read(chat(50, 200), items=20) == (BOUNDS, "partial")


def test_two_equal_prompts_of_which_one_was_reported_are_noticed() -> None:
    assert read(chat(500, 200), items=2).remark == "partial"


@pytest.mark.parametrize(("reported", "remark"), [(599, "partial"), (600, "")])
def test_a_report_of_three_fifths_of_the_estimate_is_believed(reported: int, remark: str) -> None:
    # Two tokens for rounding: 3/5 of (1002 - 2) is 600.
    assert read(chat(reported, 200), items=2, estimate=1002).remark == remark


def test_one_item_is_believed_however_wrong_the_estimate() -> None:
    assert read(chat(3, 200)) == (Usage(3, 200), "")


@pytest.mark.parametrize("items", [1, 5])
def test_less_than_a_token_per_item_is_not_believed(items: int) -> None:
    assert read(chat(items - 1, 200), items=items, estimate=0) == (BOUNDS, "partial")


def test_less_than_a_token_per_choice_is_not_believed() -> None:
    assert read(chat(1000, 19), min_output=20) == (BOUNDS, "partial")
    assert read(chat(1000, 20), min_output=20) == (Usage(1000, 20), "")


def test_a_partial_report_above_a_bound_is_not_lowered() -> None:
    assert read(chat(50, 900), items=20) == (Usage(4000, 900, estimated=True), "partial")


@pytest.mark.parametrize(("tokens_in", "tokens_out"), [(4001, 200), (1000, 501)])
def test_more_than_the_bound_is_believed_and_remarked(tokens_in: int, tokens_out: int) -> None:
    assert read(chat(tokens_in, tokens_out)) == (Usage(tokens_in, tokens_out), "above_bound")


def test_exactly_the_bounds_are_believed() -> None:
    assert read(chat(4000, 500)) == (Usage(4000, 500), "")


def test_an_absurd_count_is_cut_to_what_a_ledger_can_add_up() -> None:
    assert read(chat(10**18, 10**18)) == (Usage(MOST_TOKENS, MOST_TOKENS), "above_bound")


def test_the_first_rule_that_applies_decides() -> None:
    partial_and_above = chat(1, 501)
    invalid_and_partial = chat(-1, 0)

    assert read(partial_and_above, items=20).remark == "partial"
    assert read(invalid_and_partial, items=20).remark == "invalid"


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
details = st.fixed_dictionaries(
    {}, optional=dict.fromkeys(("cached_tokens", "cache_write_tokens", "reasoning_tokens"), json_values)
)
WHOLES = ("prompt_tokens", "completion_tokens", "total_tokens", "input_tokens", "output_tokens")
PARTS = ("prompt_tokens_details", "completion_tokens_details", "input_tokens_details", "output_tokens_details")
blocks = st.fixed_dictionaries(
    {},
    optional={
        **dict.fromkeys(WHOLES, st.integers(0, 10**4) | json_values),
        **dict.fromkeys(PARTS, details | json_values),
    },
)


@given(blocks | json_values, st.integers(0, 5000), st.integers(0, 5000), st.integers(1, 20))
def test_whatever_is_reported_parts_stay_within_wholes_and_estimates_reach_the_bounds(
    block: Json, input_bound: int, output_bound: int, items: int
) -> None:
    usage, remark = read_usage(block, input_bound=input_bound, output_bound=output_bound, estimate=500, items=items)

    assert min(usage) >= 0
    assert usage.cached + usage.cache_write <= usage.input <= MOST_TOKENS
    assert usage.reasoning <= usage.output <= MOST_TOKENS
    assert usage.estimated == (remark in {"missing", "invalid", "partial"})
    if usage.estimated:
        assert usage.input >= input_bound
        assert usage.output >= output_bound


@given(st.integers(1, 10**6), st.floats(0.6, 1.4), st.integers(2, 20))
def test_an_honest_report_is_believed_while_the_estimate_is_at_most_forty_percent_off(
    truth: int, share: float, items: int
) -> None:
    truth = max(truth, items)
    estimate = int(truth / share)

    reading = read_usage(
        chat(truth, 0), input_bound=10 * truth, output_bound=9, estimate=estimate, items=items, min_output=0
    )

    assert reading == (Usage(truth, 0), "")
