"""The same command again: on an input that grew, that was edited, with another config, from a pipe."""

from __future__ import annotations

import gzip
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import orjson
import pytest
import zstandard

from pipeline.types import Json
from tests.acceptance.command import environment, pipeline, read_lines, write_config, write_records
from tests.judge import Judge

KEYS: dict[str, Json] = {
    "job": "embeddings",
    "endpoint": "simulator",
    "model": "simulator-hashing-256",
    "text": "{{ text }}",
    "output": {"path": "out.jsonl", "keep": ["text"]},
}


def records(count: int) -> list[Json]:
    return [{"text": f"text {number}"} for number in range(count)]


@pytest.fixture
def server(judge: Callable[..., Judge]) -> Judge:
    return judge("--engine", "hashing")


def answered(folder: Path) -> list[str]:
    return [line["text"] for line in read_lines(folder / "out.jsonl")]


def test_an_input_that_grew_is_continued(server: Judge, tmp_path: Path) -> None:
    config = write_config(tmp_path, "job", **KEYS, input={"path": "in.jsonl"})
    write_records(tmp_path / "in.jsonl", records(50))
    first = pipeline("run", str(config), home=tmp_path, extra=server.environment)
    write_records(tmp_path / "in.jsonl", records(90))
    second = pipeline("run", str(config), "--json", home=tmp_path, extra=server.environment)
    third = pipeline("run", str(config), home=tmp_path, extra=server.environment)

    assert (first.code, second.code, third.code) == (0, 0, 0)
    assert answered(tmp_path) == [f"text {number}" for number in range(90)]
    assert sum(len(entry.inputs) for entry in server.entries()) == 90
    assert second.summary["this_run"]["records"]["ok"] == 40
    assert second.summary["records"]["ok"] == 90


def test_an_edited_input_is_refused_by_line_and_nothing_is_sent(server: Judge, tmp_path: Path) -> None:
    config = write_config(tmp_path, "job", **KEYS, input={"path": "in.jsonl"})
    lines = records(50)
    write_records(tmp_path / "in.jsonl", lines)
    pipeline("run", str(config), home=tmp_path, extra=server.environment)
    sent = len(server.entries())
    lines[7]["text"] = "another"
    write_records(tmp_path / "in.jsonl", lines)
    ended = pipeline("run", str(config), home=tmp_path, extra=server.environment)
    fresh = pipeline("run", str(config), "--fresh", home=tmp_path, extra=server.environment)

    assert ended.code == 5
    assert "lines 1-50" in ended.err
    assert fresh.code == 0
    assert answered(tmp_path)[7] == "another"
    assert len(server.entries()) == 2 * sent
    assert list((tmp_path / "out.jsonl.state").glob("old-out.jsonl-*")), "the old answers are kept"


@pytest.mark.parametrize("change", [{"model": "other"}, {"params": {"dimensions": 64}}, {"text": "again: {{ text }}"}])
def test_a_config_that_matters_must_not_change(server: Judge, tmp_path: Path, change: dict[str, Json]) -> None:
    write_records(tmp_path / "in.jsonl", records(30))
    config = write_config(tmp_path, "job", **KEYS, input={"path": "in.jsonl"})
    pipeline("run", str(config), home=tmp_path, extra=server.environment)
    sent = len(server.entries())
    write_config(tmp_path, "job", **{**KEYS, **change}, input={"path": "in.jsonl"})
    ended = pipeline("run", str(config), home=tmp_path, extra=server.environment)

    assert ended.code == 5
    assert "--fresh" in ended.err
    assert len(server.entries()) == sent


def test_a_limit_is_a_sample_that_the_whole_run_continues(server: Judge, tmp_path: Path) -> None:
    write_records(tmp_path / "in.jsonl", records(60))
    config = write_config(tmp_path, "job", **KEYS, input={"path": "in.jsonl"})
    pipeline("run", str(config), "--limit", "20", home=tmp_path, extra=server.environment)
    sample = answered(tmp_path)
    pipeline("run", str(config), home=tmp_path, extra=server.environment)

    assert sample == [f"text {number}" for number in range(20)]
    assert answered(tmp_path) == [f"text {number}" for number in range(60)]
    assert sum(len(entry.inputs) for entry in server.entries()) == 60


