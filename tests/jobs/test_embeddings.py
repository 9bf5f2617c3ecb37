from __future__ import annotations

import base64
from collections.abc import Callable, Sequence

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai.types import CreateEmbeddingResponse

from jobs.embeddings import Embeddings
from pipeline.errors import Malformed, Rejected
from pipeline.types import Item, Json
from tests.jobs.samples import Entries, Words, batch_line, corruptions, record, spec


def packed(numbers: Sequence[float]) -> str:
    return base64.b64encode(np.array(numbers, "<f4").tobytes()).decode()


def entry(index: Json, embedding: Json) -> Json:
    return {"object": "embedding", "index": index, "embedding": embedding}


def items(job: Embeddings, count: int) -> list[Item]:
    return [job.render(record(line, text=f"text {line}")) for line in range(1, count + 1)]


def shown(job: Embeddings, answer: Json) -> Json:
    """The embedding as it stands in the output file, or the code of the rejection."""
    if isinstance(answer, Rejected):
        return answer.code
    line = orjson.dumps(job.fields(answer)["embedding"], option=orjson.OPT_SERIALIZE_NUMPY)
    return orjson.loads(line)


def outcome(embeddings: Sequence[Json], **params: Json) -> list[Json]:
    job = Embeddings(spec(params=params))
    body = {"data": [entry(index, embedding) for index, embedding in enumerate(embeddings)]}
    return [shown(job, answer) for answer in job.split(items(job, len(embeddings)), body)]


def test_texts_are_packed_with_the_params_and_asked_for_as_base64() -> None:
    job = Embeddings(spec(params={"dimensions": 2}))

    assert job.body(items(job, 2)) == {
        "model": "m",
        "encoding_format": "base64",
        "dimensions": 2,
        "input": ["text 1", "text 2"],
    }


@pytest.mark.parametrize(("vectors", "kept"), [("floats", [1.0, 0.5]), ("base64", packed([1.0, 0.5]))])
def test_an_answer_has_the_shape_of_a_body_for_one_record(vectors: str, kept: Json) -> None:
    job = Embeddings(spec(vectors=vectors))
    body = {"data": [entry(1, packed([2.0, 3.0])), entry(0, packed([1.0, 0.5]))]}
    answer = orjson.loads(orjson.dumps(job.split(items(job, 2), body)[0], option=orjson.OPT_SERIALIZE_NUMPY))

    assert answer == {"object": "list", "data": [entry(0, kept)]}


def test_the_params_may_ask_for_decimals_on_the_wire() -> None:
    job = Embeddings(spec(params={"encoding_format": "float"}))

    assert job.body(items(job, 1))["encoding_format"] == "float"


def test_a_rendered_record_is_charged_its_estimate_and_has_no_output() -> None:
    item = Embeddings(spec()).render(record(text="a b c"))

    assert (item.input_tokens, item.output_tokens, item.group) == (3, 0, None)


def test_a_missing_field_rejects_the_record() -> None:
    with pytest.raises(Rejected) as caught:
        Embeddings(spec()).render(record(other="a"))

    assert caught.value.code == "missing_field"


def test_a_text_of_exactly_the_limit_is_sent() -> None:
    assert Embeddings(spec(max_input_tokens=4)).render(record(text="a b c d")).content == "a b c d"


def test_a_text_that_is_too_long_is_rejected_with_both_counts() -> None:
    with pytest.raises(Rejected, match="5 tokens; the model takes 4") as caught:
        Embeddings(spec(max_input_tokens=4)).render(record(text="a b c d e"))

    assert caught.value.code == "too_long"


def test_a_text_that_is_too_long_is_truncated_where_the_config_says_so() -> None:
    item = Embeddings(spec(max_input_tokens=4, too_long="truncate")).render(record(text="a b c d e"))

    assert (item.content, item.input_tokens) == ("a b c d", 4)


@pytest.mark.parametrize(("underestimate", "code"), [(2, "too_long"), (4, "")])
def test_only_an_estimate_above_70_percent_of_the_limit_is_counted_exactly(underestimate: int, code: str) -> None:
    job = Embeddings(spec(max_input_tokens=10, tokenizer=Words(underestimate)))
    seen = ""
    try:
        job.render(record(text="a b c d e f g h i j k"))
    except Rejected as error:
        seen = error.code

    assert seen == code


@given(st.data())
def test_any_order_of_vectors_finds_its_records(data: st.DataObject) -> None:
    job = Embeddings(spec())
    count = data.draw(st.integers(1, 20))
    order = data.draw(st.permutations(range(count)))
    body = {"data": [entry(index, packed([index, 0.5])) for index in order]}
    answers = job.split(items(job, count), body)

    assert [shown(job, answer) for answer in answers] == [[index, 0.5] for index in range(count)]


@given(st.integers(1, 20).flatmap(lambda count: st.tuples(st.just(count), corruptions(count))))
def test_any_wrong_set_of_indexes_is_malformed(case: tuple[int, Callable[[Entries], Entries]]) -> None:
    count, corrupt = case
    job = Embeddings(spec())
    entries = corrupt([entry(index, packed([1.0])) for index in range(count)])

    with pytest.raises(Malformed):
        job.split(items(job, count), {"data": entries})


@pytest.mark.parametrize("body", [None, [], "text", 3, {}, {"data": None}, {"data": {}}, {"error": {"code": "x"}}])
def test_a_body_of_another_shape_is_malformed(body: Json) -> None:
    job = Embeddings(spec())

    with pytest.raises(Malformed):
        job.split(items(job, 1), body)


@given(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=1, max_size=8))
def test_every_finite_float32_survives_the_way_to_the_output(numbers: list[float]) -> None:
    assert np.array(outcome([packed(numbers)])[0], np.float32).tobytes() == np.array(numbers, np.float32).tobytes()


