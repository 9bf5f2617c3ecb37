"""Monthly caps: what runs that share a usage log are billed together, by the server's own record."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from pipeline.types import Json
from tests.acceptance.command import pipeline, read_lines, start, write_config, write_endpoint, write_records
from tests.judge import Judge

RUNS = 10
RECORDS = 600
"""Of each run: more than the cap can pay for."""
CAP = 0.01
KEYS: dict[str, Json] = {
    "job": "completions",
    "endpoint": "simulator",
    "model": "simulator-text-1",
    "prompt": "{{ text }}",
    "max_output_tokens": 64,
    "batch": {"max_items": 2},
    "limits": {"concurrency": 8},
}


@pytest.fixture
def server(judge: Callable[..., Judge]) -> Judge:
    return judge("--engine", "hashing", "--latency", "0.05", "--jitter", "0.03")


def config(home: Path, name: str, *, records: int = RECORDS, **keys: Json) -> Path:
    write_records(home / f"{name}.jsonl", [{"text": f"{name} {number}"} for number in range(records)])
    places = {"input": {"path": f"{name}.jsonl"}, "output": {"path": f"{name}-out.jsonl"}}
    return write_config(home, name, **{**KEYS, "budget": {"monthly_usd": CAP}, **places, **keys})


def begin(home: Path, server: Judge, names: Sequence[str], **keys: Json) -> list[subprocess.Popen[bytes]]:
    configs = [config(home, name, **keys) for name in names]
    return [start(["run", str(each), "-q"], home, server.environment) for each in configs]


def finish(runs: Sequence[subprocess.Popen[bytes]]) -> list[str]:
    """Wait for all and return what each said at last."""
    said = [run.communicate(timeout=60)[1].decode() for run in runs]
    assert [run.returncode for run in runs] == [4] * len(runs), said
    return said


def has_answers(partial: Path) -> bool:
    return partial.exists() and partial.stat().st_size > 0


def claimed(home: Path) -> list[tuple[str, int, int]]:
    with contextlib.closing(sqlite3.connect(home / "usage" / "usage.db")) as db:
        return list(db.execute("SELECT ledger_id, spent_nusd, held_nusd FROM commitment"))


def test_ten_runs_under_one_cap_use_it_up_and_are_never_billed_more(server: Judge, tmp_path: Path) -> None:
    runs = begin(tmp_path, server, [f"run{number}" for number in range(RUNS)])
    most = 0
    while any(run.poll() is None for run in runs):
        most = max(most, server.billed())
        time.sleep(0.1)  # the server is another process: it can only be watched
    said = finish(runs)
    shares = [len(read_lines(tmp_path / f"run{number}-out.jsonl.partial")) for number in range(RUNS)]
    print(
        f"\nbilled {server.billed()} of {CAP * 1e9:.0f} nano-USD ({server.billed() / CAP / 1e7:.2f} %), shares {shares}"
    )

    assert 0.98 * CAP * 1e9 <= server.billed() <= CAP * 1e9
    assert most <= CAP * 1e9
    assert all(
        "budget.monthly_usd of $0.010000" in each and time.strftime("%Y-%m", time.gmtime()) in each for each in said
    )
    assert sum(spent for _, spent, _ in claimed(tmp_path)) == server.billed()
    assert {held for _, _, held in claimed(tmp_path)} == {0}


def test_what_a_killed_run_may_have_spent_stays_counted_until_it_is_resumed(server: Judge, tmp_path: Path) -> None:
    runs = begin(tmp_path, server, [f"run{number}" for number in range(RUNS)])
    while server.billed() < 0.3 * CAP * 1e9:
        time.sleep(0.02)  # the server is another process: it can only be watched
    victim = next(number for number in range(RUNS) if has_answers(tmp_path / f"run{number}-out.jsonl.partial"))
    dead = runs.pop(victim)
    dead.kill()
    dead.communicate()
    finish(runs)
    before = server.billed()
    held = sum(held for _, _, held in claimed(tmp_path))
    resumed = str(tmp_path / f"run{victim}.yaml")
    again = pipeline("run", resumed, "--json", home=tmp_path, extra=server.environment)
    print(
        f"\nbilled {before} of {CAP * 1e9:.0f} nano-USD with {held} held by the dead run ({before / CAP / 1e7:.2f} %), "
        f"{server.billed()} when it was resumed"
    )

    assert before <= CAP * 1e9
    assert before + held >= 0.98 * CAP * 1e9
    assert again.code == 4
    assert server.billed() <= CAP * 1e9
    assert {held for _, _, held in claimed(tmp_path)} == {0}
    assert sum(spent for _, spent, _ in claimed(tmp_path)) >= server.billed()


def test_runs_without_a_cap_count_for_those_with_one(server: Judge, tmp_path: Path) -> None:
    free = config(tmp_path, "free", records=100, budget={})
    assert pipeline("run", str(free), home=tmp_path, extra=server.environment).code == 0
    spent = server.billed()
    capped = config(tmp_path, "capped", budget={"monthly_usd": 0.003})
    ended = pipeline("run", str(capped), "--json", home=tmp_path, extra=server.environment)

    assert ended.code == 4
    assert 1_000_000 < ended.summary["money"]["spent_nusd"] <= 3_000_000 - spent
    assert 0.98 * 3_000_000 <= server.billed() <= 3_000_000


def test_caps_of_an_endpoint_and_of_a_model_are_kept_beside_the_hard_budget(server: Judge, tmp_path: Path) -> None:
    limits = {"simulator-text-*": {"monthly_usd": 0.002}, "default": {"rpm": 100_000}}
    write_endpoint(tmp_path, "own", server.url, provider="simulator", monthly_usd=0.003, limits=limits)
    keys: dict[str, Json] = {"endpoint": "own", "budget": {"hard_usd": 0.0005}}
    hard = pipeline("run", str(config(tmp_path, "hard", **keys)), "--json", home=tmp_path, extra=server.environment)
    keys["budget"] = {}
    model = pipeline("run", str(config(tmp_path, "model", **keys)), "--json", home=tmp_path, extra=server.environment)
    by_model = server.billed()
    lines = [
        {
            "custom_id": f"{number}",
            "method": "POST",
            "url": "/v1/completions",
            "body": {"model": "other", "prompt": f"line {number}", "max_tokens": 16},
        }
        for number in range(RECORDS)
    ]
    write_records(tmp_path / "lines.jsonl", lines)
    (tmp_path / "prices.yaml").write_text(
        "simulator:\n  other: [{from: 2020-01-01, input_usd_per_mtok: 0.15, output_usd_per_mtok: 0.60}]\n"
    )
    others = write_config(
        tmp_path,
        "lines",
        job="completions",
        endpoint="own",
        input={"path": "lines.jsonl"},
        output={"path": "lines-out.jsonl"},
        batch={"max_items": 2},
    )
    endpoint = pipeline("run", str(others), "--json", home=tmp_path, extra=server.environment)

    assert [ended.code for ended in (hard, model, endpoint)] == [4, 4, 4]
    assert "the budget: $" in hard.summary["message"]
    assert "limits.simulator-text-*.monthly_usd of endpoint own of $0.002000" in model.summary["message"]
    assert "monthly_usd of endpoint own of $0.003000" in endpoint.summary["message"]
    assert 0.96 * 2_000_000 <= by_model <= 2_000_000
    assert 0.96 * 3_000_000 <= server.billed() <= 3_000_000


def test_with_a_cap_requests_need_a_limit_and_a_price(server: Judge, tmp_path: Path) -> None:
    chat: dict[str, Json] = {"job": "chat", "max_output_tokens": None, "records": 3}
    unbounded = pipeline("run", str(config(tmp_path, "chat", **chat)), home=tmp_path, extra=server.environment)
    unpriced = pipeline(
        "run", str(config(tmp_path, "unpriced", model="nameless")), home=tmp_path, extra=server.environment
    )

    assert (unbounded.code, unpriced.code) == (2, 2)
    assert "set max_output_tokens" in unbounded.err
    assert "no price is known" in unpriced.err
    assert server.entries() == []


@pytest.mark.parametrize("capped", [True, False])
def test_where_the_shared_file_cannot_be_used_only_a_run_with_a_cap_refuses(
    server: Judge, tmp_path: Path, capped: bool
) -> None:
    (tmp_path / "usage").mkdir()
    (tmp_path / "usage" / "usage.db").write_bytes(b"no log")
    path = config(tmp_path, "job", records=4, budget={"monthly_usd": 1} if capped else {})
    ended = pipeline("run", str(path), "--json", home=tmp_path, extra=server.environment)

    assert ended.code == (74 if capped else 0)
    assert ("the monthly cap cannot be kept: " in (ended.summary["message"] or "")) is capped
    assert (server.entries() == []) is capped


def test_a_run_that_waits_for_others_ends_at_once_when_it_is_asked_to(server: Judge, tmp_path: Path) -> None:
    ledger = {"ledger_id": "another", "month": time.strftime("%Y-%m", time.gmtime()), "endpoint": "e", "asked": "m"}
    pipeline("run", str(config(tmp_path, "first", records=2)), home=tmp_path, extra=server.environment)
    lock = tmp_path / "lock"
    holder = subprocess.Popen(["flock", str(lock), "sleep", "60"])
    while not lock.exists():
        time.sleep(0.01)  # another process: it can only be watched
    with contextlib.closing(sqlite3.connect(tmp_path / "usage" / "usage.db")) as db, db:
        values = (*ledger.values(), 0, 10_000_000, str(lock), 1.0)
        db.execute("INSERT INTO commitment VALUES (?, ?, ?, ?, ?, ?, ?, ?)", values)
    process = start(["run", str(config(tmp_path, "second", records=20))], tmp_path, server.environment)
    stderr = process.stderr
    assert stderr is not None
    said = b""
    while b"waiting for what other runs" not in said and process.poll() is None:
        said += os.read(stderr.fileno(), 65_536)
    began = time.monotonic()
    process.terminate()
    process.communicate(timeout=20)
    seconds = time.monotonic() - began
    holder.terminate()
    holder.wait()

    assert process.returncode == 143
    assert seconds < 3
    assert len(server.entries()) == 1