@pytest.mark.parametrize(("name", "compress"), [("in.jsonl.gz", gzip.compress), ("in.jsonl.zst", zstandard.compress)])
def test_a_compressed_input_is_read_as_it_is(
    server: Judge, tmp_path: Path, name: str, compress: Callable[[bytes], bytes]
) -> None:
    content = write_records(tmp_path / "plain.jsonl", records(30)).read_bytes()
    (tmp_path / name).write_bytes(compress(content))
    config = write_config(tmp_path, "job", **KEYS, input={"path": name})

    assert pipeline("run", str(config), home=tmp_path, extra=server.environment).code == 0
    assert answered(tmp_path) == [f"text {number}" for number in range(30)]


def test_a_pipe_in_and_a_pipe_out(server: Judge, tmp_path: Path) -> None:
    config = write_config(tmp_path, "job", **{**KEYS, "output": {"path": "-", "keep": ["text"]}}, input={"path": "-"})
    command = [sys.executable, "-m", "pipeline", "run", str(config), "--state", "state"]
    content = write_records(tmp_path / "in.jsonl", records(50)).read_bytes()

    def through() -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(
            command,
            cwd=tmp_path,
            env=environment(tmp_path, server.environment),
            input=content,
            capture_output=True,
            timeout=60,
            check=False,
        )

    first, second = through(), through()

    assert (first.returncode, second.returncode) == (0, 0)
    assert [orjson.loads(line)["text"] for line in first.stdout.splitlines()] == [f"text {n}" for n in range(50)]
    assert second.stdout == first.stdout
    assert sum(len(entry.inputs) for entry in server.entries()) == 50, "the second run buys nothing"


def test_an_output_to_stdout_needs_a_place_for_its_state(server: Judge, tmp_path: Path) -> None:
    write_records(tmp_path / "in.jsonl", records(5))
    config = write_config(tmp_path, "job", **KEYS, input={"path": "in.jsonl"})
    ended = pipeline("run", str(config), "-o", "-", home=tmp_path, extra=server.environment)

    assert ended.code == 2
    assert "--state" in ended.err
    assert server.entries() == []


def test_the_output_must_not_be_the_input(server: Judge, tmp_path: Path) -> None:
    content = write_records(tmp_path / "in.jsonl", records(5)).read_bytes()
    (tmp_path / "other-name.jsonl").hardlink_to(tmp_path / "in.jsonl")
    config = write_config(tmp_path, "job", **KEYS, input={"path": "in.jsonl"})
    codes = [
        pipeline("run", str(config), "-o", name, home=tmp_path, extra=server.environment).code
        for name in ("in.jsonl", "other-name.jsonl", str(tmp_path))
    ]

    assert codes == [2, 2, 2]
    assert (tmp_path / "in.jsonl").read_bytes() == content


def test_changes_that_are_accepted_are_sent_again(server: Judge, tmp_path: Path) -> None:
    config = write_config(tmp_path, "job", **KEYS, input={"path": "in.jsonl"})
    lines = records(50)
    write_records(tmp_path / "in.jsonl", lines)
    first = pipeline("run", str(config), "--json", home=tmp_path, extra=server.environment)
    lines[7]["text"] = "another and longer one"
    write_records(tmp_path / "in.jsonl", lines)
    ended = pipeline("run", str(config), "--accept-changes", "--json", home=tmp_path, extra=server.environment)
    again = pipeline("run", str(config), home=tmp_path, extra=server.environment)

    assert (first.code, ended.code, again.code) == (0, 0, 0)
    assert answered(tmp_path) == [line["text"] for line in lines]
    assert any("lines 1-50 are sent again" in notice for notice in ended.summary["notices"])
    assert ended.summary["money"]["spent_nusd"] == server.billed()


def test_a_lost_ledger_is_repaired_and_nothing_is_bought_again(server: Judge, tmp_path: Path) -> None:
    config = write_config(tmp_path, "job", **KEYS, input={"path": "in.jsonl"})
    write_records(tmp_path / "in.jsonl", records(50))
    pipeline("run", str(config), home=tmp_path, extra=server.environment)
    sent = len(server.entries())
    for path in (tmp_path / "out.jsonl.state").glob("ledger.db*"):
        path.unlink()
    refused = pipeline("run", str(config), home=tmp_path, extra=server.environment)
    repaired = pipeline("run", str(config), "--repair", "--json", home=tmp_path, extra=server.environment)

    assert refused.code == 2
    assert "--repair" in refused.err
    assert repaired.code == 0
    assert len(server.entries()) == sent
    assert answered(tmp_path) == [f"text {number}" for number in range(50)]
    assert repaired.summary["money"]["spent_nusd"] == server.billed()
