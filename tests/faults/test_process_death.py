"""Rows 1-16: the process dies, is stopped, or is not alone. Full scale: `python -m tests.faults.storms --help`."""

from __future__ import annotations

import asyncio
import contextlib
import os
import pty
import random
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator, Mapping
from fcntl import ioctl
from pathlib import Path

import orjson
import pytest

from jobs.completions import Completions
from pipeline.core.tokens import TextTokenizer
from pipeline.errors import BudgetReached
from pipeline.job import JobSpec
from pipeline.types import Json, Request, Response
from tests import rig
from tests.acceptance.command import pipeline, write_config
from tests.faults.case import Case, case, end, kill, wait_until
from tests.faults.injectors import no_strace, skip_if, traced
from tests.judge import Judge

Judges = Callable[..., Judge]

SLOW = ("--latency", "0.15", "--jitter", "0.1")


@pytest.mark.row(1)
def test_kills_at_random_lose_nothing_and_what_was_in_flight_is_unknown_spend(judge: Judges, tmp_path: Path) -> None:
    job = case(judge, tmp_path, *SLOW, records=400, limits={"concurrency": 16})
    chance = random.Random(1)
    kept: list[tuple[int, list[str]]] = []
    for _ in range(4):
        process = job.start()
        job.strike_after(job.sent + chance.randint(4, 20), process)
        kill(process)
        kept.append((job.sent, job.on_disk))
    ended = job.finish()

    assert kept[-1][1], "something was on disk when it died"
    assert [job.asked(owned, since=sent) for sent, owned in kept] == [0] * 4, "no answer on disk is bought again"
    assert ended.summary["money"]["unknown_nusd"] > 0


# Where it dies, and the files that are left then. Calls are counted in each thread.
DEATHS = {
    "while the ledger is made": ("rename:signal=KILL:when=1", "ledger.db.new"),
    "at the first intent": ("pwrite64:signal=KILL:when=3", "ledger.db-wal"),
    "before the first answers are written": ("write:signal=KILL:when=1", "out.jsonl.partial"),
    "before they are synced": ("fdatasync:signal=KILL:when=1", "out.jsonl.partial"),
    "after they are synced, before they are committed": ("fdatasync:signal=KILL:when=2", "ledger.db-wal"),
    "at the second group of answers": ("fdatasync:signal=KILL:when=2", "out.jsonl.partial"),
}


@pytest.mark.row(2)
@pytest.mark.parametrize(("injection", "name"), DEATHS.values(), ids=DEATHS.keys())
def test_dying_at_a_durability_call_loses_nothing(judge: Judges, tmp_path: Path, injection: str, name: str) -> None:
    skip_if(no_strace())
    job = case(judge, tmp_path, records=40)
    died = job.run(under=traced(injection, paths=paths_of(job, name)))

    assert died.code == -signal.SIGKILL
    job.finish()


def paths_of(job: Case, name: str) -> list[Path]:
    return [job.home / name if name.startswith("out") else job.places.state / name]


@pytest.mark.row(3)
def test_dying_at_every_step_of_recovery_changes_nothing(judge: Judges, tmp_path: Path) -> None:
    skip_if(no_strace())
    job = case(judge, tmp_path, records=60)
    partial, wal = job.places.partial, job.places.state / "ledger.db-wal"
    first = job.run(under=traced("fdatasync:signal=KILL:when=2", paths=[partial]))
    with partial.open("ab") as file:
        file.write(b'{"attempt":"torn')
    owned, sent = job.on_disk, job.sent
    deaths = [
        job.run(under=traced(injection, paths=paths))
        for injection, paths in (
            ("fsync:signal=KILL:when=1", [job.places.state]),
            ("ftruncate:signal=KILL:when=1", [partial]),
            ("fsync:signal=KILL:when=1", [partial]),
            ("fdatasync:signal=KILL:when=1", [wal]),
        )
    ]

    assert [first.code, *(death.code for death in deaths)] == [-signal.SIGKILL] * 5
    assert job.sent == sent, "recovery sends nothing"
    job.finish()
    assert job.asked(owned) == len(owned), "the answers that it found are not bought again"
    kept = [path.read_bytes() for path in job.places.state.glob("torn-*")]
    assert kept
    assert set(kept) == {b'{"attempt":"torn'}


