from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
import threading
import time

import pytest

from pipeline import (
    BudgetReached,
    Earlier,
    Locked,
    NeedsPerson,
    StateMismatch,
    UsageError,
    aplan,
    arun,
    load,
    outcomes,
    plan,
    run,
)
from pipeline.storage.state import Lock, default_state, make_private
from tests.acceptance.command import read_lines, write_records
from tests.api.scene import SetUp, rows


def test_a_path_is_run_and_its_money_is_what_the_server_billed(scene: SetUp) -> None:
    here = scene()
    here.records(50)

    summary = run(here.config())

    assert (summary.state, summary.exit_code, summary.records.ok) == ("complete", 0, 50)
    assert summary.money.spent_nusd == here.server.billed()
    assert summary.money.spent_usd == here.server.billed() / 1e9
    assert summary.raise_for_state() is summary
    assert len(read_lines(here.folder / "out.jsonl")) == 50


def test_the_same_call_again_buys_nothing_and_a_longer_input_only_the_rest(scene: SetUp) -> None:
    here = scene()
    here.records(20)
    run(here.config())
    run(here.config())
    assert here.sent == 20

    here.records(35)
    assert run(here.config()).records.ok == 35
    assert here.sent == 35


def test_keywords_come_before_the_file(scene: SetUp) -> None:
    here = scene()
    here.records(20)

    summary = run(here.config(), limit=5, budget_usd=1, output="other.jsonl", limits={"rpm": 6000})

    assert (summary.records.ok, summary.money.cap_nusd, summary.output) == (5, 1_000_000_000, "other.jsonl")


def test_rows_in_memory_are_kept_in_the_state_directory_and_resumed(scene: SetUp) -> None:
    here = scene()
    here.config()

    first = run("c.yaml", input=rows(30))
    second = run("c.yaml", input=(row for row in rows(40)))

    assert (first.records.ok, second.records.ok, here.sent) == (30, 40, 40)
    kept = here.folder / "out.jsonl.state" / "input.jsonl"
    assert read_lines(kept) == rows(40)
    assert kept.stat().st_mode & 0o777 == 0o600


def test_other_rows_are_refused_and_the_old_ones_kept(scene: SetUp) -> None:
    here = scene()
    here.config()
    run("c.yaml", input=rows(30))

    with pytest.raises(StateMismatch, match="lines 1-30"):
        run("c.yaml", input=[{"id": "x", "text": "another"}])
    assert here.sent == 30
    [old] = (here.folder / "out.jsonl.state").glob("old-input.jsonl-*")
    assert read_lines(old) == rows(30)
    assert run("c.yaml", input=[{"id": "x", "text": "another"}], earlier=Earlier(fresh=True)).records.ok == 1


def test_a_config_is_a_mapping_or_keywords_alone(scene: SetUp) -> None:
    here = scene()
    keys = {"job": "embeddings", "endpoint": "simulator", "model": "simulator-hashing-256", "text": "{{ text }}"}

    mapped = run({**keys, "input": {"path": here.records(10)}, "output": {"path": here.folder / "a.jsonl"}})
    spoken = run(
        job="embeddings",
        endpoint="simulator",
        model="simulator-hashing-256",
        text="{{ text }}",
        input=rows(10),
        id="id",
        state="state",
    )

    assert (mapped.name, mapped.records.ok) == ("a", 10)
    assert (spoken.name, spoken.records.ok, spoken.output) == ("state", 10, "state/output.jsonl")


def test_what_is_refused_is_raised_and_nothing_is_sent(scene: SetUp) -> None:
    here = scene()
    here.records(5)
    with pytest.raises(UsageError, match=r"config: limits\.tmp: unknown key \(did you mean 'tpm'\?\)"):
        run({"limits": {"tmp": 5}})
    with pytest.raises(UsageError, match=r"argument: limits\.rpm: must be at least 1"):
        run(here.config(), limits={"rpm": 0})
    with pytest.raises(UsageError, match=r"no-such\.jsonl"):
        run(here.config(), input="no-such.jsonl")
    with pytest.raises(UsageError, match="row 2 of the input must be a mapping, not int"):
        run(here.config(), input=[{"id": "a"}, 5])  # type: ignore[list-item]
    with pytest.raises(TypeError, match="loaded already"):
        run(load(here.config()), limit=5)

    state = default_state(here.folder / "out.jsonl")
    make_private(state)
    lock = Lock.take(state / "lock")
    with pytest.raises(Locked):
        run(here.config())
    lock.release()
    assert here.sent == 0


