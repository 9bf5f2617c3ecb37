"""A real cron daemon runs a job every minute over a growing file: `python -m tests.acceptance.cron_daemon --minutes 5`.

What `pipeline cron` prints is pasted into the user's crontab as it is. The daemon is a process of this program's own
and is ended with it; the crontab is removed, whatever happens.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from pipeline.simulator import digest
from tests.acceptance.command import pipeline, read_lines, write_config
from tests.judge import Judge, judged

LATENCY = 0.2
_AT_FIRST = 320
"""Records at the start: more than a minute's work for one request at a time, so that a second run finds the first."""


class Report(NamedTuple):
    """What is left after some minutes of cron."""

    records: int
    answered: list[str]
    texts: list[str]
    asked: Counter[str]
    least_gap: float
    """Seconds between two requests; less than the latency only where two runs were at work."""
    log: list[str]


def unable() -> str | None:
    """Why no daemon of our own can run here; None where it can."""
    if os.geteuid() != 0 or not shutil.which("cron") or not shutil.which("crontab"):
        return "only root can start a cron daemon, where there is one"
    if subprocess.run(["crontab", "-l"], capture_output=True, check=False).returncode == 0:
        return "the user has a crontab, which is left alone"
    return None


@contextlib.contextmanager
def crontab(text: str) -> Iterator[None]:
    """Install a crontab and run a daemon that obeys it."""
    subprocess.run(["crontab", "-"], input=text, text=True, check=True)
    try:
        with subprocess.Popen(["cron", "-f"], stdin=subprocess.DEVNULL) as daemon:
            try:
                yield
                if daemon.poll() is not None:
                    raise RuntimeError("the daemon ended: does another one run?")
            finally:
                daemon.terminate()
    finally:
        subprocess.run(["crontab", "-r"], check=True)


def prepare(home: Path, server: Judge) -> str:
    """Write a job into `home`, and return what goes into the crontab."""
    write_config(
        home,
        "job",
        job="embeddings",
        endpoint="simulator",
        model="simulator-hashing-256",
        input={"path": "in.jsonl", "growing": True},
        output={"path": "out.jsonl", "keep": ["text"]},
        text="{{ text }}",
        batch={"max_items": 1},
        limits={"concurrency": 1},
    )
    # cron sets no variables: the .env beside the config does.
    (home / ".env").write_text(f"SIMULATOR_BASE_URL={server.url}\nPIPELINE_STATE={home}/usage\n")
    printed = pipeline("cron", "job.yaml", "--at", "* * * * *", home=home)
    assert printed.code == 0, printed.err
    return printed.out


def watch(home: Path, server: Judge, minutes: int, at_first: int) -> Report:
    """Let cron work on a growing input until it has run at so many full minutes and nothing is left to do."""
    numbers = itertools.count(1)
    with (home / "in.jsonl").open("w", buffering=64) as file:
        for number in itertools.islice(numbers, at_first):
            file.write(f'{{"text": "text {number}"}}\n')
        with crontab(prepare(home, server)):
            end = (time.time() // 60 + minutes) * 60 + 1
            while time.time() < end:
                time.sleep(0.5)  # cron takes its time from the wall
                if end - time.time() > 30:
                    file.write(f'{{"text": "text {next(numbers)}"}}\n')
            file.close()
            _wait_for_the_last(home, minutes)
    texts = [line["text"] for line in read_lines(home / "in.jsonl")]
    times = sorted(entry.time for entry in server.served())
    return Report(
        records=len(texts),
        answered=[line["text"] for line in read_lines(home / "out.jsonl")],
        texts=texts,
        asked=Counter(shown for entry in server.served() for shown in entry.inputs),
        least_gap=min(later - earlier for earlier, later in itertools.pairwise(times)),
        log=(home / "job.log").read_text().splitlines(),
    )


def _wait_for_the_last(home: Path, minutes: int) -> None:
    """Wait until every record has its answer: for the run at work, and at most for the one after it."""
    until = time.time() + 75 + 60 * (minutes > 1)
    wanted = len(read_lines(home / "in.jsonl"))
    while time.time() < until:
        output = home / "out.jsonl"
        if output.exists() and len(read_lines(output)) == wanted:
            return
        time.sleep(0.2)  # another process can only be watched


def check(report: Report) -> None:
    """Raise AssertionError where a record has not exactly one answer, or two runs were at work at once."""
    assert report.answered == report.texts, f"{len(report.answered)} of {report.records} records have an answer"
    assert report.asked == Counter(map(digest, report.texts)), "a record was sent twice"
    assert report.least_gap >= LATENCY, "two runs were at work at once"
    assert any("complete: " in line for line in report.log)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=int, default=5)
    arguments = parser.parse_args()
    reason = unable()
    if reason is not None:
        sys.exit(reason)
    with tempfile.TemporaryDirectory() as folder, judged(Path(folder), "--latency", str(LATENCY)) as server:
        home = Path(folder) / "home"
        home.mkdir()
        report = watch(home, server, arguments.minutes, _AT_FIRST)
        print("\n".join(report.log))
        check(report)
    over = sum("another run has" in line for line in report.log)
    runs = sum("complete: " in line for line in report.log)
    print(f"\n{report.records} records, each answered once; {runs} runs had something to do, {over} found one at work;")
    print(f"the least time between two requests was {report.least_gap:.2f} s, where each takes {LATENCY} s")


if __name__ == "__main__":
    main()
