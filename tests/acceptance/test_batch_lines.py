"""OpenAI Batch lines in, Batch results out, by the openai package's own types."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from openai.types import CreateEmbeddingResponse
from openai.types.chat import ChatCompletion

from pipeline.types import Json
from tests.acceptance.command import pipeline, read_lines, write_config, write_records
from tests.judge import Judge

BODIES: dict[str, Callable[[int], Json]] = {
    "chat": lambda n: {
        "model": "simulator-text-1",
        "messages": [{"role": "user", "content": f"question {n}"}],
        "max_completion_tokens": 20,
    },
    "embeddings": lambda n: {"model": "simulator-hashing-256", "input": f"text {n}"},
}
TYPES: dict[str, type[ChatCompletion] | type[CreateEmbeddingResponse]] = {
    "chat": ChatCompletion,
    "embeddings": CreateEmbeddingResponse,
}
URLS = {"chat": "/v1/chat/completions", "embeddings": "/v1/embeddings"}


@pytest.mark.parametrize(("job", "requests"), [("chat", 45), ("embeddings", 3)])
def test_batch_lines_are_answered_line_by_line(
    judge: Callable[..., Judge], tmp_path: Path, job: str, requests: int
) -> None:
    server = judge("--engine", "hashing")
    records = [
        {"custom_id": f"task-{n}", "method": "POST", "url": URLS[job], "body": BODIES[job](n)} for n in range(45)
    ]
    write_records(tmp_path / "in.jsonl", records)
    config = write_config(
        tmp_path,
        "batch",
        job=job,
        endpoint="simulator",
        input={"path": "in.jsonl"},
        output={"path": "out.jsonl"},
    )
    ended = pipeline("run", str(config), "--json", home=tmp_path, extra=server.environment)
    lines = read_lines(tmp_path / "out.jsonl")
    bodies = [TYPES[job].model_validate(line["response"]["body"], strict=True) for line in lines]

    assert ended.code == 0
    assert [line["custom_id"] for line in lines] == [f"task-{n}" for n in range(45)]
    assert all(list(line) == ["id", "custom_id", "response", "error"] for line in lines)
    assert all(list(line["response"]) == ["status_code", "request_id", "body"] for line in lines)
    assert all(line["error"] is None and line["response"]["status_code"] == 200 for line in lines)
    assert len(server.entries()) == requests
    assert sum(body.usage.prompt_tokens for body in bodies if body.usage) == ended.summary["tokens"]["input"]
    assert ended.summary["money"]["spent_nusd"] == server.billed()
