from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import aiohttp
import orjson
import pytest

from pipeline.simulator import Faults, Options, Simulator, bill, count_tokens, digest, read_record
from tests.simulator.conftest import Client, Start


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.2", "example.org", ""])
def test_only_this_machine_is_served(host: str) -> None:
    with pytest.raises(ValueError, match="this machine only"):
        Options(host=host)


@pytest.mark.parametrize(
    "wrong", [{"rpm": 0}, {"tpm": -5}, {"burst_seconds": 0}, {"latency": -1}, {"cached_share": 1.5}]
)
def test_a_number_out_of_range_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Options(**wrong)


async def test_every_answer_says_that_it_comes_from_a_simulator(start: Start) -> None:
    client = await start(rpm=60)
    replies = [
        await client.get("/"),
        await client.get("/v1/models"),
        await client.get("/elsewhere"),
        await client.embed("a"),
        await client.embed("a"),
        await client.post("/nothing", {}),
    ]

    assert [reply.headers["x-simulator"] for reply in replies] == ["1"] * 6
    assert [reply.status for reply in replies] == [200, 200, 404, 200, 429, 404]
    assert b"simulator" in replies[0].body


@pytest.mark.parametrize("key", ["Bearer wrong", "right", ""])
async def test_only_the_required_key_is_let_in(start: Start, key: str) -> None:
    client = await start(require_key="right")
    refused = await client.post("/embeddings", {"model": "any", "input": "a"}, Authorization=key)
    served = await client.post("/embeddings", {"model": "any", "input": "a"}, Authorization="Bearer right")

    assert (refused.status, orjson.loads(refused.body)["error"]["code"]) == (401, "invalid_api_key")
    assert served.status == 200


async def test_limits_are_enforced_and_shown(start: Start) -> None:
    client = await start(rpm=60, tpm=600)
    first, second = await client.embed("one two three"), await client.embed("one two three")

    assert (first.status, first.headers["x-ratelimit-remaining-requests"]) == (200, "59")
    assert first.headers["x-ratelimit-limit-tokens"] == "600"
    assert (second.status, second.headers["Retry-After"]) == (429, "2")
    assert second.headers["x-ratelimit-remaining-requests"] == "0"
    assert orjson.loads(second.body)["error"]["code"] == "rate_limit_exceeded"


@pytest.mark.parametrize(
    ("path", "body", "charge"),
    [
        ("/embeddings", {"input": ["one", "two three"]}, 3),
        ("/completions", {"prompt": ["one", "two three"], "n": 2, "max_tokens": 10}, 3 + 40),
        ("/completions", {"prompt": "one"}, 1 + 16),
        ("/completions", {"prompt": "one", "n": 2, "best_of": 4, "max_tokens": 3}, 1 + 12),
        ("/chat/completions", {"messages": [{"role": "user", "content": "one"}], "n": 3, "max_tokens": 10}, 8 + 30),
    ],
)
async def test_a_request_is_charged_its_prompt_and_the_most_it_may_get(
    start: Start, path: str, body: dict[str, Any], charge: int
) -> None:
    exact, one_less = await start(tpm=charge), await start(tpm=charge - 1)

    assert (await exact.post(path, {"model": "any", **body})).status == 200
    assert (await one_less.post(path, {"model": "any", **body})).status == 429


async def test_limits_can_be_changed_while_running(start: Start) -> None:
    client = await start(rpm=60)
    statuses = [(await client.embed("a")).status for _ in range(2)]
    client.simulator.set_limits(rpm=6000)
    statuses += [(await client.embed("a")).status for _ in range(5)]
    client.simulator.set_limits()

    assert statuses == [200, 429, 200, 200, 200, 200, 200]
    assert "x-ratelimit-limit-requests" not in (await client.embed("a")).headers


async def test_the_record_tells_what_was_asked_and_billed(start: Start, tmp_path: Path) -> None:
    client = await start(record=tmp_path / "record.jsonl", rpm=120)
    for _ in range(3):
        await client.post("/embeddings", {"model": "any", "input": ["one", "two"]}, X_Client_Request_Id="run-7")
    entries = read_record(tmp_path / "record.jsonl")

    assert [entry.status for entry in entries] == [200, 200, 429]
    assert {(entry.path, entry.request_id, tuple(entry.inputs)) for entry in entries} == {
        ("/embeddings", "run-7", (digest("one"), digest("two")))
    }
    assert [entry.tokens.input for entry in entries] == [count_tokens("one") + count_tokens("two")] * 2 + [0]
    assert [entry.cost_nusd for entry in entries] == [40, 40, 0]
    assert bill(tmp_path / "record.jsonl") == client.simulator.record.billed_nusd == 80


async def test_an_answer_nobody_waits_for_is_billed(start: Start) -> None:
    client = await start(latency=3600)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.2):
            await client.embed("a")

    assert client.simulator.record.billed_nusd == 20


@pytest.mark.parametrize("identity", ["x" * 513, "é"])
async def test_a_strange_client_request_id_is_refused(start: Start, identity: str) -> None:
    client = await start()
    reply = await client.post("/embeddings", {"model": "any", "input": "a"}, X_Client_Request_Id=identity)

    assert reply.status == 400


@pytest.mark.parametrize("raw", [b"", b"{", b"[]", b"null", b'"a"', b'{"model": "any", "input": "\xff"}', b"\x00"])
async def test_a_body_that_is_no_object_is_refused(start: Start, raw: bytes) -> None:
    client = await start()
    async with (
        aiohttp.ClientSession() as session,
        session.post(client.simulator.url + "/embeddings", data=raw) as response,
    ):
        assert (response.status, (await response.json())["error"]["type"]) == (400, "invalid_request_error")


async def test_posts_and_gets_are_told_apart(start: Start) -> None:
    client = await start()
    async with (
        aiohttp.ClientSession() as session,
        session.put(client.simulator.url + "/embeddings", json={}) as response,
    ):
        assert response.status == 405
    assert (await client.get("/v1/embeddings")).status == 404


async def test_nothing_is_served_outside_v1(start: Start) -> None:
    client = await start()
    client.simulator.url = client.simulator.url.removesuffix("/v1")

    assert (await client.embed("a")).status == 404


async def test_a_stopped_simulator_starts_again_at_its_address() -> None:
    simulator = Simulator(Options(engine="hashing"))
    first = await simulator.start()
    await simulator.stop()
    second = await simulator.start()
    async with aiohttp.ClientSession() as session:
        reply = await Client(simulator, session).embed("a")
    await simulator.stop()

    assert (first, reply.status) == (second, 200)
    assert first.endswith("/v1")


async def test_stopping_does_not_wait_for_hanging_requests(start: Start) -> None:
    client = await start(faults=Faults(script=["drip"]))
    url = client.simulator.url + "/embeddings"
    async with aiohttp.ClientSession() as session, session.post(url, json={"model": "any", "input": "a"}) as response:
        async with asyncio.timeout(5):
            await client.simulator.stop()

        with pytest.raises(aiohttp.ClientError):
            await response.read()
