from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai.types.chat import ChatCompletion

from jobs.chat import Chat
from pipeline.errors import Malformed, Rejected, UsageError
from pipeline.types import Item, Json
from tests.jobs.samples import Entries, batch_line, corruptions, field, record, spec, templates

USAGE = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
CALL = {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": "{}"}}


def job_with(**changes: Json) -> Chat:
    return Chat(spec(**{"templates": templates("prompt"), **changes}))


def message(content: Json = "t", **more: Json) -> Json:
    return {"role": "assistant", "content": content, "refusal": None, **more}


def choice(index: Json = 0, said: Json = None, reason: str = "stop") -> Json:
    return {"index": index, "message": said or message(), "finish_reason": reason, "logprobs": None}


def response(choices: Entries) -> Json:
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 5,
        "model": "m",
        "choices": choices,
        "usage": USAGE,
    }


def item(job: Chat) -> Item:
    return job.render(record(prompt="hello"))


def outcome(choices: Entries, **params: Json) -> Json:
    job = job_with(params=params)
    answer = job.split([item(job)], response(choices))[0]
    return answer.code if isinstance(answer, Rejected) else job.fields(answer)


def code_of(job: Chat, **data: Json) -> str:
    with pytest.raises(Rejected) as caught:
        job.render(record(**data))
    return caught.value.code


def test_system_and_prompt_become_messages() -> None:
    job = job_with(templates=templates("prompt", "system"), params={"temperature": 0})
    rendered = job.render(record(prompt="hello", system="be kind"))

    assert job.body([rendered]) == {
        "model": "m",
        "temperature": 0,
        "messages": [{"role": "system", "content": "be kind"}, {"role": "user", "content": "hello"}],
    }


def test_templates_with_roles_become_messages() -> None:
    job = job_with(templates={}, messages=[("user", field("a")), ("assistant", field("b")), ("user", field("c"))])

    assert job.render(record(a="1", b="2", c="3")).content == [
        {"role": "user", "content": "1"},
        {"role": "assistant", "content": "2"},
        {"role": "user", "content": "3"},
    ]


def test_ready_messages_are_taken_from_the_records_field() -> None:
    messages = [{"role": "user", "content": "hello", "name": "ann"}]
    job = job_with(templates={}, messages="talk")

    assert job.body([job.render(record(talk=messages))]) == {"model": "m", "messages": messages}


@pytest.mark.parametrize("data", [{}, {"talk": None}, {"talk": []}, {"talk": "hi"}, {"talk": ["hi"]}])
def test_a_field_that_holds_no_messages_rejects_the_record(data: Json) -> None:
    assert code_of(job_with(templates={}, messages="talk"), **data) == "invalid_messages"


def test_messages_and_prompt_together_are_a_usage_error() -> None:
    with pytest.raises(UsageError, match="not both"):
        job_with(messages="talk")


def test_without_messages_and_prompt_both_keys_are_named() -> None:
    with pytest.raises(UsageError, match="`messages:` or `prompt:`"):
        job_with(templates=templates("system")).render(record(system="a"))


def test_tokens_are_those_of_all_values_and_the_overheads() -> None:
    job = job_with(templates={}, messages="talk")
    messages = [
        {"role": "system", "content": "a b c"},
        {"role": "user", "content": [{"type": "text", "text": "d e"}], "name": "ann"},
    ]

    assert job.render(record(talk=messages)).input_tokens == 3 + (3 + 1 + 3) + (3 + 1 + 2 + 1 + 1)


def test_an_image_counts_as_one_at_high_detail() -> None:
    job = job_with(templates={}, messages="talk")
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}

    assert job.render(record(talk=[{"role": "user", "content": [image]}])).input_tokens >= 85 + 8 * 170


@pytest.mark.parametrize("content", [[5], ["text"], [], None, 5, {"a": 1}, [None]])
def test_strange_content_is_estimated_and_left_to_the_server(content: Json) -> None:
    messages = [{"role": "user", "content": content}]
    rendered = job_with().render(batch_line("/v1/chat/completions", messages=messages))

    assert rendered.content["messages"] == messages


def test_tools_count_as_input() -> None:
    tools = [{"type": "function", "function": {"name": "f", "description": "one two three four"}}]
    plain, with_tools = (item(job_with(params=params)).input_tokens for params in ({}, {"tools": tools}))

    assert with_tools > plain + 3


@pytest.mark.parametrize(
    ("params", "most", "sent", "bound"),
    [
        ({}, None, {}, None),
        ({}, 50, {"max_completion_tokens": 50}, 50),
        ({"max_tokens": 7}, 50, {"max_tokens": 7}, 7),
        ({"max_completion_tokens": 7, "n": 3}, 50, {"max_completion_tokens": 7, "n": 3}, 21),
        ({"max_completion_tokens": 7, "max_tokens": 9}, 50, {"max_completion_tokens": 7, "max_tokens": 9}, 9),
    ],
)
def test_the_output_bound_is_what_the_request_allows(
    params: Json, most: int | None, sent: Json, bound: int | None
) -> None:
    job = job_with(params=params, max_output_tokens=most)
    rendered = item(job)
    body = {key: value for key, value in job.body([rendered]).items() if key not in {"model", "messages"}}

    assert (body, rendered.output_tokens) == (sent, bound)


