from __future__ import annotations

import random
import re
from typing import Any

import aiohttp
import orjson
import pytest

from pipeline.simulator import FAULTS, PRICES, Faults, bill, cost_nusd
from pipeline.simulator.distortions import DISTORTIONS
from pipeline.simulator.faults import LATE, Fate
from pipeline.simulator.refusals import AFTER_WORK, QUOTA_CODES, REFUSALS
from tests.simulator.conftest import Client, Start

BODIES: dict[str, dict[str, Any]] = {
    "/embeddings": {"model": "any", "input": ["one", "two", "three"]},
    "/completions": {"model": "any", "prompt": ["one", "two", "three"]},
    "/chat/completions": {"model": "any", "messages": [{"role": "user", "content": "one"}], "n": 3},
    "/moderations": {"model": "any", "input": ["one", "two", "three"]},
}
HEAVY = {"gzip_bomb", "endless_body"}
CASES = [
    (path, name)
    for path, distortions in DISTORTIONS.items()
    for name in (FAULTS if path == "/embeddings" else distortions)
    if (name in distortions or name not in set().union(*DISTORTIONS.values())) and name not in HEAVY
]


async def seen(client: Client, path: str) -> tuple[Any, ...]:
    """Status, type, headers and body that the client sees, or the name of its error; without what always differs."""
    try:
        reply = await client.post(path, BODIES[path], Authorization="Bearer canary")
    except (aiohttp.ClientError, ConnectionError) as error:
        return (type(error).__name__,)
    body = re.sub(rb'"created":\d+', b"", reply.body)
    return reply.status, reply.headers["Content-Type"], reply.headers.get("x-request-id") is None, body


@pytest.mark.parametrize(("path", "name"), CASES)
async def test_every_fault_shows_and_is_billed_only_if_the_work_was_done(start: Start, path: str, name: str) -> None:
    client = await start(faults=Faults(script=[name], hang_seconds=0.1, late_seconds=0.01))
    struck = await seen(client, path)
    good = await start()
    served = await seen(good, path)
    entry = client.simulator.record.entries()[0]

    assert entry.fault == name
    assert len(entry.inputs) == len(good.simulator.record.entries()[0].inputs)
    assert (struck == served) == (name == LATE)
    if path == "/moderations":
        assert entry.cost_nusd == 0
    else:
        assert (entry.cost_nusd == 0) == (name in REFUSALS and name not in AFTER_WORK)


async def test_a_script_comes_first_and_then_the_rates_rule(start: Start) -> None:
    client = await start(faults=Faults(script=["server_error", "ok"], rates={"conflict": 1.0}))

    assert [(await client.embed("a")).status for _ in range(4)] == [500, 200, 409, 409]


async def test_faults_can_be_changed_while_running(start: Start) -> None:
    client = await start(faults=Faults(rates={"server_error": 1}))
    before = await client.embed("a")
    client.simulator.set_faults(Faults())
    after = await client.embed("a")

    assert (before.status, after.status) == (500, 200)


def test_a_seed_brings_the_same_faults_again() -> None:
    rates = {"server_error": 0.2, "hang": 0.1, "shuffled": 0.1}
    runs = []
    for seed in (1, 1, 2):
        fate = Fate(Faults(rates=rates), random.Random(seed))
        runs.append([fate.next("/embeddings") for _ in range(2000)])

    assert runs[0] == runs[1] != runs[2]
    assert [350 < runs[0].count("server_error") < 450, 150 < runs[0].count("hang") < 250] == [True, True]


def test_a_fault_that_cannot_happen_at_an_endpoint_does_not_strike_there() -> None:
    fate = Fate(Faults(rates={"refusal": 1.0}), random.Random(1))

    assert [fate.next("/embeddings"), fate.next("/chat/completions")] == [None, "refusal"]


@pytest.mark.parametrize(
    "wrong",
    [
        {"script": ["server_eror"]},
        {"rates": {"nothing": 0.1}},
        {"rates": {"hang": 0.6, "drip": 0.6}},
        {"rates": {"hang": -0.1}},
    ],
)
def test_faults_that_make_no_sense_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="fault"):
        Faults(**wrong)


def test_a_misspelt_fault_is_answered_with_the_right_one() -> None:
    with pytest.raises(ValueError, match="did you mean 'server_error'"):
        Faults(script=["server_eror"])


@pytest.mark.parametrize(
    ("name", "header", "value"),
    [
        ("rate_limited_seconds", "Retry-After", "1"),
        ("rate_limited_float", "Retry-After", "0.25"),
        ("rate_limited_ms", "retry-after-ms", "300"),
        ("rate_limited_zero", "Retry-After", "0"),
        ("rate_limited_negative", "Retry-After", "-1"),
        ("rate_limited_nan", "Retry-After", "NaN"),
        ("rate_limited_huge", "Retry-After", "1000000000"),
        ("rate_limited_junk", "Retry-After", "soon"),
        ("rate_limited", "Retry-After", None),
        ("reset_go", "x-ratelimit-reset-requests", "1s20ms"),
        ("slow_down", "Retry-After", "1"),
        ("server_error_final", "x-should-retry", "false"),
        ("redirect_307", "Location", "http://127.0.0.1:9/"),
    ],
)
async def test_a_refusal_carries_its_header(start: Start, name: str, header: str, value: str | None) -> None:
    client = await start(faults=Faults(script=[name]))

    assert (await client.embed("a")).headers.get(header) == value


async def test_a_date_to_retry_at_is_two_seconds_after_the_answer_s_own(start: Start) -> None:
    client = await start(faults=Faults(script=["rate_limited_date"]))
    headers = (await client.embed("a")).headers

    assert headers["Retry-After"] != headers["Date"]
    assert headers["Retry-After"].endswith("GMT")