@pytest.mark.row(4)
@pytest.mark.parametrize(
    ("injection", "renamed"),
    [("renameat2:signal=KILL:when=1", False), ("fsync:signal=KILL:when=1", True)],
    ids=["before the rename", "after the rename, before the directory is synced"],
)
def test_dying_around_the_final_rename_leaves_the_output_there_once(
    judge: Judges, tmp_path: Path, injection: str, renamed: bool
) -> None:
    skip_if(no_strace())
    job = case(judge, tmp_path, records=40)
    begun = job.run("--order", "done", "--budget", "0.000001")
    died = job.run("--order", "done", under=traced(injection, paths=[job.home, job.places.output]))
    there = job.places.output.exists(), job.places.partial.exists()
    sent = job.sent
    ended = job.run("--order", "done")

    assert (begun.code, died.code) == (4, -signal.SIGKILL)
    assert there == (renamed, not renamed)
    assert ended.code == 0
    assert job.sent == sent, "nothing is sent again"
    assert sorted(job.answered) == sorted(job.texts)
    assert not job.places.partial.exists()


@pytest.mark.row(5)
def test_sigterm_stops_sending_at_once_and_what_is_on_the_wire_comes_back(judge: Judges, tmp_path: Path) -> None:
    job = case(judge, tmp_path, "--latency", "0.5", records=100)
    process = job.start()
    job.strike_after(6, process)
    struck = time.time()
    process.send_signal(signal.SIGTERM)
    stopped = end(process)
    last = max(entry.time for entry in job.judge.entries())
    sent = job.sent
    ended = job.finish()

    assert stopped.code == 143
    assert last - struck < 0.5
    assert stopped.summary["requests"]["ok"] == sent, "all of it came back and is committed"
    assert job.sent == 20, "nothing is sent twice"
    assert ended.summary["money"]["unknown_nusd"] == 0


@pytest.mark.row(6)
@pytest.mark.parametrize("times", [1, 2])
def test_one_sigint_drains_and_two_do_not_wait(judge: Judges, tmp_path: Path, times: int) -> None:
    script = ",".join(["ok"] * 4 + ["late"] * 4)
    job = case(judge, tmp_path, "--script", script, "--late-seconds", "4")
    process = job.start()
    job.strike_after(8, process)
    process.send_signal(signal.SIGINT)
    for _ in range(times - 1):
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(0.5)
        process.send_signal(signal.SIGINT)
    began = time.monotonic()
    stopped = end(process)
    seconds = time.monotonic() - began
    money = stopped.summary["money"]

    assert stopped.code == 130
    assert stopped.summary["records"]["ok"] == (40 if times == 1 else 20)
    assert (money["unknown_nusd"] == 0) == (times == 1)
    assert seconds < 3 or times == 1
    job.finish()


HANGING_DISK = "import os, time; os.fdatasync = lambda descriptor: time.sleep(60)"


@pytest.mark.row(6)
def test_the_third_sigint_ends_even_a_process_whose_disk_hangs(judge: Judges, tmp_path: Path) -> None:
    job = case(judge, tmp_path)
    process = job.start("--drain", "20", code=HANGING_DISK)
    wait_until(lambda: job.on_disk != [])
    signals = 0
    for _ in range(6):
        process.send_signal(signal.SIGINT)
        signals += 1
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(0.7)
            break

    assert end(process, 5).code == 130
    assert signals == 3
    job.finish()


@pytest.mark.row(7)
def test_a_kill_while_it_drains_keeps_what_had_arrived(judge: Judges, tmp_path: Path) -> None:
    script = ",".join(["ok"] * 4 + ["late"] * 4)
    job = case(judge, tmp_path, "--script", script, "--late-seconds", "20")
    process = job.start()
    job.strike_after(8, process)
    process.send_signal(signal.SIGTERM)
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(1)  # docker and systemd are more patient
    kill(process)
    owned = job.on_disk
    ended = job.finish()

    assert len(owned) == 20
    assert job.asked(owned) == 20
    assert ended.summary["money"]["unknown_nusd"] > 0


@pytest.mark.row(8)
def test_a_stopped_process_goes_on_without_a_burst(judge: Judges, tmp_path: Path) -> None:
    script = ",".join(["ok"] * 10 + ["late"] * 4)
    server = ("--rpm", "1200", "--latency", "0.05", "--script", script, "--late-seconds", "30")
    job = case(judge, tmp_path, *server, records=400, limits={"rpm": 1140, "concurrency": 64}, timeout=1.5)
    process = job.start()
    job.strike_after(16, process)
    process.send_signal(signal.SIGSTOP)
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(2.5)  # stands for ten minutes: far beyond the deadline and the window of the limit
    process.send_signal(signal.SIGCONT)
    ended = end(process)

    assert ended.code == 0
    assert ended.summary["money"]["unknown_nusd"] > 0, "attempts that timed out meanwhile"
    assert [entry.status for entry in job.judge.entries() if entry.status == 429] == []
    job.finish()


