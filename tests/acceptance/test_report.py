"""`pipeline report` on runs that ended well, stopped, were refused, were killed, or are under way."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import orjson
import pytest

from tests.acceptance.command import pipeline, start, write_config, write_records
from tests.judge import Judge
from tests.report.markup import Markup

REPORT = "out.jsonl.report.html"


def config(home: Path, records: int = 60, **keys: object) -> str:
    """Write a job of which every 20th record is refused, and its input."""
    texts = [f"record {number}{' POISON' if number % 20 == 7 else ''}" for number in range(records)]
    write_records(home / "in.jsonl", [{"text": text} for text in texts])
    whole = {
        "job": "embeddings",
        "endpoint": "simulator",
        "model": "simulator-hashing-256",
        "input": {"path": "in.jsonl"},
        "output": {"path": "out.jsonl", "keep": ["text"]},
        "text": "{{ text }}",
        "batch": {"max_items": 4},
        "budget": {"hard_usd": 1},
        **keys,
    }
    return write_config(home, "job", **whole).name


def shown(home: Path, name: str = REPORT) -> str:
    """The text of a report, in one line."""
    return " ".join(Markup((home / name).read_text(encoding="utf-8")).text.split())


def test_a_finished_run_is_reported_with_its_failures_its_cost_and_a_sample(
    judge: Callable[..., Judge], tmp_path: Path
) -> None:
    server = judge("--engine", "hashing", "--script", "rate_limited_ms,server_error")
    path = config(tmp_path)
    ran = pipeline("run", path, home=tmp_path, extra=server.environment)
    done = pipeline("report", path, home=tmp_path, extra=server.environment)
    text = shown(tmp_path)

    assert (ran.code, done.code, done.out) == (3, 0, f"{REPORT}\n")
    assert (tmp_path / REPORT).stat().st_mode & 0o777 == 0o600
    assert "57 of 60 records have a result, 3 failed for good." in text
    assert "8 · 8" in text, "line and id of the first that failed"
    assert "rate_limit_exceeded 1" in text
    assert "The plan of the whole input says $0.00" in text
    assert "text: record 0" in text
    assert "256 numbers]" in text
    assert "pipeline retry job.yaml" in text
    assert "budget.hard_usd 1 " in text
    assert "job.yaml:" in text


def test_samples_are_left_out_where_they_are_not_wanted(judge: Callable[..., Judge], tmp_path: Path) -> None:
    server = judge("--engine", "hashing")
    path = config(tmp_path, 8)
    pipeline("run", path, home=tmp_path, extra=server.environment)
    done = pipeline("report", path, "--no-samples", "-o", "here.html", home=tmp_path, extra=server.environment)

    assert (done.code, done.out) == (0, "here.html\n")
    assert "record 0" not in shown(tmp_path, "here.html")
    assert not (tmp_path / REPORT).exists()


@pytest.mark.parametrize("name", ["in.jsonl", "out.jsonl", "out.jsonl.state/ledger.db", "job.yaml", "link.html", "."])
def test_a_report_replaces_an_older_one_and_nothing_else(
    judge: Callable[..., Judge], tmp_path: Path, name: str
) -> None:
    server = judge("--engine", "hashing")
    path = config(tmp_path, 4)
    pipeline("run", path, home=tmp_path, extra=server.environment)
    (tmp_path / "link.html").symlink_to("in.jsonl")
    before = {each: each.read_bytes() for each in tmp_path.rglob("*") if each.is_file()}
    refused = pipeline("report", path, "-o", name, home=tmp_path, extra=server.environment)

    assert refused.code == 2
    assert {each: each.read_bytes() for each in before} == before
    assert [pipeline("report", path, home=tmp_path, extra=server.environment).code for _ in range(2)] == [0, 0]


def test_a_place_that_cannot_be_written_to_is_named(judge: Callable[..., Judge], tmp_path: Path) -> None:
    server = judge("--engine", "hashing")
    path = config(tmp_path, 4)
    pipeline("run", path, home=tmp_path, extra=server.environment)
    done = pipeline("report", path, "-o", "absent/r.html", home=tmp_path, extra=server.environment)

    assert (done.code, done.err) == (2, "pipeline: cannot write absent/r.html; choose another place with -o\n")


def test_without_a_run_there_is_nothing_to_report(tmp_path: Path) -> None:
    done = pipeline("report", config(tmp_path, 3), home=tmp_path)

    assert done.code == 2
    assert done.err == "pipeline: out.jsonl: its first run has not begun; there is nothing to report yet\n"
    assert not (tmp_path / REPORT).exists()


def test_a_run_that_was_refused_is_reported_with_the_reason(judge: Callable[..., Judge], tmp_path: Path) -> None:
    server = judge("--engine", "hashing")
    path = config(tmp_path, 8)
    pipeline("run", path, home=tmp_path, extra=server.environment)
    write_records(tmp_path / "in.jsonl", [{"text": "another"}] * 8)
    refused = pipeline("run", path, home=tmp_path, extra=server.environment)
    done = pipeline("report", path, home=tmp_path, extra=server.environment)

    assert (refused.code, done.code) == (5, 0)
    assert "Refused: state and files disagree" in shown(tmp_path)
    assert "was changed since it was read: lines 1-8" in shown(tmp_path)


def test_a_run_that_a_person_must_mend_is_reported(judge: Callable[..., Judge], tmp_path: Path) -> None:
    server = judge("--engine", "hashing", "--script", "invalid_api_key")
    path = config(tmp_path, 8)
    ran = pipeline("run", path, home=tmp_path, extra=server.environment)
    done = pipeline("report", path, home=tmp_path, extra=server.environment)

    assert (ran.code, done.code) == (6, 0)
    assert "Stopped: a person is needed" in shown(tmp_path)
    assert "pipeline run job.yaml" in shown(tmp_path)


def test_a_run_under_way_then_killed_then_finished_is_reported_each_time(
    judge: Callable[..., Judge], tmp_path: Path
) -> None:
    server = judge("--engine", "hashing", "--latency", "0.1")
    path = config(tmp_path, 4000, limits={"rpm": 1200, "concurrency": 8})
    history = tmp_path / "out.jsonl.state" / "history.json"
    process = start(["run", path], tmp_path, server.environment)
    while not history.exists() and process.poll() is None:
        time.sleep(0.05)  # the run is another process: it can only be watched
    pipeline("report", path, home=tmp_path, extra=server.environment)
    running = shown(tmp_path)
    process.kill()
    process.communicate()
    pipeline("report", path, home=tmp_path, extra=server.environment)
    killed = shown(tmp_path)
    sent = sum(orjson.loads(history.read_bytes())["last"]["timeline"]["columns"]["sent"])
    pipeline("run", path, "--deadline", "2s", home=tmp_path, extra=server.environment)
    pipeline("report", path, home=tmp_path, extra=server.environment)
    stopped = shown(tmp_path)

    assert "▶" not in running
    assert "Running" in running
    assert "pipeline status job.yaml" in running
    assert "Killed The process is gone without a last word" in killed
    assert sent > 0
    assert "Stopped by its budget or deadline The deadline has come" in stopped
    assert "All 2 runs of this output" in stopped


@pytest.mark.parametrize("content", [b"", b"{}", b"\xff\xfe"])
def test_a_damaged_history_costs_the_charts_and_nothing_else(
    judge: Callable[..., Judge], tmp_path: Path, content: bytes
) -> None:
    server = judge("--engine", "hashing")
    path = config(tmp_path, 8)
    pipeline("run", path, home=tmp_path, extra=server.environment)
    (tmp_path / "out.jsonl.state" / "history.json").write_bytes(content)
    done = pipeline("report", path, home=tmp_path, extra=server.environment)

    assert done.code == 0
    assert "7 of 8 records have a result" in shown(tmp_path)
    assert "Throughput" not in shown(tmp_path)
