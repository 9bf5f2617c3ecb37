"""Whole jobs against the built-in server in a process of its own."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from pipeline.simulator import chat_prompt, expected_text
from tests.acceptance.command import pipeline, read_lines, write_config, write_records
from tests.judge import Judge


def text(number: int) -> str:
    return f"Record {number}: the {number % 97} boxes of order {hashlib.md5(str(number).encode()).hexdigest()[:6]}"  # noqa: S324 - varied text, no secret


def test_ten_thousand_embeddings_cost_what_the_server_billed(judge: Callable[..., Judge], tmp_path: Path) -> None:
    server = judge("--rpm", "6000", "--burst-seconds", "1")
    write_records(tmp_path / "in.jsonl", [{"id": f"r{number}", "text": text(number)} for number in range(10_000)])
    config = write_config(
        tmp_path,
        "job",
        job="embeddings",
        endpoint="simulator",
        model="simulator-wordllama-256",
        input={"path": "in.jsonl", "id": "id"},
        output={"path": "out.jsonl", "keep": ["text"]},
        text="{{ text }}",
        limits={"rpm": 6000},
    )
    plan = pipeline("plan", str(config), "--json", home=tmp_path, extra=server.environment)
    ended = pipeline("run", str(config), "--json", home=tmp_path, extra=server.environment)
    lines = read_lines(tmp_path / "out.jsonl")
    entries = server.entries()
    planned, spent = plan.summary, ended.summary["money"]["spent_nusd"]
    tokens = ended.summary["tokens"]["input"]
    print(
        f"\n{len(lines)} records, {len(entries)} requests, {sum(entry.status == 429 for entry in entries)} refused; "
        f"${spent / 1e9:.9f} recorded, ${server.billed() / 1e9:.9f} billed; "
        f"plan: {planned['requests']} requests, {planned['tokens_input']} tokens for {tokens}, "
        f"{planned['cost_nusd']} nano-USD"
    )

    assert ended.code == 0
    assert len(entries) == 500 == planned["requests"]
    assert all(entry.status == 200 for entry in entries)
    assert spent == server.billed()
    assert sum(round(line["cost_usd"] * 1e9) for line in lines) == spent
    assert [(line["custom_id"], line["text"]) for line in lines] == [(f"r{n}", text(n)) for n in range(10_000)]
    assert abs(planned["tokens_input"] - tokens) < 0.02 * tokens
    assert abs(planned["cost_nusd"] - spent) < 0.02 * spent
    assert planned["records"] == 10_000
    assert planned["seconds"] == pytest.approx(5)


def test_every_vector_is_that_of_its_own_text(judge: Callable[..., Judge], tmp_path: Path) -> None:
    server = judge("--engine", "hashing")
    records = [{"text": text(number)} for number in range(200)]
    keys = {
        "job": "embeddings",
        "endpoint": "simulator",
        "model": "simulator-hashing-256",
        "text": "{{ text }}",
        "input": {"path": str(write_records(tmp_path / "in.jsonl", records))},
    }
    packed = write_config(tmp_path, "packed", **keys, output={"path": "packed.jsonl"})
    single = write_config(tmp_path, "single", **keys, output={"path": "single.jsonl"}, batch={"max_items": 1})
    codes = [pipeline("run", str(config), home=tmp_path, extra=server.environment).code for config in (packed, single)]
    together, alone = read_lines(tmp_path / "packed.jsonl"), read_lines(tmp_path / "single.jsonl")

    assert codes == [0, 0]
    assert [line["embedding"] for line in together] == [line["embedding"] for line in alone]
    assert len({tuple(line["embedding"]) for line in together}) == 200


def test_base64_vectors_are_those_of_the_floats(judge: Callable[..., Judge], tmp_path: Path) -> None:
    import base64  # noqa: PLC0415 - the one user

    server = judge("--engine", "hashing")
    keys = {
        "job": "embeddings",
        "endpoint": "simulator",
        "model": "simulator-hashing-256",
        "text": "{{ text }}",
        "input": {"path": str(write_records(tmp_path / "in.jsonl", [{"text": text(n)} for n in range(30)]))},
    }
    floats = write_config(tmp_path, "floats", **keys, output={"path": "floats.jsonl"})
    base = write_config(tmp_path, "base", **keys, output={"path": "base.jsonl"}, vectors="base64")
    for config in (floats, base):
        assert pipeline("run", str(config), home=tmp_path, extra=server.environment).code == 0
    pairs = zip(read_lines(tmp_path / "floats.jsonl"), read_lines(tmp_path / "base.jsonl"), strict=True)

    for line, encoded in pairs:
        assert np.array_equal(
            np.array(line["embedding"], "<f4"), np.frombuffer(base64.b64decode(encoded["embedding"]), "<f4")
        )


@pytest.mark.parametrize(("job", "requests"), [("completions", 8), ("chat", 150)])
def test_every_text_belongs_to_its_prompt(judge: Callable[..., Judge], tmp_path: Path, job: str, requests: int) -> None:
    server = judge("--cached-share", "0.25")
    write_records(tmp_path / "in.jsonl", [{"text": text(number)} for number in range(150)])
    config = write_config(
        tmp_path,
        "job",
        job=job,
        endpoint="simulator",
        model="simulator-text-1",
        input={"path": "in.jsonl"},
        output={"path": "out.jsonl"},
        prompt="{{ text }}",
        max_output_tokens=64,
    )
    ended = pipeline("run", str(config), "--json", home=tmp_path, extra=server.environment)
    found = [line["text"] for line in read_lines(tmp_path / "out.jsonl")]
    prompts = [text(number) for number in range(150)]
    if job == "chat":
        prompts = [chat_prompt([{"role": "user", "content": prompt}]) for prompt in prompts]

    assert ended.code == 0
    assert len(server.entries()) == requests
    assert ended.summary["money"]["spent_nusd"] == server.billed()
    assert ended.summary["tokens"]["cached"] > 0
    assert found == [expected_text(prompt, max_tokens=64) for prompt in prompts]