@pytest.mark.row(9)
def test_a_closed_terminal_is_a_sigterm(judge: Judges, tmp_path: Path) -> None:
    job = case(judge, tmp_path, "--latency", "0.5", records=100)
    master, slave = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "pipeline", "run", str(job.config)],
        cwd=job.home,
        env=job.environment,
        stdin=slave,
        stdout=slave,
        stderr=slave,
        start_new_session=True,
        preexec_fn=lambda: ioctl(0, termios.TIOCSCTTY, 0),  # noqa: PLW1509 - nothing else makes it the terminal
    )
    os.close(slave)
    job.strike_after(6, process)
    os.close(master)
    sent_then = end(process)
    sent = job.sent
    ended = job.finish()

    assert sent_then.code == 143
    assert sent <= 12
    assert job.sent == 20, "what was on the wire came back"
    assert ended.summary["money"]["unknown_nusd"] == 0


@pytest.mark.row(9)
def test_nohup_is_heeded(judge: Judges, tmp_path: Path) -> None:
    job = case(judge, tmp_path, "--latency", "0.1")
    process = job.start(under=["nohup"])
    job.strike_after(3, process)
    process.send_signal(signal.SIGHUP)

    assert end(process).code == 0
    job.finish()


MEMORY_GROUPS = {
    Path("/sys/fs/cgroup/memory"): "memory.limit_in_bytes",
    Path("/sys/fs/cgroup"): "memory.max",
}


def new_memory_group(megabytes: int) -> Path | None:
    """Make a control group with that much memory; None where that cannot be done."""
    for root, limit in MEMORY_GROUPS.items():
        group = root / f"pipeline-test-{os.getpid()}"
        with contextlib.suppress(OSError):
            group.mkdir()
            try:
                (group / limit).write_text(str(megabytes << 20))
            except OSError:
                group.rmdir()
                raise
            return group
    return None


@pytest.fixture
def memory_group() -> Iterator[Path]:
    group = new_memory_group(400)
    if group is None:
        pytest.skip("no control group that limits memory can be made on this machine")
    yield group
    wait_until(lambda: not (group / "cgroup.procs").read_text())
    group.rmdir()


@pytest.mark.row(10)
def test_the_oom_killer_is_one_more_kill(judge: Judges, tmp_path: Path, memory_group: Path) -> None:
    job = case(judge, tmp_path, "--latency", "0.5", records=100)
    into = 'echo $$ > "$0/cgroup.procs"; echo "$1" > /proc/self/oom_score_adj; shift; exec "$@"'
    process = job.start(under=["sh", "-c", into, str(memory_group), "1000"])
    job.strike_after(6, process)
    hog = [sys.executable, "-c", "import time; x = b'x' * (380 << 20); time.sleep(60)"]
    other = subprocess.Popen(["sh", "-c", into, str(memory_group), "0", *hog], stderr=subprocess.DEVNULL)
    try:
        died = end(process)
    finally:
        other.kill()
        other.wait()
    ended = job.finish()

    assert died.code == -signal.SIGKILL
    assert ended.summary["money"]["unknown_nusd"] > 0


SABOTAGED_WRITER = """
import pathlib
from pipeline.storage.entries import Settle
from pipeline.storage.ledger import Ledger
commit = Ledger.commit
def failing(self, ended, intents, log):
    if self.ok and any(type(entry) is Settle for entry in ended):
        pathlib.Path("struck").touch()
        raise RuntimeError("sk-canary-in-a-value")
    return commit(self, ended, intents, log)
Ledger.commit = failing
"""


@pytest.mark.row(11)
def test_a_bug_in_the_writer_ends_the_process_within_a_second(judge: Judges, tmp_path: Path) -> None:
    job = case(judge, tmp_path, "--script", "ok,ok,late,late,late", "--late-seconds", "20")
    ended = job.run(code=SABOTAGED_WRITER)
    seconds = time.time() - (job.home / "struck").stat().st_mtime

    assert ended.code in (1, 74)
    assert seconds < 2, "the second, and a slow machine's time to end a process"
    assert "RuntimeError" in ended.err
    assert "sk-canary" not in ended.err
    (job.home / "struck").unlink()
    job.finish()


