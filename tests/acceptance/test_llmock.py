"""A chat job against llmock, which judges the client's behaviour. Needs the extra `servers`."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.types import Json
from tests.acceptance.command import pipeline, read_lines, write_config, write_endpoint, write_records

pytest.importorskip("llmock", reason="the extra `servers` is not installed")

RECORDS = int(os.environ.get("PIPELINE_TEST_LLMOCK_RECORDS", "20"))


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    program = str(Path(sys.executable).with_name("llmock"))
    command = [program, "serve", "--port", str(port), "--rpm", "60", "--response-style", "echo"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=tmp_path)
    base = f"http://127.0.0.1:{port}"
    try:
        for _ in range(200):
            try:
                with urllib.request.urlopen(f"{base}/_llmock/verdict", timeout=5):
                    break
            except OSError:
                time.sleep(0.1)  # the process needs a moment until it listens
        yield base
    finally:
        process.kill()
        process.wait()


def test_a_chat_job_at_sixty_requests_a_minute_passes_the_judge(server: str, tmp_path: Path) -> None:
    write_records(tmp_path / "in.jsonl", [{"text": f"question number {number}"} for number in range(RECORDS)])
    write_endpoint(tmp_path, "llmock", f"{server}/v1", prices="free")
    config = write_config(
        tmp_path,
        "chat",
        job="chat",
        endpoint="llmock",
        model="gpt-4o-mini",
        input={"path": "in.jsonl"},
        output={"path": "out.jsonl"},
        prompt="{{ text }}",
        max_output_tokens=50,
        limits={"rpm": 60, "concurrency": 16},
    )
    ended = pipeline("run", str(config), "--json", home=tmp_path)
    with urllib.request.urlopen(f"{server}/_llmock/verdict", timeout=5) as response:
        verdict: Json = json.load(response)
    print("\n", json.dumps(verdict)[:2000])

    assert ended.code == 0
    texts = [line["text"] for line in read_lines(tmp_path / "out.jsonl")]
    assert all(f"question number {number}" in text for number, text in enumerate(texts))
    assert len(texts) == RECORDS
    assert ended.summary["requests"]["throttled"] == 0
    assert verdict["passed"]
    assert (verdict["errors"], verdict["warnings"]) == (0, 0)
