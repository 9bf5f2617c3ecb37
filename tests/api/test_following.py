from __future__ import annotations

import gc
import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from itertools import islice
from pathlib import Path

import pytest

from pipeline import BudgetReached, DeadLetter, Earlier, Outcome, Result, StateMismatch, Where, open_run, outcomes, run
from pipeline.api import feed
from pipeline.observers.summary import Summary
from tests.acceptance.command import read_lines, write_records
from tests.api.scene import SetUp, rows

SMALL = {"batch": {"max_items": 5}, "limits": {"concurrency": 2}}


def taken(outcomes: list[Outcome]) -> list[str]:
    return sorted(outcome.custom_id for outcome in outcomes)


def names(count: int) -> list[str]:
    return sorted(f"r{number}" for number in range(1, count + 1))


def test_every_outcome_comes_once_with_all_that_is_known_of_it(scene: SetUp) -> None:
    here = scene()
    write_records(here.folder / "in.jsonl", [*rows(40), {"id": "no-text", "subject": "x"}])
    with (here.folder / "in.jsonl").open("a") as file:
        file.write("{broken\n")

    with open_run(here.config()) as following:
        got = list(following)

    results = {outcome.line: outcome for outcome in got if isinstance(outcome, Result)}
    dead = {outcome.line: outcome for outcome in got if isinstance(outcome, DeadLetter)}
    written = {line["custom_id"]: line for line in read_lines(here.folder / "out.jsonl")}
    assert (sorted(results), sorted(dead)) == (list(range(1, 41)), [41, 42])
    for number, result in results.items():
        line = written[f"r{number}"]
        assert result.custom_id == f"r{number}"
        assert result.record == {"id": f"r{number}", "text": f"text {number}"}
        assert result.answer == {"text": f"text {number}", "embedding": line["embedding"]}
        assert (result.cost_usd, result.model) == (line["cost_usd"], "simulator-hashing-256")
        assert result.usage.input == line["usage"]["prompt_tokens"]
    assert sum(result.cost_nusd for result in results.values()) == here.server.billed()
    assert (dead[41].code, dead[41].record) == ("template", {"id": "no-text", "subject": "x"})
    assert (dead[42].code, dead[42].record) == ("invalid_json", "{broken")
    assert (following.summary.exit_code, following.summary.records.failed) == (3, 2)


async def test_the_same_on_the_running_loop(scene: SetUp) -> None:
    here = scene()
    write_records(here.folder / "in.jsonl", [*rows(40), {"id": "no-text"}])

    async with open_run(here.config()) as following:
        got = [outcome async for outcome in following]

    assert taken(got) == sorted([*names(40), "no-text"])
    assert following.summary.records.ok == 40


def test_opened_again_a_run_gives_what_is_there_and_then_the_rest(scene: SetUp) -> None:
    here = scene()
    here.records(60)
    config = here.config(**SMALL)

    with open_run(config) as following:
        first = list(islice(following, 12))
    assert following.summary.state == "interrupted"
    bought = here.sent
    assert len(first) == 12 <= bought < 60

    with open_run(config) as following:
        second = list(following)
    assert taken(second) == names(60)
    assert here.sent == 60, "nothing was bought twice"
    with open_run(config) as following:
        assert taken(list(following)) == names(60)
    assert taken(list(outcomes(config))) == names(60)
    assert here.sent == 60


async def test_leaving_early_drains_and_commits(scene: SetUp) -> None:
    here = scene("--latency", "0.1")
    here.records(60)
    config = here.config(**SMALL)

    async with open_run(config) as following:
        async for _ in following:
            break

    assert len(read_lines(here.folder / "out.jsonl.partial")) == here.sent < 60
    assert following.summary.message is not None
    assert "nobody takes the outcomes any more" in following.summary.message
    async with open_run(config) as following:
        assert taken([outcome async for outcome in following]) == names(60)
    assert here.sent == 60


async def test_an_error_in_the_block_passes_through_when_all_is_committed(scene: SetUp) -> None:
    here = scene("--latency", "0.1")
    here.records(60)

    async def fail() -> None:
        async with open_run(here.config(**SMALL)) as following:
            async for _ in following:
                raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        await fail()
    assert len(read_lines(here.folder / "out.jsonl.partial")) == here.sent < 60


@pytest.mark.parametrize("ahead", [5, 40])
def test_who_takes_slowly_slows_the_run(scene: SetUp, monkeypatch: pytest.MonkeyPatch, ahead: int) -> None:
    monkeypatch.setattr(feed.Feed.__init__, "__defaults__", (ahead,))
    here = scene()
    here.records(400)
    in_flight = 5 * 2 * 2

    with open_run(here.config(**SMALL)) as following:
        most = 0
        for count, _ in enumerate(following, 1):
            if count % 100 == 0:
                until_still(lambda: here.sent)
            most = max(most, here.sent - count)

    assert count == 400
    assert most <= ahead + in_flight + 5


def until_still(look: Callable[[], int], seconds: float = 0.15) -> int:
    """Wait until what is looked at has not changed for so long, and return it."""
    seen, again = -1, look()
    while seen != again:
        time.sleep(seconds)
        seen, again = again, look()
    return seen


def test_dead_letters_hold_up_the_run_too(scene: SetUp) -> None:
    here = scene()
    write_records(here.folder / "in.jsonl", [{"id": f"r{number}"} for number in range(1, 30_001)])

    with open_run(here.config()) as following:
        first = next(following)
        waiting = until_still(lambda: len(following._feed._dead), seconds=1)
        rest = list(following)

    assert isinstance(first, DeadLetter)
    assert waiting <= 8192 + feed.AHEAD, "a page of the input and what may wait"
    assert len(rest) == 29_999


