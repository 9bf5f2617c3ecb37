"""The real command against the simulator."""

from __future__ import annotations

import asyncio
import json
import signal
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from pipeline.simulator.faults import Faults
from pipeline.simulator.options import Options
from pipeline.simulator.record import Entry, Record
from pipeline.simulator.server import Simulator
from pipeline.storage.state import Lock
from pipeline.types import Json
from tests.cli.command import COMMAND, environment

RECORDS = 60
PATIENCE = 30
"""Seconds that a command may take."""
CONFIG = """\
job: embeddings
input: {path: in.jsonl, id: id}
output: {path: out.jsonl, keep: [id]}
endpoint: simulator
model: simulator-hashing-256
text: "{{ text }}"
retry: {base: 0.01, cap: 0.02}
"""


class Done(NamedTuple):
    """How a command ended."""

    code: int
    out: str
    err: str


class Bell(Record):
    """A simulator's record that rings when a request is served."""

    def __init__(self) -> None:
        super().__init__(None)
        self.rung = asyncio.Event()

    def write(self, entry: Entry) -> None:
        super().write(entry)
        self.rung.set()


class Bench:
    """A folder with a config and an input, and a server to run it against."""

    def __init__(self, folder: Path, simulator: Simulator) -> None:
        self.folder = folder
        self.simulator = simulator
        self.served = simulator.record = Bell()
        self.write(*(f"text {number}" for number in range(RECORDS)))
        (folder / "c.yaml").write_text(CONFIG)

    def write(self, *texts: str) -> None:
        """Make `texts` the input."""
        lines = [json.dumps({"id": f"r{number}", "text": text}) for number, text in enumerate(texts, 1)]
        (self.folder / "in.jsonl").write_text("".join(f"{line}\n" for line in lines))

    async def start(self, *arguments: str, by: tuple[str, ...] = ()) -> Process:
        env = environment(self.folder, SIMULATOR_BASE_URL=self.simulator.url)
        words = [*by, *COMMAND, *arguments]
        return await asyncio.create_subprocess_exec(
            *words, cwd=self.folder, env=env, stdin=asyncio.subprocess.DEVNULL, stdout=PIPE, stderr=PIPE
        )

    async def run(self, *arguments: str) -> Done:
        return await ended(await self.start(*arguments))

    async def run_until_served(self, *command: str) -> Process:
        """Start a command and return once the server has served its first request."""
        process = await self.start(*command)
        await self.until_served()
        return process

    async def until_served(self) -> None:
        """Return once the server has served a request; fail where that takes too long."""
        async with asyncio.timeout(PATIENCE):
            await self.served.rung.wait()


async def ended(process: Process) -> Done:
    async with asyncio.timeout(PATIENCE):
        out, err = await process.communicate()
    assert process.returncode is not None
    return Done(process.returncode, out.decode(), err.decode())


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    async with Simulator(Options(engine="hashing")) as simulator:
        yield Bench(tmp_path, simulator)


@pytest.fixture
async def slow(tmp_path: Path) -> AsyncIterator[Bench]:
    """A bench of which every request takes a while, and two run at once."""
    async with Simulator(Options(engine="hashing", latency=0.4)) as simulator:
        bench = Bench(tmp_path, simulator)
        (tmp_path / "c.yaml").write_text(f"{CONFIG}batch: {{max_items: 1}}\nlimits: {{concurrency: 2}}\n")
        yield bench


async def test_a_run_says_one_line_on_stderr_and_nothing_on_stdout(bench: Bench) -> None:
    done = await bench.run("run", "c.yaml")

    assert (done.code, done.out) == (0, "")
    assert done.err.startswith("pipeline: complete: 60 of 60 records have a result; ")
    assert done.err.count("\n") == 1
    assert len((bench.folder / "out.jsonl").read_text().splitlines()) == RECORDS


async def test_the_same_command_again_has_nothing_to_do_and_to_say(bench: Bench) -> None:
    await bench.run("run", "c.yaml")
    sent = len(bench.simulator.record.entries())

    assert await bench.run("run", "c.yaml") == Done(0, "", "")
    assert len(bench.simulator.record.entries()) == sent


