"""Rows 86-93 and 105: the clock, the limits and the environment of the machine change nothing in the result."""

from __future__ import annotations

import asyncio
import contextlib
import os
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import orjson
import pytest

from pipeline.backends.endpoint import Endpoint, Timeouts
from pipeline.backends.http import HttpBackend
from pipeline.simulator import Options, Simulator
from pipeline.types import Request
from tests.acceptance.command import Ended, read_lines, write_records
from tests.clock import ClockShim
from tests.faults.case import Case, case, end, wait_until
from tests.faults.injectors import limited, skip_if
from tests.judge import Judge

Judges = Callable[..., Judge]

LINES = int(os.environ.get("PIPELINE_TEST_LINES", "40000"))
"""Lines of the larger input of row 88."""
MEMORY = 400 << 20
"""Bytes of address space in row 88."""


def no(tool: str) -> str | None:
    return None if shutil.which(tool) else f"{tool} is not installed"


def words(variables: Mapping[str, str]) -> list[str]:
    return [f"{name}={value}" for name, value in variables.items()]


def contents(job: Case) -> list[dict[str, object]]:
    """The finished output without what names the run."""
    return [{**line, "attempt": ""} for line in read_lines(job.places.output)]


def run_with(
    job: Case, extra: Mapping[str, str], *words: str, umask: int | None = None, cwd: Path | None = None
) -> Ended:
    """Run the config in another environment, and by an interpreter with other flags."""
    process = subprocess.Popen(
        [sys.executable, *words, "-m", "pipeline", "run", str(job.config), "--json"],
        cwd=cwd or job.home,
        env={**job.environment, **extra},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        umask=-1 if umask is None else umask,
    )
    return end(process)


# 86: the clock


@pytest.mark.row(86)
@pytest.mark.parametrize("seconds", [86_400, -86_400, 86_400 - int(time.time())], ids=["+1d", "-1d", "1970"])
def test_a_wrong_clock_changes_neither_pace_nor_waits(judge: Judges, tmp_path: Path, seconds: int) -> None:
    skip_if(no("gcc"))
    pace = {"concurrency": 4, "per_second": 10}
    # No price is known for 1970: with a budget, nothing would be sent.
    job = case(judge, tmp_path, "--script", "ok,rate_limited_date", records=100, limits=pace, budget={"hard_usd": None})
    began = time.monotonic()
    ended = job.run(under=["env", *words(ClockShim(tmp_path).environment(seconds))])
    lasted = time.monotonic() - began

    assert ended.code == 0, ended.err
    assert 2 <= lasted < 20, "two seconds that the server asked for, by its own clock, and ten requests a second"
    assert job.sent == 21
    assert job.answered == list(job.texts)


@pytest.mark.row(86)
@pytest.mark.parametrize("seconds", [86_400, -1, -1_700_000_000])
def test_a_clock_that_jumps_in_the_middle_of_a_run_changes_nothing(judge: Judges, tmp_path: Path, seconds: int) -> None:
    skip_if(no("gcc"))
    job = case(judge, tmp_path, records=100, limits={"concurrency": 4, "per_second": 10}, budget={"hard_usd": None})
    jump = tmp_path / "now"
    process = job.start(under=["env", *words(ClockShim(tmp_path).environment(seconds, once=jump))])
    job.strike_after(5, process)
    jump.touch()
    began = time.monotonic()
    ended = end(process)
    rest = time.monotonic() - began

    assert ended.code == 0, ended.err
    assert 0.9 <= rest < 10, "fifteen requests at ten a second"
    assert job.sent == 20
    assert ended.summary["requests"]["retried"] == 0
    assert job.answered == list(job.texts)


# 87, 88, 90: what the system grants


