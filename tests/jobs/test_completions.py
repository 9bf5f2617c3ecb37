from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai.types import Completion

from jobs.completions import Completions
from pipeline.errors import Malformed, Rejected
from pipeline.types import Item, Json
from tests.jobs.samples import Entries, batch_line, corruptions, record, spec, templates

USAGE = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}


def job_with(**changes: Json) -> Completions:
    return Completions(spec(templates=templates("prompt"), **changes))


def choice(index: Json, text: Json = "t", reason: str = "stop") -> Json:
    return {"index": index, "text": text, "finish_reason": reason, "logprobs": None}


def items(job: Completions, count: int) -> list[Item]:
    return [job.render(record(line, prompt=f"prompt {line}")) for line in range(1, count + 1)]


def fields(job: Completions, answer: Json) -> Json:
    return answer.code if isinstance(answer, Rejected) else job.fields(answer)


def response(choices: Entries) -> Json:
    return {"id": "cmpl-1", "object": "text_completion", "created": 5, "model": "m", "choices": choices, "usage": USAGE}


def test_prompts_are_packed_with_the_params() -> None:
    job = job_with(params={"temperature": 0, "stop": ["."]})

    assert job.body(items(job, 2)) == {
        "model": "m",
        "temperature": 0,
        "stop": ["."],
        "prompt": ["prompt 1", "prompt 2"],
    }


def test_a_single_prompt_is_a_text_for_servers_that_take_no_array() -> None:
    job = job_with()

    assert job.body(items(job, 1))["prompt"] == "prompt 1"


@pytest.mark.parametrize(
    ("params", "most", "sent", "bound"),
    [
        ({}, None, None, 16),
        ({}, 50, 50, 50),
        ({"max_tokens": 7}, 50, 7, 7),
        ({"max_tokens": 7, "n": 3}, None, 7, 21),
        ({"max_tokens": 7, "n": 3, "best_of": 5}, None, 7, 35),
        ({"n": None, "max_tokens": None}, 50, 50, 50),
    ],
)
def test_the_output_bound_is_what_the_request_allows(params: Json, most: int | None, sent: int, bound: int) -> None:
    job = job_with(params=params, max_output_tokens=most)
    item = items(job, 1)[0]

    assert job.body([item]).get("max_tokens") == sent
    assert item.output_tokens == bound


def test_a_batch_line_without_a_limit_gets_the_configs() -> None:
    job = job_with(max_output_tokens=50)
    item = job.render(batch_line("/v1/completions", prompt="a", n=2))

    assert job.body([item]) == {"model": "m", "prompt": "a", "n": 2, "max_tokens": 50}
    assert item.output_tokens == 100


@pytest.mark.parametrize("body", [{"prompt": "a"}, {"prompt": "a", "max_tokens": None}])
def test_where_a_budget_is_kept_the_apis_own_limit_is_put_into_the_request(body: Json) -> None:
    job = job_with(bounded=True)
    line = job.render(batch_line("/v1/completions", **body))
    templated = items(job, 1)[0]

    assert (job.body([line])["max_tokens"], line.output_tokens) == (16, 16)
    assert (job.body([templated])["max_tokens"], templated.output_tokens) == (16, 16)
    assert job.body([job.render(batch_line("/v1/completions", prompt="a", max_tokens=9))])["max_tokens"] == 9


def test_an_array_of_prompts_may_have_the_output_of_each() -> None:
    item = job_with().render(batch_line("/v1/completions", prompt=["a"] * 30, max_tokens=4, n=2))

    assert item.output_tokens == 30 * 4 * 2


@given(st.data())
def test_any_order_of_choices_finds_its_prompts(data: st.DataObject) -> None:
    count, n = data.draw(st.integers(1, 20)), data.draw(st.integers(1, 4))
    job = job_with(params={"n": n})
    order = data.draw(st.permutations(range(count * n)))
    answers = job.split(items(job, count), response([choice(index, f"{index // n}/{index % n}") for index in order]))
    texts = [[each["text"] for each in answer["choices"]] for answer in answers if not isinstance(answer, Rejected)]

    assert texts == [[f"{prompt}/{k}" for k in range(n)] for prompt in range(count)]