async def test_json_puts_the_summary_on_stdout_as_one_object(bench: Bench) -> None:
    done = await bench.run("run", "c.yaml", "--json")

    summary: Json = json.loads(done.out)
    assert (summary["schema_version"], summary["state"], summary["exit_code"]) == (1, "complete", 0)
    assert summary["records"] == {"total": 60, "ok": 60, "failed": 0, "remaining": 0}
    assert done.err == ""


async def test_a_model_that_is_switched_off_is_said_before_it_is_asked_and_no_more_when_all_is_done(
    bench: Bench,
) -> None:
    endpoint = {"base_url": bench.simulator.url, "provider": "openai"}
    (bench.folder / "endpoints.yaml").write_text(json.dumps({"mine": endpoint}))
    arguments = ("run", "c.yaml", "--set", "endpoint=mine", "--set", "model=o1", "--json")
    first, again = json.loads((await bench.run(*arguments)).out), json.loads((await bench.run(*arguments)).out)

    assert first["notices"][0] == "model o1 was to be switched off on 2026-10-23 (models.yaml, 2026-11-20)"
    assert again["notices"] == []


async def test_quiet_is_quiet(bench: Bench) -> None:
    assert await bench.run("run", "c.yaml", "-q") == Done(0, "", "")


async def test_dead_letters_are_exit_3_and_retry_sends_them_alone(bench: Bench) -> None:
    bench.write("good", "POISON", "good too")
    failed = await bench.run("run", "c.yaml", "--batch-size", "3")

    assert failed.code == 3
    assert "pipeline: finished: 2 of 3 records have a result, 1 failed; " in failed.err
    assert failed.err.endswith("next: pipeline retry c.yaml --batch-size 3\n")

    before = len(bench.simulator.record.entries())
    again = await bench.run("retry", "c.yaml", "--where", "code=no_such_code")
    assert (again.code, len(bench.simulator.record.entries())) == (3, before)
    assert "none of the 1 dead letters is meant by --where" in again.err
    assert again.err.endswith("next: pipeline retry c.yaml\n")
    await bench.run("retry", "c.yaml", "--where", "line=2-3", "--where", "id=r*")
    assert len(bench.simulator.record.entries()) == before + 1


async def test_a_budget_that_is_too_small_is_exit_4(bench: Bench) -> None:
    done = await bench.run("run", "c.yaml", "--budget", "0.000001")

    assert done.code == 4
    assert "pipeline: stopped: " in done.err
    assert "next: pipeline run c.yaml --budget 0.000001   (with a larger budget" in done.err


async def test_a_run_that_stops_half_way_says_what_all_will_have_cost(bench: Bench) -> None:
    half = await bench.run("run", "c.yaml", "--batch-size", "1", "--budget", "0.0000017", "--json")
    whole = await bench.run("run", "c.yaml", "--batch-size", "1", "--json")
    stopped, complete = json.loads(half.out), json.loads(whole.out)
    billed = sum(entry.cost_nusd for entry in bench.simulator.record.entries())
    print(f"\nprojected {stopped['money']['projected_nusd']} after {stopped['records']['ok']} records, billed {billed}")

    assert (half.code, whole.code) == (4, 0)
    assert 20 <= stopped["records"]["ok"] < RECORDS
    assert stopped["money"]["projected_nusd"] == pytest.approx(billed, rel=0.1)
    assert complete["money"]["projected_nusd"] == complete["money"]["spent_nusd"] == billed


async def test_what_nobody_has_a_price_for_is_not_projected_as_free(bench: Bench) -> None:
    endpoint = {"base_url": bench.simulator.url, "provider": "nobody"}
    (bench.folder / "endpoints.yaml").write_text(json.dumps({"mine": endpoint}))
    money = json.loads((await bench.run("run", "c.yaml", "--set", "endpoint=mine", "--json")).out)["money"]

    assert (money["spent_nusd"], money["projected_nusd"], money["price_source"]) == (0, None, "unknown")


