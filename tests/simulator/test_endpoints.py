"""What is served, read back by the `openai` package's own types where it has them."""

from __future__ import annotations

from base64 import b64decode
from typing import Any

import numpy as np
import openai
import orjson
import pytest
from openai.types import Completion, CreateEmbeddingResponse, Model, ModerationCreateResponse
from openai.types.chat import ChatCompletion
from pydantic import BaseModel

from pipeline.simulator import chat_prompt, count_tokens, engine, expected_scores, expected_text
from tests.simulator.conftest import Start

TALK = [{"role": "system", "content": "Be short."}, {"role": "user", "content": "Where is my parcel?"}]


@pytest.mark.parametrize(
    ("path", "body", "model"),
    [
        ("/embeddings", {"input": ["a", "b"]}, CreateEmbeddingResponse),
        ("/completions", {"prompt": ["a", "b"], "n": 2}, Completion),
        ("/chat/completions", {"messages": TALK, "n": 2}, ChatCompletion),
        ("/moderations", {"input": ["a", "b"]}, ModerationCreateResponse),
    ],
)
async def test_openai_s_own_types_accept_every_answer(
    start: Start, path: str, body: dict[str, Any], model: type[BaseModel]
) -> None:
    reply = await (await start()).post(path, {"model": "any", **body})

    assert reply.status == 200
    assert model.model_validate_json(reply.body, strict=False).model_extra == {}


async def test_the_openai_client_works_unchanged(start: Start) -> None:
    client = await start()
    async with openai.AsyncOpenAI(base_url=client.simulator.url, api_key="any", max_retries=0) as api:
        vectors = await api.embeddings.create(model="any", input=["one", "two"])
        completion = await api.completions.create(model="any", prompt=["one", "two"])
        answer = await api.chat.completions.create(model="any", messages=[{"role": "user", "content": "Hi"}])
        moderation = await api.moderations.create(input="one")
        models = [model.id async for model in api.models.list()]
        with pytest.raises(openai.NotFoundError) as caught:
            await api.embeddings.create(model="missing-1", input="one")

    assert np.allclose(vectors.data[1].embedding, engine("hashing").embed(["two"])[0])
    assert completion.choices[1].text == expected_text("two")
    assert answer.choices[0].message.content == expected_text("user: Hi")
    assert (len(moderation.results), "simulator-text-1" in models) == (1, True)
    assert caught.value.code == "model_not_found"


@pytest.mark.parametrize(
    ("value", "texts"),
    [
        ("one text", ["one text"]),
        (["one", "two"], ["one", "two"]),
        ([15339, 1917], ["hello world"]),
        ([[15339], [1917, 1917]], ["hello", " world world"]),
    ],
)
async def test_inputs_are_texts_or_tokens(start: Start, value: Any, texts: list[str]) -> None:
    client = await start()
    embedded = orjson.loads((await client.post("/embeddings", {"model": "any", "input": value})).body)
    completed = orjson.loads((await client.post("/completions", {"model": "any", "prompt": value})).body)

    assert np.allclose([item["embedding"] for item in embedded["data"]], engine("hashing").embed(texts), atol=1e-6)
    assert [choice["text"] for choice in completed["choices"]] == [expected_text(text) for text in texts]
    assert embedded["usage"]["prompt_tokens"] == completed["usage"]["prompt_tokens"] == sum(map(count_tokens, texts))


async def test_base64_holds_the_same_numbers(start: Start) -> None:
    client = await start()
    plain = orjson.loads((await client.embed("one two", "three")).body)
    body = {"model": "any", "input": ["one two", "three"], "encoding_format": "base64"}
    packed = orjson.loads((await client.post("/embeddings", body)).body)

    for one, other in zip(plain["data"], packed["data"], strict=True):
        assert np.array_equal(np.float32(one["embedding"]), np.frombuffer(b64decode(other["embedding"]), "<f4"))


async def test_dimensions_shorten_the_vectors(start: Start) -> None:
    client = await start()
    reply = await client.post("/embeddings", {"model": "any", "input": "one two three", "dimensions": 16})
    vector = orjson.loads(reply.body)["data"][0]["embedding"]

    assert (len(vector), bool(abs(np.linalg.norm(vector) - 1) < 1e-5)) == (16, True)