def test_what_stops_a_run_is_in_its_summary(scene: SetUp) -> None:
    here = scene("--quota-after", "8")
    here.records(60)

    stopped = run(here.config(), batch={"max_items": 5}, limits={"concurrency": 1}, budget_usd=0.000001)

    assert (stopped.state, stopped.exit_code) == ("stopped", 4)
    with pytest.raises(BudgetReached):
        stopped.raise_for_state()
    with pytest.raises(NeedsPerson):
        run(here.config(), batch={"max_items": 5}, limits={"concurrency": 1}).raise_for_state()


def test_dead_letters_do_not_keep_a_run_from_its_end(scene: SetUp) -> None:
    here = scene()
    write_records(here.folder / "in.jsonl", [*rows(3), {"id": "no-text"}])

    summary = run(here.config()).raise_for_state()

    assert (summary.state, summary.exit_code, summary.codes) == ("complete", 3, {"template": 1})
    assert [outcome.custom_id for outcome in outcomes(here.config())] == ["r1", "r2", "r3", "no-text"]


def test_a_plan_sends_nothing(scene: SetUp) -> None:
    here = scene()
    here.records(45)

    assert (plan(here.config()).requests, plan(here.config(), input=rows(61)).requests) == (3, 4)
    assert asyncio.run(aplan(here.config())).records == 45
    assert here.sent == 0


async def test_run_works_where_a_loop_runs_already_as_in_a_notebook(scene: SetUp) -> None:
    here = scene()
    here.records(10)

    assert run(here.config()).records.ok == 10
    assert plan(here.config()).records == 10


def test_run_works_in_any_thread(scene: SetUp) -> None:
    here = scene()
    here.records(10)
    config = here.config()
    ended = []
    thread = threading.Thread(target=lambda: ended.append(run(config)))
    thread.start()
    thread.join(30)

    assert [summary.records.ok for summary in ended] == [10]


async def test_runs_share_a_loop(scene: SetUp) -> None:
    here = scene()
    here.records(30)
    config = here.config()

    summaries = await asyncio.gather(*(arun(config, output=f"{name}.jsonl") for name in "abc"))

    assert [summary.records.ok for summary in summaries] == [30, 30, 30]
    assert sum(summary.money.spent_nusd for summary in summaries) == here.server.billed()


async def test_a_cancelled_run_drains_commits_and_goes_on_later(scene: SetUp) -> None:
    here = scene("--latency", "0.2")
    here.records(60)
    config = here.config(batch={"max_items": 5}, limits={"concurrency": 2})

    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.5):
            await arun(config)
    answered = len(read_lines(here.folder / "out.jsonl.partial"))

    assert answered == here.sent
    assert 0 < answered < 60
    assert (await arun(config)).records.ok == 60
    assert here.sent == 60


INTERRUPTED = """
import pathlib
from pipeline import run

try:
    run("c.yaml")
except KeyboardInterrupt:
    print("complete" if pathlib.Path("out.jsonl").exists() else "drained")
print(run("c.yaml").records.ok)
"""


def test_ctrl_c_drains_and_is_raised_then(scene: SetUp) -> None:
    here = scene("--latency", "0.2")
    here.records(60)
    here.config(batch={"max_items": 5}, limits={"concurrency": 2})

    process = subprocess.Popen([sys.executable, "-c", INTERRUPTED], stdout=subprocess.PIPE, text=True)
    until = time.monotonic() + 30
    while not here.sent and time.monotonic() < until:
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=60)

    assert out.split() == ["drained", "60"]
    assert here.sent == 60
    assert len(here.server.entries()) == 12, "nothing was sent twice"


def test_files_are_private_whatever_the_umask(scene: SetUp) -> None:
    here = scene()
    write_records(here.folder / "in.jsonl", [*rows(3), {"id": "no-text"}])
    run(here.config())

    written = [here.folder / "out.jsonl", here.folder / "out.jsonl.errors.jsonl"]
    written += (here.folder / "out.jsonl.state").iterdir()
    assert {path.name: oct(path.stat().st_mode & 0o077) for path in written} == {path.name: "0o0" for path in written}
