"""Whatever cap is set, no request goes out whose cost has no bound: all four jobs, templated and as Batch lines."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from pipeline.config import load
from pipeline.observers.summary import Summary
from pipeline.runner import run
from pipeline.types import Json
from tests.acceptance.command import environment, write_config, write_endpoint, write_records
from tests.judge import Judge

CAPS: Mapping[str, tuple[Json, Json]] = {
    "hard": ({"hard_usd": 1}, {}),
    "monthly": ({"monthly_usd": 1}, {}),
    "endpoint": ({}, {"monthly_usd": 1}),
    "model": ({}, {"limits": {"simulator-*": {"monthly_usd": 1}}}),
}
"""What is capped: keys of the budget, and of the endpoint."""
ANOTHER: tuple[Json, Json] = ({}, {"limits": {"another": {"monthly_usd": 1}}})
JOBS: Mapping[str, tuple[str, Json, str, Json]] = {
    "embeddings": ("simulator-hashing-256", {"text": "{{ text }}"}, "embeddings", {"input": "a b c"}),
    "moderations": ("simulator-moderation-1", {"text": "{{ text }}"}, "moderations", {"input": "a b c"}),
    "completions": ("simulator-text-1", {"prompt": "{{ text }}"}, "completions", {"prompt": "a b c"}),
    "chat": (
        "simulator-text-1",
        {"prompt": "{{ text }}"},
        "chat/completions",
        {"messages": [{"role": "user", "content": "a b c"}]},
    ),
}
"""Model, template, URL and what a Batch line asks."""


class Home:
    """A folder and a server."""

    def __init__(self, folder: Path, server: Judge) -> None:
        self.folder = folder
        self.server = server

    async def run(self, job: str, caps: str, *, lines: bool, **keys: Json) -> Summary:
        model, template, url, asked = JOBS[job]
        budget, endpoint = CAPS.get(caps, ANOTHER)
        write_endpoint(self.folder, "own", self.server.url, provider="simulator", **endpoint)
        body = {"model": model, **asked}
        line = {"custom_id": "a", "method": "POST", "url": f"/v1/{url}", "body": body}
        write_records(self.folder / "in.jsonl", [line] if lines else [{"text": "a b c"}])
        config = write_config(
            self.folder,
            "job",
            job=job,
            endpoint="own",
            input={"path": str(self.folder / "in.jsonl")},
            output={"path": str(self.folder / "out.jsonl")},
            budget=budget,
            **({} if lines else {"model": model, **template}),
            **keys,
        )
        return await run(load(config, {}, environment(self.folder)))


@pytest.fixture
def home(judge: Callable[..., Judge], tmp_path: Path) -> Home:
    return Home(tmp_path, judge("--engine", "hashing"))


@pytest.mark.parametrize("caps", CAPS)
async def test_a_chat_without_a_limit_is_not_sent(home: Home, caps: str) -> None:
    templated = await home.run("chat", caps, lines=False)
    (home.folder / "out.jsonl.state").rename(home.folder / "old.state")
    (home.folder / "out.jsonl.partial").unlink()
    line = await home.run("chat", caps, lines=True)

    assert (templated.exit_code, templated.message) == (
        2,
        "a budget needs a limit of output tokens for every request: set max_output_tokens",
    )
    assert (line.exit_code, line.codes) == (3, {"unbounded": 1})
    assert home.server.entries() == []


@pytest.mark.parametrize("lines", [False, True])
@pytest.mark.parametrize("caps", CAPS)
async def test_the_configs_limit_is_put_into_every_request(home: Home, caps: str, lines: bool) -> None:
    summary = await home.run("chat", caps, lines=lines, max_output_tokens=3)

    assert summary.exit_code == 0
    assert [entry.tokens.output for entry in home.server.served()] == [3]


@pytest.mark.parametrize("lines", [False, True])
@pytest.mark.parametrize("job", ["embeddings", "moderations", "completions"])
@pytest.mark.parametrize("caps", CAPS)
async def test_other_jobs_are_bounded_by_themselves(home: Home, caps: str, job: str, lines: bool) -> None:
    summary = await home.run(job, caps, lines=lines)

    assert summary.exit_code == 0
    assert len(home.server.served()) == 1
    assert summary.whole.money.spent_nusd == home.server.billed()


async def test_a_cap_on_another_model_asks_nothing_of_a_request(home: Home) -> None:
    summary = await home.run("chat", "another", lines=False)

    assert summary.exit_code == 0
    assert len(home.server.served()) == 1
