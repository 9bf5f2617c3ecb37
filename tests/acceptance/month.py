"""A month of nights: `python -m tests.acceptance.month` prints what lies on the disk after each of them.

Three jobs run every night as cron would run them: over one file that grows, over a file of the day, and over the files
that came since the last run. A few records fail each night and are retried until they have an answer, and some runs are
killed and go on in the next night.
"""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

from pipeline.types import Json
from tests.acceptance.command import environment, read_lines, write_config
from tests.clock import ClockShim
from tests.judge import Judge, judged

DAYS = 30
_FIRST = datetime(2026, 11, 1, 2, 0, tzinfo=UTC)
_RECORDS = 40
_FAULTS = ("--fault", "content_filter_400=0.03", "--latency", "0.02")
_SOME_FAILED = 3
_MOST_RETRIES = 6
_JOBS: dict[str, dict[str, Json]] = {
    "growing": {"input": {"path": "in.jsonl", "growing": True}, "output": {"path": "growing/out.jsonl"}},
    "dated": {"input": {"path": "day-{date}.jsonl", "missing": "ok"}, "output": {"path": "dated/{date}.jsonl"}},
    "taking": {
        "input": {"path": "inbox/*.jsonl", "since_last": True},
        "output": {"path": "taking/{now:%Y%m%dT%H%M%S}.jsonl"},
    },
}


class Night(NamedTuple):
    """What lies on the disk after a night, in bytes, besides inputs and outputs."""

    day: int
    state: int
    """`OUT.state` of the growing job, whose one output is there all the month."""
    aside: int
    """Files in it that were put aside: dead letters that were retried (one file), torn lines."""
    aside_size: int
    a_day: int
    """`OUT.state` of one dated output, on average."""
    taken: int
    """The memory of what was taken."""
    usage: int
    """The usage log, and what lies beside it."""
    log: int
    """All that the runs of the growing job said."""


class Month:
    """The three jobs in a folder, and the clock that they believe in."""

    def __init__(self, home: Path, server: Judge) -> None:
        self.home = home
        self.server = server
        self.texts: list[str] = []
        self._clock = ClockShim(home.parent)
        self._chance = random.Random(7)
        (home / "inbox").mkdir()
        for name, keys in _JOBS.items():
            write_config(
                home,
                name,
                job="embeddings",
                endpoint="simulator",
                model="simulator-hashing-256",
                text="{{ text }}",
                batch={"max_items": 1},
                limits={"concurrency": 4},
                **{**keys, "output": {**keys["output"], "keep": ["text"]}},
            )

    def nights(self, days: int) -> Iterator[Night]:
        for day in range(1, days + 1):
            self._write(day)
            for name in _JOBS:
                dies = day % 6 == 3 and name != "dated"
                code = self._run("run", name, day, dies=dies)
                for _ in range(_MOST_RETRIES):
                    code = self._run("retry", name, day) if code == _SOME_FAILED else code
            yield self._weigh(day)

    def _write(self, day: int) -> None:
        texts = [f"day {day} record {number}" for number in range(_RECORDS)]
        self.texts += texts
        lines = "".join(f'{{"text": "{text}"}}\n' for text in texts)
        with (self.home / "in.jsonl").open("a") as file:
            file.write(lines)
        (self.home / f"day-{_FIRST + timedelta(days=day - 1):%Y-%m-%d}.jsonl").write_text(lines)
        (self.home / "inbox" / f"{self._chance.randrange(10**6):06}.jsonl").write_text(lines)

    def _run(self, command: str, name: str, day: int, *, dies: bool = False) -> int:
        ahead = _FIRST + timedelta(days=day - 1) - datetime.now(UTC)
        clock = self._clock.environment(round(ahead.total_seconds()))
        with (self.home / f"{name}.log").open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "pipeline", command, f"{name}.yaml", "--log-format", "text"],
                cwd=self.home,
                env=environment(self.home, {**self.server.environment, "TZ": "UTC", **clock}),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
            sent = len(self.server.entries())
            while dies and process.poll() is None and len(self.server.entries()) < sent + 3:
                time.sleep(0.005)  # another process can only be watched
            if dies:
                process.kill()
            code = process.wait(timeout=60)
        expected = {-signal.SIGKILL} if dies else {0, _SOME_FAILED}
        assert code in expected, f"day {day}: {command} {name} ended with {code}: see {self.home / name}.log"
        return code

    def _weigh(self, day: int) -> Night:
        state = self.home / "growing" / "out.jsonl.state"
        dated = list((self.home / "dated").glob("*.state"))
        aside = [path for path in state.iterdir() if path.name.startswith(("torn-", "errors-", "old-"))]
        return Night(
            day,
            state=_size(state),
            aside=len(aside),
            aside_size=sum(map(_size, aside)),
            a_day=sum(map(_size, dated)) // len(dated),
            taken=_size(self.home / "taking" / "taking.taken"),
            usage=_size(self.home / "usage"),
            log=_size(self.home / "growing.log"),
        )


def _size(path: Path) -> int:
    files = [path] if path.is_file() else [each for each in path.rglob("*") if each.is_file()]
    return sum(file.stat().st_size for file in files)


def check(month: Month) -> None:
    """Raise AssertionError where a record of the month has not exactly one answer of each job."""
    home = month.home
    outputs: dict[str, list[Path]] = {
        name: [path for path in sorted((home / name).glob("*.jsonl")) if ".errors." not in path.name] for name in _JOBS
    }
    for name, paths in outputs.items():
        found = [line["text"] for path in paths for line in read_lines(path)]
        assert sorted(found) == sorted(month.texts), f"{name}: {len(found)} answers for {len(month.texts)} records"


def run(folder: Path, days: int, show: Callable[[Night], None] = lambda _: None) -> list[Night]:
    """Live through so many nights, of which the last is not one that dies, and check what they leave."""
    home = folder / "home"
    home.mkdir()
    nights = []
    with judged(folder, "--engine", "hashing", *_FAULTS) as server:
        month = Month(home, server)
        for night in month.nights(days):
            show(night)
            nights.append(night)
        check(month)
    return nights


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        print("day     " + " ".join(f"{name:>9}" for name in Night._fields[1:]))
        run(
            Path(folder),
            DAYS,
            lambda night: print(f"{night.day:>3}     " + " ".join(f"{size:>9,}" for size in night[1:])),
        )


if __name__ == "__main__":
    main()