async def test_a_run_under_way_projects_its_cost_in_its_status(slow: Bench) -> None:
    process = await slow.run_until_served("run", "c.yaml", "--limit", "26")
    watching = await slow.start("status", "c.yaml", "--watch", "--json")
    live = await running(watching, lambda seen: seen["money"]["projected_nusd"] is not None)
    await ended(process)
    billed = sum(entry.cost_nusd for entry in slow.simulator.record.entries())

    assert live["records"]["ok"] < 26
    assert live["money"]["projected_nusd"] == pytest.approx(billed, rel=0.1)


async def test_a_quota_that_is_used_up_is_exit_6(bench: Bench) -> None:
    bench.simulator.set_faults(Faults(quota_after=0))

    assert (await bench.run("run", "c.yaml")).code == 6


async def test_another_run_of_the_output_is_exit_75_and_names_it(bench: Bench) -> None:
    (bench.folder / "out.jsonl.state").mkdir(mode=0o700)
    lock = Lock.take(bench.folder / "out.jsonl.state" / "lock")
    done = await bench.run("run", "c.yaml")
    lock.release()

    assert (done.code, done.out, done.err.count("\n")) == (75, "", 1)
    assert "pid" in done.err


async def test_failures_are_logged_where_that_is_wanted(bench: Bench) -> None:
    bench.simulator.set_faults(Faults(script=("server_error",)))
    done = await bench.run("run", "c.yaml", "-v")

    assert done.code == 0
    assert "attempt failed: error=Transient" in done.err


async def test_a_log_in_json_is_json_to_the_last_line(bench: Bench) -> None:
    bench.simulator.set_faults(Faults(script=("server_error",)))
    done = await bench.run("run", "c.yaml", "-vv", "--log-format", "json", "--stats", "0.1")

    events = [json.loads(line)["event"] for line in done.err.splitlines()]
    assert {"attempt failed", "answered"} <= set(events)
    assert events[-1] == "summary"


async def test_progress_is_a_line_each_period(slow: Bench) -> None:
    done = await slow.run("run", "c.yaml", "--limit", "4", "--stats", "0.2")

    assert " in flight · " in done.err.splitlines()[0]
    assert "pipeline: complete: 4 of 4" in done.err.splitlines()[-1]


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 143)], ids=str
)
async def test_a_signal_lets_what_is_in_flight_come_back(number: int, code: int, slow: Bench) -> None:
    process = await slow.run_until_served("run", "c.yaml")
    process.send_signal(number)
    done = await ended(process)

    assert done.code == code
    assert "pipeline: interrupted: " in done.err
    assert done.err.endswith("next: pipeline run c.yaml\n")
    served = len(slow.simulator.record.entries())
    assert len((slow.folder / "out.jsonl.partial").read_text().splitlines()) == served


async def test_an_ignored_hangup_stays_ignored(slow: Bench) -> None:
    process = await slow.start("run", "c.yaml", "--limit", "4", by=("nohup",))
    await slow.until_served()
    process.send_signal(signal.SIGHUP)

    assert (await ended(process)).code == 0


async def test_a_dry_run_shows_the_plan_and_sends_nothing(bench: Bench) -> None:
    done = await bench.run("run", "c.yaml", "-n", "--rpm", "3")

    assert done.code == 0
    assert "  requests  3\n" in done.out
    assert "at least 1m00s, bound by the limit of requests" in done.out
    assert bench.simulator.record.entries() == []


async def test_a_dry_run_that_begins_anew_plans_all_of_it(bench: Bench) -> None:
    await bench.run("run", "c.yaml")

    assert "  requests  0\n" in (await bench.run("run", "c.yaml", "-n")).out
    assert "  requests  3\n" in (await bench.run("run", "c.yaml", "-n", "--fresh")).out


async def test_a_plan_in_json_is_one_object(bench: Bench) -> None:
    plan: Json = json.loads((await bench.run("plan", "c.yaml", "--json")).out)

    assert (plan["records"], plan["requests"]) == (RECORDS, 3)