async def test_a_large_request_is_served_like_a_small_one(start: Start) -> None:
    client = await start()
    texts = [f"ticket {number} " + "word " * 500 for number in range(100)]
    data = orjson.loads((await client.embed(*texts)).body)["data"]

    assert [item["index"] for item in data] == list(range(100))
    assert np.allclose(data[99]["embedding"], engine("hashing").embed(texts[99:])[0], atol=1e-6)


async def test_choice_k_of_prompt_p_has_index_p_times_n_plus_k(start: Start) -> None:
    prompts = ["first", "second", "third"]
    reply = await (await start()).post("/completions", {"model": "any", "prompt": prompts, "n": 2})
    choices = orjson.loads(reply.body)["choices"]

    assert [choice["index"] for choice in choices] == [0, 1, 2, 3, 4, 5]
    assert [choice["text"] for choice in choices] == [expected_text(text, k) for text in prompts for k in (0, 1)]


async def test_usage_of_completions_is_summed_over_prompts_and_candidates(start: Start) -> None:
    body = {"model": "any", "prompt": ["first", "second one"], "best_of": 3, "max_tokens": 5}
    answer = orjson.loads((await (await start()).post("/completions", body)).body)

    assert len(answer["choices"]) == 2
    assert (answer["usage"]["prompt_tokens"], answer["usage"]["completion_tokens"]) == (3, 2 * 3 * 5)


@pytest.mark.parametrize(("most", "reason"), [(3, "length"), (15, "stop"), (None, "stop")])
async def test_a_completion_that_is_cut_says_so(start: Start, most: int | None, reason: str) -> None:
    reply = await (await start()).post("/completions", {"model": "any", "prompt": "first", "max_tokens": most})
    choice = orjson.loads(reply.body)["choices"][0]

    assert (choice["text"], choice["finish_reason"]) == (expected_text("first", 0, most), reason)


async def test_echo_repeats_the_prompt(start: Start) -> None:
    reply = await (await start()).post("/completions", {"model": "any", "prompt": "first ", "echo": True})

    assert orjson.loads(reply.body)["choices"][0]["text"] == "first " + expected_text("first ")


@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens"])
async def test_a_chat_answer_that_is_cut_says_so(start: Start, name: str) -> None:
    reply = await (await start()).post("/chat/completions", {"model": "any", "messages": TALK, name: 4})
    answer = orjson.loads(reply.body)

    assert answer["choices"][0]["finish_reason"] == "length"
    assert answer["choices"][0]["message"]["content"] == expected_text(chat_prompt(TALK), 0, 4)
    assert answer["usage"]["completion_tokens"] == 4


async def test_a_chat_prompt_is_counted_with_its_frame(start: Start) -> None:
    reply = await (await start()).post("/chat/completions", {"model": "any", "messages": TALK})
    texts = count_tokens("system") + count_tokens("Be short.") + count_tokens("user")

    assert orjson.loads(reply.body)["usage"]["prompt_tokens"] == (
        3 + 3 + 3 + texts + count_tokens("Where is my parcel?")
    )


@pytest.mark.parametrize(("most", "words", "reasoning"), [(None, 99, 20), (24, 4, 20), (20, 0, 20), (7, 0, 7)])
async def test_reasoning_tokens_are_a_part_of_the_output(
    start: Start, most: int | None, words: int, reasoning: int
) -> None:
    body = {"model": "any", "messages": TALK, "max_completion_tokens": most}
    answer = orjson.loads((await (await start(reasoning_tokens=20)).post("/chat/completions", body)).body)
    content = expected_text(chat_prompt(TALK), 0, words)

    assert answer["choices"][0]["message"]["content"] == content
    assert answer["usage"]["completion_tokens_details"]["reasoning_tokens"] == reasoning
    assert answer["usage"]["completion_tokens"] == reasoning + len(content.split())