@pytest.mark.parametrize("code", QUOTA_CODES)
async def test_quota_codes_have_the_type_insufficient_quota(start: Start, code: str) -> None:
    error = orjson.loads((await (await start(faults=Faults(script=[code]))).embed("a")).body)["error"]

    assert (error["code"], error["type"]) == (code, "insufficient_quota")


@pytest.mark.parametrize("name", ["bad_gateway", "gateway_timeout", "proxy_524"])
async def test_a_proxy_that_gives_up_waiting_does_not_undo_the_work(start: Start, name: str) -> None:
    client = await start(faults=Faults(script=[name]))
    status = (await client.embed("a b c")).status
    entry = client.simulator.record.entries()[0]

    assert (status, entry.cost_nusd) == (entry.status, 3 * 20)
    assert status in {502, 504, 524}


async def test_a_quota_runs_out_after_so_many_requests(start: Start) -> None:
    client = await start(faults=Faults(quota_after=2))
    replies = [await client.embed("a") for _ in range(4)]

    assert [reply.status for reply in replies] == [200, 200, 429, 429]
    assert orjson.loads(replies[3].body)["error"]["code"] == "insufficient_quota"
    assert bill(client.simulator.record.entries()) == 2 * 20


async def test_a_key_is_revoked_after_so_many_requests(start: Start) -> None:
    client = await start(faults=Faults(revoke_after=1))

    assert [(await client.embed("a")).status for _ in range(3)] == [200, 401, 401]


@pytest.mark.parametrize(
    ("text", "code"), [("a POISON b", None), ("TOOLONG", "context_length_exceeded"), ("FORBIDDEN", "content_filter")]
)
async def test_one_marked_text_refuses_the_whole_request_unbilled(start: Start, text: str, code: str | None) -> None:
    client = await start()
    reply = await client.embed("fine", text, "fine too")

    assert (reply.status, orjson.loads(reply.body)["error"]["code"]) == (400, code)
    assert client.simulator.record.billed_nusd == 0


async def test_an_answer_from_a_dearer_model_is_billed_at_its_price(start: Start) -> None:
    client = await start(faults=Faults(script=["model_differs"]))
    answer = orjson.loads((await client.embed("a b c")).body)
    entry = client.simulator.record.entries()[0]

    assert answer["model"] == entry.model == "simulator-hashing-256-large"
    assert entry.cost_nusd == cost_nusd(entry.tokens, "simulator-hashing-256-large") == 3 * 130


@pytest.mark.parametrize("fault", ["ok", "model_differs"])
async def test_the_dearer_twin_answers_and_bills_where_it_is_asked_for(start: Start, fault: str) -> None:
    client = await start(faults=Faults(script=[fault]))
    large = {"model": "simulator-text-1-large", "prompt": "a b c"}
    answer = orjson.loads((await client.post("/completions", large)).body)
    entry = client.simulator.record.entries()[0]

    assert answer["model"] == entry.model == "simulator-text-1-large"
    assert entry.cost_nusd == 300 * entry.tokens.input + 1200 * entry.tokens.output


async def test_reasoning_beyond_the_limit_is_reported_and_billed(start: Start) -> None:
    client = await start(faults=Faults(script=["reasoning_overrun"]))
    body = {"model": "any", "messages": [{"role": "user", "content": "a"}], "max_completion_tokens": 5}
    usage = orjson.loads((await client.post("/chat/completions", body)).body)["usage"]
    entry = client.simulator.record.entries()[0]

    assert usage["completion_tokens"] == entry.tokens.output == 1005
    assert entry.cost_nusd == cost_nusd(entry.tokens, "simulator-text-1")


async def test_a_wrong_usage_does_not_change_the_bill(start: Start) -> None:
    for name in ("usage_missing", "usage_huge", "usage_negative", "usage_of_first"):
        client = await start(faults=Faults(script=[name]))
        await client.embed("a b c", "d")

        assert client.simulator.record.billed_nusd == 4 * 20


async def test_usage_of_the_first_prompt_only_is_a_share_of_the_whole(start: Start) -> None:
    client = await start(faults=Faults(script=["usage_of_first"]))

    assert orjson.loads((await client.embed("a b", "c d")).body)["usage"] == {"prompt_tokens": 2, "total_tokens": 2}


@pytest.mark.parametrize("encoding", ["float", "base64"])
@pytest.mark.parametrize(("name", "number"), [("vector_nan", b"NaN"), ("vector_infinite", b"Infinity")])
async def test_a_spoilt_number_reaches_the_client(start: Start, encoding: str, name: str, number: bytes) -> None:
    client = await start(faults=Faults(script=[name]))
    body = {"model": "any", "input": "one", "encoding_format": encoding}
    spoilt = (await client.post("/embeddings", body)).body
    good = (await client.post("/embeddings", body)).body

    assert spoilt != good
    assert (number in spoilt) == (encoding == "float")


@pytest.mark.parametrize("name", sorted(HEAVY))
async def test_a_huge_body_ends_when_the_client_hangs_up(start: Start, name: str) -> None:
    client = await start(faults=Faults(script=[name]))
    async with (
        aiohttp.ClientSession(auto_decompress=False) as session,
        session.post(client.simulator.url + "/embeddings", json=BODIES["/embeddings"]) as response,
    ):
        assert len(await response.content.readexactly(1 << 16)) == 1 << 16
        response.close()

    assert (await client.embed("a")).status == 200


def test_every_model_that_can_answer_has_a_price() -> None:
    names = {name.removesuffix("-large") for name in PRICES}

    assert set(PRICES) == names | {f"{name}-large" for name in names}