async def test_a_cost_above_what_asks_is_refused_where_nobody_can_be_asked(bench: Bench) -> None:
    refused = await bench.run("run", "c.yaml", "--set", "budget.confirm_above=0.000001")
    accepted = await bench.run("run", "c.yaml", "--set", "budget.confirm_above=0.000001", "--yes")

    assert (refused.code, accepted.code) == (2, 0)
    assert "add --yes" in refused.err


async def test_fresh_begins_anew_and_keeps_the_old(bench: Bench) -> None:
    await bench.run("run", "c.yaml")
    sent = len(bench.simulator.record.entries())

    assert (await bench.run("run", "c.yaml", "--fresh")).code == 0
    assert len(bench.simulator.record.entries()) == 2 * sent
    assert list((bench.folder / "out.jsonl.state").glob("old-out.jsonl-*"))


async def test_status_tells_a_live_run_from_a_dead_and_a_finished_one(slow: Bench) -> None:
    process = await slow.run_until_served("run", "c.yaml", "--limit", "8")
    live = await running(await slow.start("status", "c.yaml", "--watch", "--json"))
    process.kill()
    await process.wait()
    dead = await slow.run("status", "c.yaml")
    await slow.run("run", "c.yaml", "--limit", "8")
    finished = await slow.run("status", "c.yaml")

    assert live["alive"]
    assert f"pid {process.pid}" in live["holder"]
    assert dead.out.startswith("died: ")
    assert "The process is gone" in dead.out
    assert finished.out.startswith("complete: 8 of 8 records have a result")


async def running(watching: Process, wanted: Callable[[Json], bool] = lambda _: True) -> Json:
    """The first status of a run that is under way, and as it is wanted; ends the watching."""
    assert watching.stdout is not None
    async for line in watching.stdout:
        seen: Json = json.loads(line)
        if seen["state"] == "running" and wanted(seen):
            watching.terminate()
            await watching.communicate()
            return seen
    raise AssertionError("the run ended without being seen")


async def test_status_before_any_run_says_so(bench: Bench) -> None:
    assert (await bench.run("status", "c.yaml")).out == "out.jsonl: no run yet: pipeline run c.yaml\n"


async def test_check_finds_bad_lines_and_lost_answers(bench: Bench) -> None:
    assert (await bench.run("check", "in.jsonl", "--id", "id")).out == "60 records, no problem\n"
    await bench.run("run", "c.yaml")
    assert (await bench.run("check", "c.yaml")).code == 0

    output = bench.folder / "out.jsonl"
    output.write_bytes(b"".join(output.read_bytes().splitlines(keepends=True)[1:]))
    torn = await bench.run("check", "c.yaml")
    assert (torn.code, torn.out.splitlines()) == (5, ["in.jsonl:1: has no outcome", "60 records, 1 problem"])
    assert torn.err == "next: pipeline run c.yaml --repair\n"
    await bench.run("run", "c.yaml", "--repair")
    assert (await bench.run("check", "c.yaml")).code == 0

    with (bench.folder / "in.jsonl").open("a") as file:
        file.write("{\n")
    bad = await bench.run("check", "in.jsonl")
    assert (bad.code, bad.err) == (2, "next: mend these lines; a run makes dead letters of them\n")
    before = await bench.run("check", "c.yaml", "-o", "other.jsonl")
    assert before.code == 2
    assert "pipeline run c.yaml --output other.jsonl, which makes dead letters of them" in before.err


async def test_check_shows_no_control_character_of_a_file_name(bench: Bench) -> None:
    (bench.folder / "a\x1b[31m.jsonl").write_text("{\n")

    assert "\x1b" not in (await bench.run("check", "a\x1b[31m.jsonl")).out


async def test_an_output_to_stdout_is_data_alone_and_comes_again_on_the_next_run(bench: Bench) -> None:
    done = await bench.run("run", "c.yaml", "-o", "-", "--state", "state", "--json")
    again = await bench.run("run", "c.yaml", "-o", "-", "--state", "state")

    assert [json.loads(line)["id"] for line in done.out.splitlines()] == [f"r{n}" for n in range(1, RECORDS + 1)]
    assert json.loads(done.err)["exit_code"] == 0
    assert again == Done(0, done.out, "")
    assert not (bench.folder / "-").exists()