@pytest.mark.row(12)
@pytest.mark.parametrize("where", ["below the reservation", "above it"])
async def test_a_bug_in_one_worker_costs_its_record_and_gives_the_money_back(tmp_path: Path, where: str) -> None:
    """Its attempt is settled or unknown spend; what no longer fits into the budget ends the run and never hangs it."""

    def script(request: Request) -> Response:
        if rig.prompts(request) == ["text 2"] and where == "below the reservation":
            raise ZeroDivisionError
        return rig.echo(request)

    class Faulty(Completions):
        def fields(self, answer: Json) -> Mapping[str, Json]:
            found = super().fields(answer)
            if found["text"] == "to text 2" and where == "above it":
                raise ZeroDivisionError
            return found

    job = Faulty(JobSpec("m", TextTokenizer("cl100k_base"), {"max_tokens": 10}, {"prompt": lambda data: data["text"]}))
    records = [{"text": f"text {number}"} for number in range(1, 6)]
    async with asyncio.timeout(10):
        free = await rig.run(tmp_path / "free", records, script, max_items=1, workers=2, job=job)
        tight = await rig.run(tmp_path / "tight", records, script, max_items=1, workers=2, job=job, cap=200)

    assert (free.complete, sorted(free.lines), [letter.code for letter in free.dead.values()]) == (
        True,
        [1, 3, 4, 5],
        ["bug"],
    )
    assert free.ledger.budget.reserved == 0
    assert free.ledger.budget.spent + free.ledger.budget.unknown >= 5 * 7, "what was answered costs 7 each"
    assert tight.ledger.budget.spent + tight.ledger.budget.unknown <= 200
    assert isinstance(tight.stopped, BudgetReached) or tight.complete


@pytest.mark.row(13)
def test_a_second_run_of_the_same_job_is_refused_at_once(judge: Judges, tmp_path: Path) -> None:
    job = case(judge, tmp_path)
    first = job.start()
    job.strike_after(1, first)
    first.send_signal(signal.SIGSTOP)  # it holds the lock for as long as the test needs
    before = {path: path.read_bytes() for path in job.places.state.iterdir() if path.name in {"lock", "run.json"}}
    second = job.run()
    after = {path: path.read_bytes() for path in before}
    kill(first)

    assert second.code == 75
    assert second.summary["this_run"]["requests"]["sent"] == 0
    assert f"held by pid {first.pid} since" in second.err
    assert second.summary["message"] is not None
    assert after == before
    job.finish()


@pytest.mark.row(14)
@pytest.mark.parametrize("content", [None, b"pid 1 since 2001-01-01\n" * 40 + b"\0\xff"])
def test_a_lock_file_that_nobody_holds_blocks_nobody(judge: Judges, tmp_path: Path, content: bytes | None) -> None:
    job = case(judge, tmp_path, records=10)
    died = job.start()
    job.strike_after(1, died)
    kill(died)
    assert job.places.lock.exists()
    if content is not None:
        job.places.lock.write_bytes(content)

    job.finish()


@pytest.mark.row(15)
def test_another_config_for_the_same_output_is_refused_before_anything_is_sent(judge: Judges, tmp_path: Path) -> None:
    job = case(judge, tmp_path, "--latency", "0.1")
    keys = orjson.loads(job.config.read_bytes())
    other = write_config(job.home, "other", **{**keys, "text": "another {{ text }}"})
    first = job.start()
    job.strike_after(1, first)
    first.send_signal(signal.SIGSTOP)  # it holds the lock for as long as the test needs
    alongside = pipeline("run", str(other), "--json", home=job.home, extra=job.environment)
    kill(first)
    sent = job.sent
    afterwards = pipeline("run", str(other), "--json", home=job.home, extra=job.environment)

    assert alongside.code == 75
    assert afterwards.code == 5
    assert job.sent == sent
    job.finish()


SPAWNING = """
import subprocess
from pipeline.storage.commit import Journal
start = Journal.start
def spawning(self):
    start(self)
    null = subprocess.DEVNULL
    child = subprocess.Popen(["sleep", "60"], close_fds=False, stdin=null, stdout=null, stderr=null)
    open("child", "w").write(str(child.pid))
Journal.start = spawning
"""


@pytest.mark.row(16)
def test_a_child_process_does_not_keep_the_lock(judge: Judges, tmp_path: Path) -> None:
    job = case(judge, tmp_path, "--latency", "0.3")
    process = job.start(code=SPAWNING)
    job.strike_after(2, process)
    kill(process)
    child = int((job.home / "child").read_text())
    try:
        job.finish()
        os.kill(child, 0)
    finally:
        os.kill(child, signal.SIGKILL)
