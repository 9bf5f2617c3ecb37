from __future__ import annotations

from pathlib import Path

import pytest

import pipeline
from pipeline.simulator import Options, Simulator
from tests.acceptance.command import read_lines, write_config, write_records

MODULE = '''
import orjson
from pipeline import Item, JobSpec, Rejected


class Shout:
    """Embeds the upper-case text; a user's own job."""

    path = "/embeddings"
    max_items = 3

    def __init__(self, spec):
        self.spec = spec

    def render(self, record):
        if "text" not in record.data:
            raise Rejected("no text", code="no_text")
        text = record.data["text"].upper()
        return Item(record, text, self.spec.tokenizer.estimate(text))

    def body(self, items):
        return {"model": self.spec.model, "input": [item.content for item in items]}

    def split(self, items, body):
        by_index = {entry["index"]: entry for entry in body["data"]}
        return [{"data": [by_index[number]]} for number in range(len(items))]

    def fields(self, answer):
        return {"first": answer["data"][0]["embedding"][0]}
'''


def test_every_public_name_is_there() -> None:
    assert all(getattr(pipeline, name) is not None for name in pipeline.__all__)
    with pytest.raises(AttributeError):
        _ = pipeline.nothing_of_the_kind


async def test_a_job_in_a_users_own_module_is_planned_and_run_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "shouting_jobs.py").write_text(MODULE)
    write_records(tmp_path / "in.jsonl", [{"text": "a"}, {"text": "b"}, {"other": 1}, {"text": "c"}, {"text": "d"}])
    config = write_config(
        tmp_path,
        "own",
        job="shouting_jobs:Shout",
        endpoint="simulator",
        model="simulator-hashing-256",
        input={"path": "in.jsonl"},
        output={"path": "out.jsonl", "keep": ["text"]},
    )
    async with Simulator(Options(engine="hashing")) as server:
        environ = {"SIMULATOR_BASE_URL": server.url, "PIPELINE_STATE": str(tmp_path / "usage")}
        loaded = pipeline.load(config, environ=environ)
        plan = await pipeline.aplan(loaded)
        summary = await pipeline.arun(loaded)
        billed = server.record.billed_nusd

    assert (plan.records, plan.requests, plan.bad) == (5, 2, {"no_text": 1})
    assert (summary.exit_code, summary.whole.records.ok, summary.codes) == (3, 4, {"no_text": 1})
    assert summary.whole.money.spent_nusd == billed
    assert [line["text"] for line in read_lines(tmp_path / "out.jsonl")] == ["a", "b", "c", "d"]