def test_a_batch_line_without_a_limit_gets_the_configs() -> None:
    job = job_with(max_output_tokens=50)
    messages = [{"role": "user", "content": "a"}]
    rendered = job.render(batch_line("/v1/chat/completions", messages=messages, n=2))

    assert job.body([rendered]) == {"model": "m", "messages": messages, "n": 2, "max_completion_tokens": 50}
    assert rendered.output_tokens == 100


def test_a_conversation_that_is_too_long_is_rejected() -> None:
    assert code_of(job_with(max_input_tokens=10), prompt="a b c d e f g h") == "too_long"


def test_a_conversation_of_exactly_the_limit_is_sent() -> None:
    assert item(job_with(max_input_tokens=3 + 3 + 2)).input_tokens == 8


def test_of_a_conversation_that_is_too_long_the_last_users_text_is_cut() -> None:
    job = job_with(
        templates={},
        messages=[("user", field("a")), ("user", field("b")), ("assistant", field("c"))],
        max_input_tokens=20,
        too_long="truncate",
    )
    rendered = job.render(record(a="a a", b="b1 b2 b3 b4 b5 b6 b7", c="c"))

    assert [each["content"] for each in rendered.content] == ["a a", "b1 b2", "c"]
    assert rendered.input_tokens == 20 == 3 + (4 + 2) + (4 + 2) + (4 + 1)


def test_a_conversation_whose_last_text_cannot_be_cut_enough_is_rejected() -> None:
    job = job_with(templates=templates("system", "prompt"), max_input_tokens=14, too_long="truncate")

    assert code_of(job, system="a b c", prompt="b") == "too_long"


def test_ready_messages_are_never_cut() -> None:
    job = job_with(templates={}, messages="talk", max_input_tokens=10, too_long="truncate")

    assert code_of(job, talk=[{"role": "user", "content": "a b c d e f g h"}]) == "too_long"


def test_a_batch_line_is_never_cut() -> None:
    job = job_with(max_input_tokens=10, too_long="truncate")
    messages = [{"content": "a b c d e f g h"}]

    with pytest.raises(Rejected) as caught:
        job.render(batch_line("/v1/chat/completions", messages=messages))
    assert caught.value.code == "too_long"


def test_a_batch_line_for_another_model_is_not_held_to_this_models_limit() -> None:
    messages = [{"role": "user", "content": "a b c d e f g h"}]
    line = batch_line("/v1/chat/completions", messages=messages, model="larger")

    assert job_with(max_input_tokens=10).render(line).input_tokens == 3 + 3 + 1 + 8


def test_an_answer_shows_text_and_finish_reason() -> None:
    assert outcome([choice()]) == {"text": "t", "finish_reason": "stop"}


def test_an_answer_cut_by_the_limit_is_marked() -> None:
    assert outcome([choice(reason="length")]) == {"text": "t", "finish_reason": "length", "truncated": True}


def test_tool_calls_show_the_whole_message() -> None:
    said = message(None, tool_calls=[CALL])

    assert outcome([choice(said=said, reason="tool_calls")]) == {
        "text": None,
        "finish_reason": "tool_calls",
        "message": said,
    }


@given(st.permutations(range(4)))
def test_any_order_of_choices_is_put_right(order: list[int]) -> None:
    shown = outcome([choice(index, message(str(index))) for index in order], n=4)

    assert shown == {
        "text": "0",
        "finish_reason": "stop",
        "texts": ["0", "1", "2", "3"],
        "finish_reasons": ["stop"] * 4,
    }


@given(st.integers(1, 4).flatmap(lambda count: st.tuples(st.just(count), corruptions(count))))
def test_any_wrong_set_of_indexes_is_malformed(case: tuple[int, Callable[[Entries], Entries]]) -> None:
    count, corrupt = case

    with pytest.raises(Malformed):
        outcome(corrupt([choice(index) for index in range(count)]), n=count)


@pytest.mark.parametrize(
    ("bad", "code"),
    [
        (choice(reason="content_filter"), "content_filter"),
        (choice(said=message(None, refusal="no")), "refusal"),
        (choice(said=message(None)), "null_content"),
        (choice(said=message(None), reason="length"), "null_content"),
        (choice(said=message(None, tool_calls=[])), "null_content"),
        ({"index": 0, "finish_reason": "stop"}, "null_content"),
        ({"index": 0, "message": "text"}, "null_content"),
    ],
)
def test_an_unusable_answer_is_rejected(bad: Json, code: str) -> None:
    assert outcome([bad]) == code


def test_one_usable_choice_of_several_is_an_answer() -> None:
    shown = outcome([choice(0, reason="content_filter", said=message(None)), choice(1)], n=2)

    assert shown["texts"] == [None, "t"]


def test_a_batch_line_is_answered_in_the_apis_own_shape() -> None:
    job = job_with()
    line = job.render(batch_line("/v1/chat/completions", messages=[{"role": "user", "content": "a"}], n=2))
    answer = job.split([line], {**response([choice(1), choice(0)]), "service_tier": "default"})[0]

    assert not isinstance(answer, Rejected)
    assert answer.keys() == {"id", "object", "created", "choices", "service_tier"}
    parsed = ChatCompletion.model_validate({**answer, "model": "m", "usage": USAGE}, strict=True)
    assert [each.index for each in parsed.choices] == [0, 1]
