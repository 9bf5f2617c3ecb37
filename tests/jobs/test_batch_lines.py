from __future__ import annotations

import orjson
import pytest
from openai.types import completion_create_params, embedding_create_params, moderation_create_params
from openai.types.chat import completion_create_params as chat_create_params

from jobs import chat, completions, embeddings, moderations
from jobs.chat import Chat
from jobs.completions import Completions
from jobs.embeddings import Embeddings
from jobs.moderations import Moderations
from pipeline.errors import Rejected, UsageError
from pipeline.job import Job
from pipeline.types import Json, Record
from tests.jobs.samples import batch_line, record, spec, templates

MESSAGES = [{"role": "user", "content": "a b"}]
JOBS: list[tuple[type[Embeddings | Completions | Chat | Moderations], dict[str, Json]]] = [
    (Embeddings, {"input": "a b"}),
    (Completions, {"prompt": "a b"}),
    (Chat, {"messages": MESSAGES}),
    (Moderations, {"input": "a b"}),
]
each_job = pytest.mark.parametrize(("job_class", "body"), JOBS)


def line_for(job: Job, line: int = 1, **body: Json) -> Record:
    return batch_line(f"/v1{job.path}", line, **body)


def code_of(job: Job, rejected: Record) -> str:
    with pytest.raises(Rejected) as caught:
        job.render(rejected)
    return caught.value.code


@each_job
def test_a_batch_line_is_sent_as_it_is(job_class: type[Chat], body: Json) -> None:
    job = job_class(spec(params={"user": "config"}, model=""))
    item = job.render(line_for(job, **body))

    assert job.body([item]) == {"model": "m", **body}


@each_job
def test_a_batch_line_for_another_path_or_method_is_rejected(job_class: type[Chat], body: Json) -> None:
    job = job_class(spec())

    assert code_of(job, batch_line("/v1/other", **body)) == "wrong_url"
    assert code_of(job, batch_line(f"/v1{job.path}", method="GET", **body)) == "wrong_url"


@each_job
@pytest.mark.parametrize("name", ["base_url", "api_base", "api_key", "headers", "extra_headers", "proxy", "nonsense"])
def test_a_field_that_is_not_the_apis_own_is_rejected(job_class: type[Chat], body: Json, name: str) -> None:
    job = job_class(spec())
    strange: dict[str, Json] = {**body, name: "x"}

    assert code_of(job, line_for(job, **strange)) == "field_not_allowed"


@pytest.mark.parametrize("name", ["base_url", "api_base", "api_key", "headers", "extra_headers", "proxy"])
@pytest.mark.parametrize("nest", [lambda inner: {"metadata": inner}, lambda inner: {"tools": [{}, inner]}])
def test_a_connection_field_one_level_down_is_rejected(name: str, nest: Json) -> None:
    job = Chat(spec())

    assert code_of(job, line_for(job, messages=MESSAGES, **nest({name: "x"}))) == "field_not_allowed"


def test_a_schema_may_describe_a_field_named_like_a_connection_field() -> None:
    schema = {"type": "json_schema", "json_schema": {"name": "s", "schema": {"properties": {"headers": {}}}}}
    job = Chat(spec())
    item = job.render(line_for(job, messages=MESSAGES, response_format=schema))

    assert job.body([item])["response_format"] == schema


@pytest.mark.parametrize("job", [Completions(spec()), Chat(spec())])
@pytest.mark.parametrize(("stream", "refused"), [(True, True), (1, True), ("yes", True), (False, False), (None, False)])
def test_only_a_streamed_answer_is_refused(job: Job, stream: Json, refused: bool) -> None:
    content = {"prompt": "a"} if isinstance(job, Completions) else {"messages": MESSAGES}
    line = line_for(job, stream=stream, **content)

    assert refused == (_outcome(job, line) == "stream_not_supported")


def _outcome(job: Job, line: Record) -> str:
    try:
        job.render(line)
    except Rejected as error:
        return error.code
    return ""


def test_params_that_ask_for_a_stream_are_a_usage_error() -> None:
    with pytest.raises(UsageError, match=r"params\.stream"):
        Chat(spec(params={"stream": True}))


@pytest.mark.parametrize("value", ["2", 1.0, True, 0, -1])
def test_params_with_an_impossible_number_are_a_usage_error(value: Json) -> None:
    with pytest.raises(UsageError, match="n must be a whole number from 1"):
        Completions(spec(params={"n": value}))


@pytest.mark.parametrize(
    ("job", "body"),
    [
        (Completions(spec()), {"prompt": "a", "n": 0}),
        (Completions(spec()), {"prompt": "a", "best_of": 1.5}),
        (Completions(spec()), {"prompt": "a", "max_tokens": "9"}),
        (Chat(spec()), {"messages": MESSAGES, "n": True}),
        (Chat(spec()), {"messages": MESSAGES, "max_completion_tokens": -1}),
        (Embeddings(spec()), {"input": "a", "dimensions": "64"}),
    ],
)
def test_a_batch_line_with_an_impossible_number_is_rejected(job: Job, body: Json) -> None:
    assert code_of(job, line_for(job, **body)) == "invalid_body"


