"""`status --watch` from another process, while runs start, end, are killed and go on."""

from __future__ import annotations

import asyncio
import json
import os
import pty
import re
import signal
import subprocess
import time
from asyncio.subprocess import Process
from collections.abc import AsyncIterator
from pathlib import Path

import orjson

from pipeline.cli.status import snapshot_of
from pipeline.observers.look import look
from pipeline.storage.state import Lock, Places, make_private
from pipeline.types import Json
from tests.cli.command import COMMAND, environment
from tests.cli.test_run import PATIENCE, Bench, bench, ended, slow

__all__ = ["bench", "slow"]
RUN = ("run", "c.yaml", "--limit", "8")
ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


async def looks(process: Process) -> AsyncIterator[Json]:
    """What a `status --watch --json` prints, to its end."""
    assert process.stdout is not None
    async with asyncio.timeout(PATIENCE):
        async for line in process.stdout:
            yield orjson.loads(line)
        await process.wait()


async def test_a_watch_waits_for_a_run_and_ends_with_it(slow: Bench) -> None:
    watch = await slow.start("status", "c.yaml", "--watch", "--json")
    states: list[str] = []
    run: Process | None = None
    async for seen in looks(watch):
        states += [seen["state"]] if seen["state"] not in states[-1:] else []
        run = run or await slow.start(*RUN)
    code = await watch.wait()
    assert run is not None

    assert (await ended(run)).code == 0
    assert code == 0
    assert states[0] == "none"
    assert states[-2:] == ["running", "complete"]


async def test_a_watch_ends_where_the_run_is_killed_and_sees_the_next_one_go_on(slow: Bench) -> None:
    first = await slow.run_until_served(*RUN)
    watch = await slow.start("status", "c.yaml", "--watch", "--json")
    last: Json = None
    async for seen in looks(watch):
        if seen["state"] == "running" and first.returncode is None:
            first.kill()
            await first.wait()
        last = seen
    again = await slow.start(*RUN)
    watched = [seen async for seen in looks(await slow.start("status", "c.yaml", "--watch", "--json"))]

    assert (last["state"], last["alive"]) == ("running", False)
    assert (await ended(again)).code == 0
    assert watched[-1]["state"] in {"running", "complete"}


async def test_a_run_that_goes_on_is_not_taken_for_the_one_that_was_stopped(slow: Bench) -> None:
    first = await slow.run_until_served(*RUN)
    first.send_signal(signal.SIGTERM)
    await ended(first)
    again = await slow.start(*RUN)
    lock = slow.folder / "out.jsonl.state" / "lock"
    async with asyncio.timeout(PATIENCE):
        while f"pid {again.pid} " not in lock.read_text():
            await asyncio.sleep(0.005)
    watched = [seen async for seen in looks(await slow.start("status", "c.yaml", "--watch", "--json"))]

    assert (await ended(again)).code == 0
    assert "interrupted" not in {seen["state"] for seen in watched}
    assert watched[0]["alive"]
    assert watched[-1]["state"] == "complete"


def test_a_run_that_just_began_is_starting_whatever_the_last_one_said(tmp_path: Path) -> None:
    places = Places(tmp_path / "out.jsonl", tmp_path / "out.jsonl.state")
    make_private(places.state)
    places.status.write_bytes(orjson.dumps({"state": "complete", "ended_at": "2026-11-21T12:00:00.000+00:00"}))
    before = look(places)
    lock = Lock.take(places.lock)
    during = look(places)
    lock.release()
    after = look(places)

    assert (before.holder, before.over) == (None, True)
    assert during.summary is None
    assert f"pid {os.getpid()}" in str(during.holder)
    assert after.over, "it was refused, say, and left no word"
    assert after.summary == before.summary


async def test_elsewhere_than_on_a_terminal_a_watch_is_lines_and_the_summary(slow: Bench) -> None:
    run = await slow.run_until_served(*RUN)
    watched = await slow.run("status", "c.yaml", "--watch")
    await ended(run)

    lines = watched.out.splitlines()
    assert any(" records · " in line and " in flight" in line for line in lines)
    assert any(line.startswith("complete: 8 of 8 records have a result") for line in lines)
    assert "\x1b" not in watched.out