async def test_a_share_of_the_prompt_is_reported_as_cached(start: Start) -> None:
    client = await start(cached_share=0.5)
    usage = orjson.loads((await client.post("/completions", {"model": "any", "prompt": "a b c d e"})).body)["usage"]

    assert (usage["prompt_tokens"], usage["prompt_tokens_details"]["cached_tokens"]) == (5, 2)
    assert client.simulator.record.entries()[0].tokens.cached == 2


async def test_moderation_results_stand_in_the_order_of_the_inputs(start: Start) -> None:
    texts = [f"text {number}" for number in range(40)]
    results = orjson.loads((await (await start()).post("/moderations", {"input": texts})).body)["results"]

    assert [result["category_scores"] for result in results] == [expected_scores(text) for text in texts]
    assert {result["flagged"] for result in results} == {True, False}


async def test_an_array_of_parts_is_one_moderation_input(start: Start) -> None:
    parts = [{"type": "text", "text": "one"}, {"type": "image_url", "image_url": {"url": "https://example.org/x.png"}}]
    results = orjson.loads((await (await start()).post("/moderations", {"input": parts})).body)["results"]

    assert [result["category_scores"] for result in results] == [expected_scores("one")]


async def test_any_model_can_be_looked_up_unless_it_is_missing(start: Start) -> None:
    client = await start()
    there, missing = await client.get("/v1/models/any-name"), await client.get("/v1/models/missing-name")

    assert Model.model_validate_json(there.body).id == "any-name"
    assert (missing.status, orjson.loads(missing.body)["error"]["code"]) == (404, "model_not_found")


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/embeddings", {}),
        ("/embeddings", {"input": ""}),
        ("/embeddings", {"input": ["a", ""]}),
        ("/embeddings", {"input": []}),
        ("/embeddings", {"input": ["a", 1]}),
        ("/embeddings", {"input": [[]]}),
        ("/embeddings", {"input": [True]}),
        ("/embeddings", {"input": [10**9]}),
        ("/embeddings", {"input": [-1]}),
        ("/embeddings", {"input": [10**30]}),
        ("/embeddings", {"input": {"text": "a"}}),
        ("/embeddings", {"input": "a", "dimensions": 257}),
        ("/embeddings", {"input": "a", "dimensions": 1.5}),
        ("/embeddings", {"input": "a", "encoding_format": "hex"}),
        ("/embeddings", {"input": "a", "model": ""}),
        ("/embeddings", {"input": "a", "model": 5}),
        ("/completions", {"prompt": "a", "n": 0}),
        ("/completions", {"prompt": "a", "n": 3, "best_of": 2}),
        ("/completions", {"prompt": "a", "max_tokens": -1}),
        ("/completions", {"prompt": "a", "stream": True}),
        ("/chat/completions", {"messages": []}),
        ("/chat/completions", {"messages": ["hello"]}),
        ("/chat/completions", {"messages": [{"content": "no role"}]}),
        ("/chat/completions", {"messages": [{"role": "user", "content": 5}]}),
        ("/chat/completions", {"messages": TALK, "stream": True}),
        ("/moderations", {"input": []}),
    ],
)
async def test_a_wrong_body_is_refused_unbilled(start: Start, path: str, body: dict[str, Any]) -> None:
    client = await start()
    reply = await client.post(path, {"model": "any", **body})

    assert (reply.status, orjson.loads(reply.body)["error"]["type"]) == (400, "invalid_request_error")
    assert client.simulator.record.billed_nusd == 0


async def test_more_inputs_than_allowed_are_refused(start: Start) -> None:
    client = await start(max_items=2)

    assert [(await client.embed(*["a"] * count)).status for count in (2, 3)] == [200, 400]


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/embeddings", {"input": ["fine", "word " * 8192]}),
        ("/completions", {"prompt": "a", "max_tokens": 128_000}),
        ("/chat/completions", {"messages": TALK, "max_tokens": 127_999}),
    ],
)
async def test_what_does_not_fit_the_context_is_refused(start: Start, path: str, body: dict[str, Any]) -> None:
    reply = await (await start()).post(path, {"model": "any", **body})

    assert (reply.status, orjson.loads(reply.body)["error"]["code"]) == (400, "context_length_exceeded")