@pytest.mark.row(87)
def test_few_file_descriptors_lower_the_concurrency_and_fail_no_record(judge: Judges, tmp_path: Path) -> None:
    job = case(judge, tmp_path, "--latency", "0.05", records=400, limits={"concurrency": 200}, batch={"max_items": 1})
    ended = job.run(under=limited(nofile=64))

    assert ended.code == 0, ended.err
    assert "concurrency is 32" in ended.err
    assert (ended.summary["requests"]["sent"], job.sent) == (400, 400), "nothing failed for want of a descriptor"
    job.finish()


@pytest.mark.row(88)
def test_memory_does_not_grow_with_the_input(judge: Judges, tmp_path: Path) -> None:
    small, large = (
        _peak(judge, tmp_path / str(lines), lines, MEMORY if lines == LINES else None) for lines in (LINES // 4, LINES)
    )
    print(f"\npeak of {LINES // 4} lines {small >> 10} MiB, of {LINES} lines {large >> 10} MiB")
    assert large < small * 1.25 + 16 * 1024


def _peak(judge: Judges, place: Path, lines: int, memory: int | None) -> int:
    """Send `lines` records and return the most memory that the process had, in KiB."""
    place.mkdir()
    job = case(
        judge,
        place,
        records=0,
        job="moderations",
        model="omni-moderation-latest",
        batch={"max_items": 1000},
        budget={"hard_usd": None},
        limits={"concurrency": 2},
    )
    with (job.home / "in.jsonl").open("w") as file:
        file.writelines(f'{{"text": "text {number}"}}\n' for number in range(lines))
    process = job.start(under=limited(**{"as": memory}) if memory else ())
    assert process.stdout is not None
    assert process.stderr is not None
    with process.stdout, process.stderr:
        said = process.stdout.read(), process.stderr.read()
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0, said
    assert orjson.loads(said[0])["records"]["ok"] == lines
    return used.ru_maxrss


@pytest.mark.row(90)
def test_a_starved_process_is_slower_and_ends_the_same(judge: Judges, tmp_path: Path) -> None:
    job = case(judge, tmp_path)
    with hogs(2 * (os.cpu_count() or 1)):
        ended = job.run(under=["nice", "-n", "19"], seconds=90)

    assert ended.code == 0, ended.err
    assert ended.summary["requests"]["retried"] == 0
    job.finish()


@contextlib.contextmanager
def hogs(count: int) -> Iterator[None]:
    """Processes that take all the time they can get; they end by themselves where the test cannot end them."""
    spin = "import time\nuntil = time.monotonic() + 60\nwhile time.monotonic() < until: pass"
    # Nice themselves: the run, nicer still, gets little, and other tests beside it are not starved.
    processes = [subprocess.Popen(["nice", "-n", "14", sys.executable, "-c", spin]) for _ in range(count)]
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            process.wait()


# 89: the loop stands still


@pytest.mark.row(89)
def test_a_loop_that_stood_still_does_not_blame_the_server(tmp_path: Path) -> None:
    body = orjson.dumps({"model": "simulator-hashing-256", "input": ["text"]})
    request = Request("/embeddings", body, (), "simulator-hashing-256", 1, 1, 0)

    async def ask() -> int:
        async with (
            Simulator(Options(latency=0.05, engine="hashing")) as server,
            HttpBackend(Endpoint("own", server.url), Timeouts(total=0.5)) as http,
        ):
            answer = asyncio.create_task(http.send(request))
            await asyncio.sleep(0.01)
            _spin(1.5)
            return (await answer).status

    assert asyncio.run(ask()) == 200


HOG = """
import time
from jobs.embeddings import Embeddings

class Hog(Embeddings):
    def render(self, record):
        if record.line == 30:
            until = time.monotonic() + 3
            while time.monotonic() < until:
                pass
        return super().render(record)
"""


@pytest.mark.row(89)
def test_a_line_that_hogs_the_loop_fails_no_attempt(judge: Judges, tmp_path: Path) -> None:
    job = case(judge, tmp_path, "--latency", "0.2", job="hog:Hog", timeout=1, batch={"max_items": 1})
    (job.home / "hog.py").write_text(HOG)
    ended = job.run(code="import sys; sys.path.insert(0, '.')")

    assert ended.code == 0, ended.err
    assert (ended.summary["requests"]["retried"], ended.summary["money"]["unknown_nusd"]) == (0, 0)


@pytest.mark.row(89)
def test_the_watchdog_names_the_line_where_the_loop_hangs(judge: Judges, tmp_path: Path) -> None:
    job = case(judge, tmp_path, job="hog:Hog", batch={"max_items": 1})
    (job.home / "hog.py").write_text(HOG)
    quick = "import sys; sys.path.insert(0, '.'); import pipeline.observers.watchdog as dog; dog.LAG = 1.0"
    ended = job.run(code=quick)

    assert ended.code == 0, ended.err
    assert "the event loop has been busy" in ended.err
    assert "hog.py:" in ended.err
    assert "text 30" not in ended.err, "places only, no values"


@pytest.mark.row(89)
def test_the_watchdog_ends_a_process_in_which_nothing_ends(judge: Judges, tmp_path: Path) -> None:
    job = case(
        judge, tmp_path, "--script", "hang", "--hang-seconds", "60", job="hog:Hog", batch={"max_items": 1}, timeout=1
    )
    (job.home / "hog.py").write_text(HOG.replace("+ 3", "+ 60"))
    quick = "import sys; sys.path.insert(0, '.'); import pipeline.observers.watchdog as dog; dog.GRACE = 0.0"
    ended = job.run(code=quick, seconds=30)

    assert ended.code == 1
    assert "no attempt has ended" in ended.err
    (job.home / "hog.py").write_text(HOG.replace("+ 3", "+ 0"))
    again = job.run(code="import sys; sys.path.insert(0, '.')")
    assert again.code == 0, again.err
    assert job.answered == list(job.texts)


def _spin(seconds: float) -> None:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        pass


# 91: the standard streams


@pytest.mark.row(91)
@pytest.mark.parametrize(
    "line",
    [
        '"$@" >&-',
        '"$@" 2>&-',
        '"$@" <&- >&- 2>&-',
        '"$@" 2>&1 >/dev/null | head -1 >/dev/null; exit ${PIPESTATUS[0]}',
        '"$@" --json -vv | true; exit ${PIPESTATUS[0]}',
        '"$@" -vv 2>/dev/full',
    ],
)
def test_streams_that_nobody_reads_change_neither_result_nor_exit_code(
    judge: Judges, tmp_path: Path, line: str
) -> None:
    job = case(judge, tmp_path)
    command = [sys.executable, "-m", "pipeline", "run", str(job.config)]
    process = subprocess.run(
        ["bash", "-c", line, "bash", *command], cwd=job.home, env=job.environment, timeout=60, check=False
    )

    assert process.returncode == 0
    assert job.answered == list(job.texts)
    job.finish()


@pytest.mark.row(91)
def test_a_full_pipe_on_stderr_does_not_stop_a_run(judge: Judges, tmp_path: Path) -> None:
    job = case(judge, tmp_path, records=3_000, batch={"max_items": 1}, limits={"concurrency": 16})
    process = job.start("-vv", "--log-format", "json")
    try:
        wait_until(job.places.output.exists, 60)  # nobody reads 3,000 lines of 100 bytes meanwhile
    finally:
        ended = end(process)

    assert ended.code == 0
    assert job.answered == list(job.texts)


# 92, 93: the environment


@pytest.mark.row(92)
def test_locale_warnings_and_optimisation_change_no_byte_of_the_output(judge: Judges, tmp_path: Path) -> None:
    plain, *others = (_variant(judge, tmp_path / name, extra, words) for name, extra, words in VARIANTS)
    assert [other == plain for other in others] == [True] * len(others)


VARIANTS: Sequence[tuple[str, Mapping[str, str], Sequence[str]]] = (
    ("plain", {}, ()),
    ("c", {"LANG": "C", "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}, ()),
    ("optimised", {"PYTHONOPTIMIZE": "2"}, ()),
    ("warnings", {}, ("-W", "error")),
    (
        "all",
        {"LANG": "C", "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONOPTIMIZE": "2", "TZ": "Asia/Kathmandu"},
        ("-W", "error"),
    ),
)


def _variant(judge: Judges, place: Path, extra: Mapping[str, str], words: Sequence[str]) -> list[dict[str, object]]:
    place.mkdir()
    job = case(judge, place, records=0, text="Ünïcode {{ text }}")
    write_records(job.home / "in.jsonl", [{"text": f"😀 مرحبا \u2028 {number}"} for number in range(20)])
    ended = run_with(job, extra, *words)
    assert ended.code == 0, ended.err
    return contents(job)


@pytest.mark.row(92)
def test_a_name_that_the_locale_cannot_write_is_refused(judge: Judges, tmp_path: Path) -> None:
    job = case(judge, tmp_path, output={"path": "aus€.jsonl"})
    ended = run_with(job, VARIANTS[1][1])

    assert (ended.code, job.sent) == (2, 0)
    assert "LC_ALL=C.UTF-8" in ended.err


@pytest.mark.row(93)
def test_a_careless_umask_makes_no_file_readable_by_others(judge: Judges, tmp_path: Path) -> None:
    job = case(judge, tmp_path)
    write_records(job.home / "in.jsonl", [{"text": "fine"}, {"text": ""}])
    ended = run_with(job, {}, umask=0)

    assert ended.code == 3
    assert job.places.errors.exists()
    made = [path for path in job.home.rglob("*") if path.name not in {"in.jsonl", "job.yaml", "endpoints.yaml"}]
    assert (job.home / "usage" / "usage.db") in made
    assert [path for path in made if path.stat().st_mode & 0o077] == []


# 105: cron


@pytest.mark.row(105)
def test_cron_needs_neither_home_nor_terminal_nor_working_directory(judge: Judges, tmp_path: Path) -> None:
    job = case(judge, tmp_path, input={"path": "{here}/in.jsonl"})
    first, second = (_cron(job) for _ in range(2))

    assert first.returncode == 0, first.stderr
    assert len(first.stderr.splitlines()) == 1, "one line says how it went"
    assert (second.returncode, second.stdout, second.stderr) == (0, b"", b""), "nothing to do, nothing to say"
    assert job.answered == list(job.texts)
    job.finish()


@pytest.mark.row(105)
def test_cron_that_overlaps_itself_is_75_and_sends_nothing(judge: Judges, tmp_path: Path) -> None:
    job = case(judge, tmp_path, "--latency", "1", limits={"concurrency": 1}, input={"path": "{here}/in.jsonl"})
    process = job.start()
    job.strike_after(1, process)
    overlapping = _cron(job)
    sent = job.sent
    process.kill()
    end(process)

    assert overlapping.returncode == 75
    assert overlapping.stderr.count(b"\n") == 1
    assert f"pid {process.pid}".encode() in overlapping.stderr
    assert sent <= 3


def _cron(job: Case) -> subprocess.CompletedProcess[bytes]:
    """Run it as cron does: `env -i`, in `/`, without a terminal."""
    key = f"CANARY_KEY={job.environment['CANARY_KEY']}"
    usage = f"PIPELINE_STATE={job.home / 'usage'}"
    command = ["env", "-i", key, usage, sys.executable, "-m", "pipeline", "run", str(job.config)]
    return subprocess.run(command, cwd="/", stdin=subprocess.DEVNULL, capture_output=True, timeout=60, check=False)


@pytest.mark.row(96)
def test_the_process_can_dump_no_core_and_has_no_key_in_its_own_environment(judge: Judges, tmp_path: Path) -> None:
    job = case(judge, tmp_path, "--latency", "0.5", limits={"concurrency": 1})
    process = job.start()
    job.strike_after(1, process)
    core = resource.prlimit(process.pid, resource.RLIMIT_CORE)
    process.kill()
    end(process)

    assert core == (0, 0)