@given(
    st.tuples(st.integers(1, 20), st.integers(1, 4)).flatmap(
        lambda shape: st.tuples(st.just(shape), corruptions(shape[0] * shape[1]))
    )
)
def test_any_wrong_set_of_indexes_is_malformed(
    case: tuple[tuple[int, int], Callable[[Entries], Entries]],
) -> None:
    (count, n), corrupt = case
    job = job_with(params={"n": n})
    choices = corrupt([choice(index) for index in range(count * n)])

    with pytest.raises(Malformed):
        job.split(items(job, count), response(choices))


def test_one_choice_is_shown_as_text() -> None:
    job = job_with()
    answers = job.split(items(job, 2), response([choice(1, "b", "length"), choice(0, "a")]))

    assert [fields(job, answer) for answer in answers] == [
        {"text": "a", "finish_reason": "stop"},
        {"text": "b", "finish_reason": "length", "truncated": True},
    ]


def test_several_choices_are_shown_as_texts() -> None:
    job = job_with(params={"n": 2})
    answers = job.split(items(job, 1), response([choice(0, "a"), choice(1, "b", "length")]))

    assert fields(job, answers[0]) == {"texts": ["a", "b"], "finish_reasons": ["stop", "length"], "truncated": True}


@pytest.mark.parametrize(
    ("bad", "code"), [(choice(1, "x", "content_filter"), "content_filter"), (choice(1, None), "null_content")]
)
def test_a_record_without_a_usable_choice_is_rejected_alone(bad: Json, code: str) -> None:
    job = job_with()
    answers = job.split(items(job, 3), response([choice(0), bad, choice(2)]))

    assert [fields(job, answer) for answer in answers] == [
        {"text": "t", "finish_reason": "stop"},
        code,
        {"text": "t", "finish_reason": "stop"},
    ]


def test_one_usable_choice_of_several_is_an_answer() -> None:
    job = job_with(params={"n": 2})
    answers = job.split(items(job, 1), response([choice(0, None, "content_filter"), choice(1, "b")]))

    assert fields(job, answers[0]) == {"texts": [None, "b"], "finish_reasons": ["content_filter", "stop"]}


def test_packed_batch_lines_are_answered_in_the_apis_own_shape() -> None:
    job = job_with()
    lines = [job.render(batch_line("/v1/completions", line, prompt=f"p{line}", n=2)) for line in (1, 2)]
    answers = job.split(lines, response([choice(index, str(index)) for index in (3, 1, 0, 2)]))

    assert job.body(lines)["prompt"] == ["p1", "p2"]
    for answer, texts in zip(answers, [["0", "1"], ["2", "3"]], strict=True):
        assert not isinstance(answer, Rejected)
        assert answer.keys() == {"id", "object", "created", "choices"}
        parsed = Completion.model_validate({**answer, "model": "m", "usage": USAGE}, strict=True)
        assert [(each.index, each.text) for each in parsed.choices] == list(enumerate(texts))


@pytest.mark.parametrize(("value", "count"), [(["a"] * 30, 30), ([1, 2, 3], 1), ([[1, 2], [3]], 2)])
def test_an_array_in_a_batch_line_keeps_all_its_choices_in_order(value: Json, count: int) -> None:
    job = job_with()
    line = job.render(batch_line("/v1/completions", prompt=value, n=2))
    choices = [choice(index, str(index)) for index in reversed(range(2 * count))]
    answer = job.split([line], response(choices))[0]

    assert not isinstance(answer, Rejected)
    assert answer["choices"] == choices[::-1]
    with pytest.raises(Malformed):
        job.split([line], response(choices[1:]))
