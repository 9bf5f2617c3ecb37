"""The usage log while runs go, die and go on, as another process sees it."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.storage.state import default_state
from pipeline.storage.usage import RunRow, UsageLog
from pipeline.types import Json
from tests.acceptance.command import pipeline, start, write_config, write_records
from tests.faults.storms.scene import recorded
from tests.judge import Judge

RECORDS = 240
KEYS: dict[str, Json] = {
    "job": "completions",
    "endpoint": "simulator",
    "model": "simulator-text-1",
    "prompt": "{{ text }}",
    "max_output_tokens": 8,
    "input": {"path": "in.jsonl"},
    "output": {"path": "out.jsonl"},
    "batch": {"max_items": 1},
    "limits": {"concurrency": 4},
    "tags": {"team": "search", "case": "42"},
}
PATIENCE = 30


@pytest.fixture
def server(judge: Callable[..., Judge]) -> Judge:
    return judge("--engine", "hashing", "--latency", "0.08", "--cached-share", "0.5")


def log_in(home: Path) -> UsageLog:
    return UsageLog(home / "usage" / "usage.db")


def begin(home: Path, name: str = "job", **keys: Json) -> Path:
    write_records(home / "in.jsonl", [{"text": f"text {number}"} for number in range(RECORDS)])
    return write_config(home, name, **{**KEYS, **keys})


def wait_for(home: Path, true: Callable[[RunRow], bool]) -> RunRow:
    """The run that began last, once something is true of it."""
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until:
        runs = log_in(home).runs(1)
        if runs and true(runs[0]):
            return runs[0]
        time.sleep(0.05)  # the run is another process: it can only be watched
    raise AssertionError(f"nothing of the kind in {PATIENCE} s")


def logged(home: Path) -> tuple[int, int]:
    total = log_in(home).total()
    return total.ok_nusd + total.retried_nusd, total.unknown_nusd


def in_ledger(home: Path, output: str = "out.jsonl") -> tuple[int, int]:
    money = recorded(default_state(home / output) / "ledger.db")
    return money.spent, money.unknown


def test_others_see_a_run_and_its_spend_while_it_goes_and_that_it_was_killed(server: Judge, tmp_path: Path) -> None:
    config = begin(tmp_path)
    process = start(["run", str(config)], tmp_path, server.environment)
    running = wait_for(tmp_path, lambda run: run.spent_nusd > 0)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    (died,) = log_in(tmp_path).runs()
    first = sum(logged(tmp_path))
    ended = pipeline("run", str(config), "--json", home=tmp_path, extra=server.environment)
    (last, before) = log_in(tmp_path).runs()
    by_run = {total.key: total for total in log_in(tmp_path).totals("run")}
    own = [by_run[f"job {run.ledger_id}-{run.run_no}"] for run in (before, last)]
    print(
        f"\nseen {running.spent_nusd} while it ran, {first} when it was killed; at the end {logged(tmp_path)} nano-USD"
    )

    assert (running.state, running.pid, running.config) == ("running", process.pid, str(config))
    assert (died.state, died.exit_code) == ("died", None)
    assert (last.state, last.exit_code, last.records_total) == ("complete", 0, RECORDS)
    assert (before.run_no, before.state, last.run_no) == (1, "died", 2)
    assert logged(tmp_path) == in_ledger(tmp_path)
    assert own[0].unknown_nusd == 0, "what was in flight is spend of the run that recovered"
    assert own[1].unknown_nusd == last.unknown_nusd == in_ledger(tmp_path)[1] > 0
    assert own[0].ok_nusd >= first
    assert own[1].ok_nusd + own[1].retried_nusd == last.spent_nusd
    assert ended.summary["this_run"]["money"]["spent_nusd"] == last.spent_nusd


def test_two_runs_have_their_own_rows_and_tags_and_what_was_saved(server: Judge, tmp_path: Path) -> None:
    config = begin(tmp_path, limit=10)
    assert pipeline("run", str(config), home=tmp_path, extra=server.environment).code == 0
    config = begin(tmp_path, limit=30, tags={"team": "other"})
    assert pipeline("run", str(config), home=tmp_path, extra=server.environment).code == 0
    assert pipeline("run", str(config), home=tmp_path, extra=server.environment).code == 0
    shown = {
        by: json.loads(pipeline("usage", "--by", by, "--json", home=tmp_path).out)["rows"] for by in ("run", "tag")
    }

    assert [each["requests"] for each in shown["run"]] == [10, 20]
    assert {each["key"]: each["requests"] for each in shown["tag"]} == {
        "team=search": 10,
        "case=42": 10,
        "team=other": 20,
    }
    assert sum(each["saved_nusd"] for each in shown["run"]) == 75 * sum(each["cached"] for each in shown["run"]) > 0
    assert sum(each["ok_nusd"] for each in shown["run"]) == server.billed() == in_ledger(tmp_path)[0]
    assert [run.run_no for run in log_in(tmp_path).runs()] == [2, 1], "the third had nothing to do"


def test_a_log_that_was_lost_is_made_again_from_the_ledger(server: Judge, tmp_path: Path) -> None:
    config = begin(tmp_path, limit=10)
    pipeline("run", str(config), home=tmp_path, extra=server.environment)
    for path in (tmp_path / "usage").glob("usage.db*"):
        path.unlink()
    pipeline("run", str(config), home=tmp_path, extra=server.environment)

    assert logged(tmp_path) == in_ledger(tmp_path) == (server.billed(), 0)


def test_a_log_that_cannot_be_written_costs_a_notice_and_nothing_else(server: Judge, tmp_path: Path) -> None:
    config = begin(tmp_path, limit=10)
    (tmp_path / "usage").mkdir()
    (tmp_path / "usage" / "usage.db").write_bytes(b"no log")
    ended = pipeline("run", str(config), "--json", home=tmp_path, extra=server.environment)

    assert ended.code == 0
    assert [notice for notice in ended.summary["notices"] if "usage log" in notice] == [ended.summary["notices"][-1]]