def test_what_stops_the_run_is_raised_behind_the_last_outcome(scene: SetUp) -> None:
    here = scene()
    here.records(60)
    config = here.config(**SMALL)
    got: list[Outcome] = []

    with pytest.raises(BudgetReached), open_run(config, budget_usd=0.000001) as following:
        got.extend(following)
    assert len(got) == here.sent == len(read_lines(here.folder / "out.jsonl.partial")) > 0
    assert following.summary.exit_code == 4

    with pytest.raises(StateMismatch), open_run(config, model="another") as refused:
        list(refused)
    with open_run(config) as following:
        assert len(list(following)) == 60


def test_retried_dead_letters_come_as_what_they_became(scene: SetUp) -> None:
    here = scene()
    write_records(here.folder / "in.jsonl", [*rows(3), {"id": "r4", "text": "POISON"}])
    config = here.config(batch={"max_items": 1})
    run(config)

    with open_run(config, earlier=Earlier(retry=Where())) as following:
        got = list(following)

    assert taken(got) == names(4)
    assert [type(outcome) for outcome in got if outcome.custom_id == "r4"] == [DeadLetter]


def test_the_summary_is_there_when_the_run_has_ended_and_not_before(scene: SetUp) -> None:
    here = scene("--latency", "0.2")
    here.records(40)

    with open_run(here.config(**SMALL)) as following:
        next(following)
        with pytest.raises(RuntimeError, match="still goes on"):
            _ = following.summary
    assert isinstance(following.summary, Summary)


KILLED = """
import os, signal
from pipeline import open_run
with open_run("c.yaml", input=[{"id": f"r{n}", "text": f"text {n}"} for n in range(1, 201)]) as outcomes:
    for count, outcome in enumerate(outcomes, 1):
        print(outcome.custom_id, flush=True)
        if count == 30:
            os.kill(os.getpid(), signal.SIGKILL)
"""


def test_after_kill_9_the_same_program_goes_on(scene: SetUp) -> None:
    here = scene("--latency", "0.02")
    here.config(**SMALL)

    killed = subprocess.run([sys.executable, "-c", KILLED], capture_output=True, text=True, timeout=60, check=False)
    assert (killed.returncode, len(killed.stdout.split())) == (-signal.SIGKILL, 30), killed.stderr
    committed = here.sent
    with open_run("c.yaml", input=rows(200)) as following:
        got = list(following)

    assert taken(got) == names(200)
    assert set(killed.stdout.split()) <= set(taken(got)[:]), "what was seen is still there"
    assert here.sent - 200 <= 5 * 2, "at most what was in flight is bought again"
    assert committed < 200


@pytest.mark.parametrize("name", ["out.jsonl.gz", "out.jsonl.zst"])
def test_a_compressed_output_is_read_as_it_is(scene: SetUp, name: str) -> None:
    here = scene()
    here.records(30)
    config = here.config(output={"path": name, "keep": ["text"]})

    with open_run(config) as following:
        first = taken(list(following))
    with open_run(config) as following:
        again = taken(list(following))
    here.records(40)
    with open_run(config) as following:
        grown = taken(list(following))

    assert (first, again, grown) == (names(30), names(30), names(40))
    assert taken(list(outcomes(config))) == names(40)
    assert here.sent == 40


def test_several_files_that_came_since_the_last_run_are_taken_once(scene: SetUp) -> None:
    here = scene()
    config = here.config(
        input={"path": "in-*.jsonl", "id": "id", "since_last": True}, output={"path": "out-{date}.jsonl"}
    )
    found = []
    for day in range(1, 5):
        if day < 4:
            write_records(here.folder / f"in-{day}.jsonl", [{"id": f"r{day}", "text": "x"}])
        with open_run(config, now=f"2026-11-0{day}") as following:
            found.append(taken(list(following)))

    assert found == [["r1"], ["r2"], ["r3"], []]
    assert (here.sent, following.summary.exit_code) == (3, 0)


def test_batch_lines_bring_the_body_of_their_response(scene: SetUp) -> None:
    here = scene()
    body = {"model": "simulator-hashing-256", "input": "hello"}
    line = {"custom_id": "a", "method": "POST", "url": "/v1/embeddings", "body": body}

    with open_run(job="embeddings", endpoint="simulator", input=[line], output="b.jsonl") as following:
        [result] = following

    assert isinstance(result, Result)
    assert result.custom_id == "a"
    assert result.answer == json.loads(Path("b.jsonl").read_text())["response"]["body"]
    assert len(result.answer["data"][0]["embedding"]) == 256
    assert result.record == line
    assert here.server.billed() == result.cost_nusd


def test_no_file_stays_open_and_no_answer_is_shown_by_repr(scene: SetUp) -> None:
    here = scene("--latency", "0.05")
    here.records(60)
    before = opened_files()

    with open_run(here.config(**SMALL)) as following:
        shown = repr(next(following))
    gc.collect()

    assert opened_files() <= before
    assert "text 1" not in shown
    assert "embedding" not in shown


def opened_files() -> set[str]:
    """What this process has open."""
    links = Path("/proc/self/fd").iterdir()
    return {str(link.readlink()) for link in list(links) if link.is_symlink()}


def test_an_output_that_is_none_of_ours_is_named(scene: SetUp) -> None:
    here = scene()
    (here.folder / "out.jsonl").write_text('{"mine": 1}\n')

    with pytest.raises(StateMismatch, match=r"out\.jsonl:1 is damaged"):
        list(outcomes(here.config()))
    (here.folder / "out.jsonl").unlink()
    assert list(outcomes(here.config())) == []