async def test_a_reader_that_goes_away_ends_a_watch_quietly(slow: Bench) -> None:
    run = await slow.run_until_served(*RUN)
    script = f"{' '.join(COMMAND)} status c.yaml --watch | head -1; echo ${{PIPESTATUS[0]}}"
    env = environment(slow.folder, SIMULATOR_BASE_URL=slow.simulator.url)
    shell = await asyncio.create_subprocess_exec(
        "bash", "-c", script, cwd=slow.folder, env=env, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    done = await ended(shell)
    await ended(run)

    assert done.out.endswith("\n0\n")
    assert done.err == ""


async def test_on_a_terminal_a_watch_is_a_bar_that_is_redrawn(slow: Bench) -> None:
    run = await slow.run_until_served(*RUN)
    drawn = await asyncio.to_thread(on_terminal, slow)
    await ended(run)

    assert "\x1b[" in drawn, "the cursor moves"
    assert " records · " in ESCAPES.sub("", drawn)
    assert "complete: 8 of 8 records have a result" in ESCAPES.sub("", drawn)


def on_terminal(bench: Bench) -> str:
    """Run `status --watch` on a terminal of its own and return all that was drawn."""
    master, slave = pty.openpty()
    env = environment(bench.folder, SIMULATOR_BASE_URL=bench.simulator.url, TERM="xterm", COLUMNS="100")
    process = subprocess.Popen([*COMMAND, "status", "c.yaml", "--watch"], cwd=bench.folder, env=env, stdout=slave)
    os.close(slave)
    drawn = b""
    try:
        while block := os.read(master, 65536):
            drawn += block
    except OSError:  # how a terminal says that nobody has it open any more
        process.wait(PATIENCE)
    os.close(master)
    return drawn.decode()


async def test_sigusr1_says_how_the_run_stands_and_disturbs_nothing(slow: Bench) -> None:
    run = await slow.run_until_served(*RUN, "--log-file", "run.jsonl", "-q")
    for _ in range(3):
        run.send_signal(signal.SIGUSR1)
        await asyncio.sleep(0.05)
    done = await ended(run)
    events = [json.loads(line) for line in (slow.folder / "run.jsonl").read_text().splitlines()]

    assert done.code == 0
    assert done.err.count(" in flight · ") >= 1
    assert [event["event"] for event in events].count("progress") >= 1


async def test_sigusr1_while_a_run_waits_for_its_turn_does_not_end_it(bench: Bench) -> None:
    state = bench.folder / "out.jsonl.state"
    state.mkdir(mode=0o700)
    lock = Lock.take(state / "lock")
    run = await bench.start("run", "c.yaml", "--lock-wait", "30")
    assert run.stderr is not None
    await asyncio.to_thread(time.sleep, 1.0)  # nothing tells that it waits
    run.send_signal(signal.SIGUSR1)
    said = await run.stderr.readline()
    lock.release()
    done = await ended(run)

    assert b"0 records" in said
    assert done.code == 0


def test_a_status_file_becomes_a_moment_of_the_run() -> None:
    records = {"total": 10, "ok": 4, "failed": 1, "remaining": 5}
    now = {"fraction": 0.5, "in_flight": 4, "requests_per_minute": 120.0, "rpm": 600, "paused": "by the endpoint"}
    money = {"spent_nusd": 7, "unknown_nusd": 1, "reserved_nusd": 2, "cap_nusd": None, "projected_nusd": 14}
    here = {"records": {"ok": 2, "failed": 1}, "seconds": 12.5}
    summary = {"state": "running", "records": records, "requests": {"throttled": 1}, "money": money, "this_run": here}
    seen = snapshot_of({**summary, "now": {**now, "tokens_per_minute": 9.0, "tpm": None}})

    assert (seen.total, seen.ok, seen.failed, seen.in_flight, seen.elapsed) == (10, 4, 1, 4, 12.5)
    assert (seen.fraction, seen.requests_per_minute, seen.rpm_limit, seen.paused) == (0.5, 120, 600, "by the endpoint")
    assert (seen.spent_nusd, seen.projected_nusd) == (7, 14)