def test_a_float32_is_written_with_the_fewest_digits_that_name_it() -> None:
    job = Embeddings(spec())
    answer = job.split(items(job, 1), {"data": [entry(0, packed([0.1]))]})[0]

    assert not isinstance(answer, Rejected)
    assert orjson.dumps(job.fields(answer), option=orjson.OPT_SERIALIZE_NUMPY) == b'{"embedding":[0.1]}'


def test_a_server_that_ignores_base64_is_understood() -> None:
    assert outcome([[0.25, -1.5], [1, 0]]) == [[0.25, -1.5], [1, 0]]


def test_vectors_may_stay_base64() -> None:
    job = Embeddings(spec(vectors="base64"))
    body = {"data": [entry(0, packed([0.25, -1.5])), entry(1, [0.25, -1.5]), entry(2, None)]}
    answers = job.split(items(job, 3), body)

    assert [shown(job, answer) for answer in answers] == [packed([0.25, -1.5]), packed([0.25, -1.5]), "bad_vector"]


@pytest.mark.parametrize(
    "bad",
    [
        None,
        "",
        [],
        {},
        5,
        "not base64!",
        "AAA=",
        packed([1.0, float("nan")]),
        packed([float("inf"), 1.0]),
        packed([1.0, float("-inf")]),
        [1.0, None],
        [1.0, "2.0"],
        [[1.0, 2.0]],
        [float("nan"), 1.0],
        [float("inf"), 1.0],
        [float("inf"), float("-inf")],
        packed([1.0, 2.0])[:4] + "!" + packed([1.0, 2.0])[4:],
        packed([1.0]),
        packed([1.0, 2.0, 3.0]),
        [1.0],
    ],
)
def test_a_bad_vector_rejects_its_record_alone(bad: Json) -> None:
    good = packed([1.0, 2.0])

    assert outcome([good, bad, good]) == [[1.0, 2.0], "bad_vector", [1.0, 2.0]]


@pytest.mark.parametrize("empty", ["", []])
def test_an_empty_vector_is_bad_even_where_all_are_empty(empty: Json) -> None:
    assert outcome([empty, empty]) == ["bad_vector", "bad_vector"]


def test_a_decimal_beyond_float32_is_no_finite_base64_vector() -> None:
    job = Embeddings(spec(vectors="base64"))

    assert shown(job, job.split(items(job, 1), {"data": [entry(0, [1e300])]})[0]) == "bad_vector"


def test_of_two_lengths_the_longer_is_right_where_nothing_else_tells() -> None:
    assert outcome([packed([1.0]), packed([1.0, 2.0])]) == ["bad_vector", [1.0, 2.0]]


def test_the_dimensions_that_were_asked_for_are_the_length_that_is_right() -> None:
    assert outcome([packed([1.0] * 3), packed([1.0] * 3), packed([1.0] * 2)], dimensions=2) == [
        "bad_vector",
        "bad_vector",
        [1.0, 1.0],
    ]


def test_a_server_that_ignores_dimensions_is_told_of_as_such() -> None:
    job = Embeddings(spec(params={"dimensions": 64}))
    answer = job.split(items(job, 1), {"data": [entry(0, packed([1.0] * 576))]})[0]

    assert isinstance(answer, Rejected)
    assert "576 dimensions where 64 were asked for" in answer.message
    assert "`dimensions`" in answer.message


def test_packed_batch_lines_are_answered_in_the_apis_own_shape() -> None:
    job = Embeddings(spec())
    lines = [job.render(batch_line("/v1/embeddings", line, input=f"text {line}")) for line in (1, 2)]
    answers = job.split(lines, {"data": [entry(1, [0.3, 0.4]), entry(0, [0.1, 0.2])]})

    assert answers == [
        {"object": "list", "data": [entry(0, [0.1, 0.2])]},
        {"object": "list", "data": [entry(0, [0.3, 0.4])]},
    ]
    for answer in answers:
        assert not isinstance(answer, Rejected)
        usage = {"prompt_tokens": 2, "total_tokens": 2}
        parsed = CreateEmbeddingResponse.model_validate({**answer, "model": "m", "usage": usage}, strict=True)
        assert len(parsed.data[0].embedding) == 2


def test_a_batch_lines_vector_stays_as_the_server_sent_it() -> None:
    job = Embeddings(spec(vectors="base64"))
    line = job.render(batch_line("/v1/embeddings", input="a", encoding_format="base64"))
    number = 1.234567890123456e100
    base64_answer, list_answer = (job.split([line], {"data": [entry(0, wire)]})[0] for wire in (packed([1]), [number]))

    assert base64_answer == {"object": "list", "data": [entry(0, packed([1]))]}
    assert list_answer == {"object": "list", "data": [entry(0, [number])]}


@pytest.mark.parametrize(("value", "count"), [(["a", "b"], 2), ([1, 2, 3], 1), ([[1, 2], [3]], 2)])
def test_an_array_in_a_batch_line_keeps_all_its_vectors_in_order(value: Json, count: int) -> None:
    job = Embeddings(spec())
    line = job.render(batch_line("/v1/embeddings", input=value))
    body = {"data": [entry(index, [float(index)]) for index in reversed(range(count))]}

    assert job.split([line], body) == [
        {"object": "list", "data": [entry(index, [float(index)]) for index in range(count)]}
    ]
    with pytest.raises(Malformed):
        job.split([line], {"data": body["data"][1:]})


def test_one_bad_vector_of_an_array_rejects_its_line() -> None:
    job = Embeddings(spec())
    line = job.render(batch_line("/v1/embeddings", input=["a", "b"]))
    answer = job.split([line], {"data": [entry(0, [1.0]), entry(1, None)]})[0]

    assert isinstance(answer, Rejected)