@pytest.mark.parametrize(
    ("job", "key"), [(Embeddings(spec()), "input"), (Completions(spec()), "prompt"), (Moderations(spec()), "input")]
)
@pytest.mark.parametrize(
    ("value", "code"), [("", "empty_input"), ([], "empty_input"), (None, "invalid_body"), (5, "invalid_body")]
)
def test_a_batch_line_without_input_is_rejected(job: Job, key: str, value: Json, code: str) -> None:
    assert code_of(job, line_for(job, **{key: value})) == code


@pytest.mark.parametrize(
    ("job", "key"), [(Embeddings(spec()), "input"), (Completions(spec()), "prompt"), (Moderations(spec()), "input")]
)
def test_texts_of_equal_lines_share_a_request_and_arrays_go_alone(job: Job, key: str) -> None:
    first, second = (job.render(line_for(job, line, **{key: text})) for line, text in enumerate(["a", "b"], 1))
    other = job.render(batch_line(f"/v1{job.path}", 3, **{key: "c"}, model="other"))
    array = job.render(line_for(job, 4, **{key: ["d", "e"]}))
    again = job.render(line_for(job, 5, **{key: ["d", "e"]}))
    groups = [each.group for each in (first, second, other, array, again)]

    assert groups[0] == groups[1]
    assert len(set(groups)) == 4
    assert None not in groups
    assert job.body([first, second]) == {"model": "m", key: ["a", "b"]}
    assert job.body([array]) == {"model": "m", key: ["d", "e"]}


def test_the_order_of_fields_makes_no_other_group() -> None:
    job = Embeddings(spec())
    one = job.render(line_for(job, input="a", dimensions=2, user="u"))
    two = job.render(line_for(job, user="u", dimensions=2, input="b"))

    assert one.group == two.group


@pytest.mark.parametrize(
    ("value", "tokens"),
    [("a b c", 3), (["a b", "c"], 3), ([7, 8, 9, 10], 4), ([[7, 8], [9]], 3), ([{"type": "text", "text": "a b"}], 2)],
)
def test_every_form_of_input_is_estimated(value: Json, tokens: int) -> None:
    job = Moderations(spec())

    assert job.render(line_for(job, input=value)).input_tokens == tokens


def test_deep_nesting_is_no_recursion() -> None:
    job = Embeddings(spec())
    nested = orjson.loads(b"[" * 1000 + b"]" * 1000)

    assert job.render(line_for(job, input=nested)).input_tokens >= 0


def test_a_too_long_batch_line_is_rejected_and_never_cut() -> None:
    job = Embeddings(spec(max_input_tokens=2, too_long="truncate"))

    assert code_of(job, line_for(job, input="a b c")) == "too_long"


def test_a_batch_line_for_another_model_is_not_held_to_this_models_limit() -> None:
    job = Embeddings(spec(max_input_tokens=2))
    item = job.render(batch_line("/v1/embeddings", input="a b c", model="larger"))

    assert item.input_tokens == 3


@pytest.mark.parametrize(
    ("job_class", "key"), [(Embeddings, "text"), (Completions, "prompt"), (Chat, "prompt"), (Moderations, "text")]
)
def test_a_record_without_its_template_names_the_key_to_set(job_class: type[Chat], key: str) -> None:
    job = job_class(spec(templates={}))

    with pytest.raises(UsageError, match=f"`{key}:`"):
        job.render(record(text="a"))


@pytest.mark.parametrize("job_class", [Embeddings, Completions, Chat, Moderations])
def test_a_templated_record_needs_a_model(job_class: type[Chat]) -> None:
    job = job_class(spec(model="", templates=templates("text", "prompt")))

    with pytest.raises(UsageError, match="`model:`"):
        job.render(record(text="a", prompt="a"))


@pytest.mark.parametrize(
    ("job_class", "key"), [(Embeddings, "text"), (Completions, "prompt"), (Chat, "prompt"), (Moderations, "text")]
)
@pytest.mark.parametrize("blank", ["", " \n"])
def test_a_blank_text_is_never_sent(job_class: type[Chat], key: str, blank: str) -> None:
    job = job_class(spec(templates=templates(key)))
    data: dict[str, Json] = {key: blank}

    assert code_of(job, record(**data)) == "empty_input"


@pytest.mark.parametrize(
    ("allowed", "params"),
    [
        (embeddings._ALLOWED, embedding_create_params.EmbeddingCreateParams),
        (completions._ALLOWED, completion_create_params.CompletionCreateParamsBase),
        (chat._ALLOWED, chat_create_params.CompletionCreateParamsBase),
        (moderations._ALLOWED, moderation_create_params.ModerationCreateParams),
    ],
)
def test_every_parameter_of_the_api_may_be_sent(allowed: frozenset[str], params: type) -> None:
    assert params.__annotations__.keys() - allowed == set()
    assert allowed - params.__annotations__.keys() <= {"stream"}
