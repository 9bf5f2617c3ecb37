"""Random runs with random budgets, faults and kills: billed <= recorded <= cap in all, and the budget can be used up.

Each run is a job of its own: embeddings or completions, in batches of 1 to 20, with 1 to 500 requests in flight, under
a cap of 1 to 100 % of what the whole costs. It is killed up to three times (SIGKILL at a random moment) and run again
until it ends by itself; now and then the cap is raised then, and it goes on. After every kill and every end the bill of
the server's own record, by the attempts of this job's ledger, is compared with what the ledger on disk says.

Runs are forked from this process, which has the program loaded: each is a process, only its start takes no second.
`python -m tests.faults.money --seed S --only N` repeats run N of a series.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import random
import signal
import sqlite3
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from multiprocessing import get_context
from pathlib import Path
from typing import NamedTuple

import pipeline.runner
from pipeline.config import load
from pipeline.simulator.text import expected_words
from pipeline.simulator.tokens import count_tokens
from pipeline.storage.state import default_state
from pipeline.storage.vocabulary import load as load_vocabulary
from pipeline.types import Json
from tests.acceptance.command import write_config, write_endpoint, write_records
from tests.faults.oracle import check_outcomes
from tests.faults.storms.scene import Server, expect, recorded, serving

_PATIENCE = 90.0
_INPUT, _OUTPUT, _EMBEDDED = 150, 600, 20
"""Nano-USD a token: of the simulator's text model in and out, and of its embeddings."""
_MOST_OUTPUT = 16
_MIXES: tuple[tuple[str, ...], ...] = (
    (),
    ("server_error=0.05", "unavailable=0.03", "rate_limited_ms=0.002", "proxy_520=0.02"),
    ("reset_before_response=0.03", "reset_mid_body=0.03", "close_before_response=0.02", "no_length=0.02"),
    ("html=0.02", "truncated_json=0.02", "empty=0.02", "error_in_200=0.02", "length_too_long=0.02"),
    ("too_few=0.02", "duplicate_index=0.02", "shuffled=0.2", "usage_missing=0.03", "usage_of_first=0.03"),
    ("bad_gateway=0.04", "gateway_timeout=0.03", "proxy_524=0.02", "hang=0.002", "overloaded_529=0.002"),
)
"""Faults of the servers. None lies about money upwards: what a server reports is recorded, be it above a cap."""
_LATENCIES = (0.005, 0.03, 0.15)


class Draw(NamedTuple):
    """What chance decided about one run."""

    number: int
    job: str
    texts: list[str]
    max_items: int
    in_flight: int
    share: float
    """Of what the whole job costs without a fault."""
    kills: int
    raised: bool

    @property
    def need(self) -> int:
        return sum(self._cost(text) for text in self.texts)

    @property
    def cap(self) -> int:
        return max(1_000, int(self.need * self.share))

    @property
    def reservation(self) -> int:
        """The most that one record can cost."""
        tokens = max(count_tokens(text) for text in self.texts)
        return tokens * _EMBEDDED if self.job == "embeddings" else tokens * _INPUT + _MOST_OUTPUT * _OUTPUT

    def _cost(self, text: str) -> int:
        if self.job == "embeddings":
            return count_tokens(text) * _EMBEDDED
        return count_tokens(text) * _INPUT + len(expected_words(text)[:_MOST_OUTPUT]) * _OUTPUT


def drawn(seed: int, number: int, most: int) -> Draw:
    """Draw run `number` of the series `seed`; `most` bounds what is in flight."""
    chance = random.Random(f"{seed}-{number}")
    in_flight = min(most, chance.choice([1, 4, 16, 64, 200, 500, 500]))
    max_items = chance.choice([1, 1, 3, 20])
    records = chance.randrange(5, 30) + chance.randrange(1, 4) * min(600, in_flight * max_items)
    return Draw(
        number=number,
        job=chance.choice(["embeddings", "completions"]),
        texts=[f"record {line} " + "word " * chance.randrange(0, 30) for line in range(1, records + 1)],
        max_items=max_items,
        in_flight=in_flight,
        share=chance.choice([0.01, chance.uniform(0.01, 1.0), chance.uniform(0.01, 1.0), 1.0]),
        kills=chance.choice([0, 1, 1, 2, 3]),
        raised=chance.random() < 0.25,
    )


class Job:
    """One run's files, and the processes that work on it one after the other."""

    def __init__(self, home: Path, draw: Draw, server: Server) -> None:
        self.home, self.draw = home, draw
        self._server = server
        self._since = len(server.lines(0))
        self._chance = random.Random(draw.number)
        self.cap = draw.cap
        self.killed = self.checks = 0
        self.in_flight: list[int] = []
        write_records(home / "in.jsonl", [{"text": text} for text in draw.texts])
        write_endpoint(home, "own", server.url, provider="simulator")

    @property
    def ledger(self) -> Path:
        return default_state(self.home / "out.jsonl") / "ledger.db"

    def run(self) -> int:
        """Run, kill and run again until it ends by itself; return its exit code."""
        for _ in range(self.draw.kills):
            code = self._once(kill_after=self._chance.uniform(0.02, 1.2))
            if code is not None:
                return code
        code = self._once(kill_after=None)
        expect(code is not None, f"no end within {_PATIENCE:g} s")
        return code or 0

    def check(self) -> None:
        """Billed <= recorded <= cap, by the server's record and by the ledger on disk."""
        self.checks += 1
        money, billed = recorded(self.ledger), self.billed()
        expect(billed <= money.total, f"billed {billed}, recorded {money}")
        expect(money.total <= self.cap, f"recorded {money} of {self.cap}")

    def billed(self) -> int:
        """What the server billed for attempts of this job's ledger, however late they reached it."""
        name = _name_of(self.ledger)
        entries = self._server.since(self._since) if name else []
        return sum(entry.cost_nusd for entry in entries if (entry.request_id or "").startswith(f"{name}-"))

    def _once(self, kill_after: float | None) -> int | None:
        """Run in a process of its own; return its exit code, None where it was killed."""
        child = os.fork()
        if child == 0:
            _work(self._config(), self.home)
        until = time.monotonic() + (_PATIENCE if kill_after is None else kill_after)
        while time.monotonic() < until:
            ended, status = os.waitpid(child, os.WNOHANG)
            if ended:
                self.check()
                return os.waitstatus_to_exitcode(status)
            time.sleep(0.005)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        self.killed += 1
        self.in_flight.append(recorded(self.ledger).inflight)
        self.check()
        return None

    def _config(self) -> Path:
        draw = self.draw
        completions = {"job": "completions", "model": "simulator-text-1", "max_output_tokens": _MOST_OUTPUT}
        embeddings = {"job": "embeddings", "model": "simulator-hashing-256"}
        keys: dict[str, Json] = {
            **(completions if draw.job == "completions" else embeddings),
            "endpoint": "own",
            "input": {"path": str(self.home / "in.jsonl")},
            "output": {"path": str(self.home / "out.jsonl")},
            "text": "{{ text }}",
            "prompt": "{{ text }}",
            "batch": {"max_items": draw.max_items},
            "limits": {"concurrency": draw.in_flight, "rpm": 10_000_000},
            "retry": {"base": 0.02, "cap": 1.0},
            "budget": {"hard_usd": self.cap / 1e9},
            "timeout": 3,
        }
        return write_config(self.home, "job", **keys)


def _work(config: Path, home: Path) -> None:
    """Be the run; never returns."""
    code = 1
    try:
        with (home / "streams").open("ab") as streams:
            os.dup2(streams.fileno(), 1)
            os.dup2(streams.fileno(), 2)
        loaded = load(config, {}, {"HOME": str(home), "PIPELINE_STATE": str(home / "usage")})
        code = asyncio.run(pipeline.runner.run(loaded)).exit_code or 0
    finally:
        os._exit(code)


def _name_of(ledger: Path) -> str | None:
    if not ledger.exists():
        return None
    with contextlib.closing(sqlite3.connect(f"file:{ledger}?immutable=1", uri=True)) as db:
        row = db.execute("SELECT v FROM meta WHERE k = 'ledger'").fetchone()
    return str(row[0])


@dataclass
class Figures:
    """What all runs add up to."""

    runs: int = 0
    kills: int = 0
    checks: int = 0
    stops: int = 0
    """Runs that the budget ended."""
    dead: int = 0
    cap: int = 0
    recorded: int = 0
    billed: int = 0
    unknown: int = 0
    in_flight: list[int] = field(default_factory=list)
    used: list[float] = field(default_factory=list)
    """Of runs that the budget ended: the share of the cap, with one reservation added."""

    def __str__(self) -> str:
        worst = min(self.used, default=1.0)
        return (
            f"{self.runs} runs, {self.kills} kills with up to {max(self.in_flight, default=0)} attempts in flight "
            f"({sum(count >= 200 for count in self.in_flight)} with 200 or more), {self.checks} comparisons: "
            f"billed {self.billed} <= recorded {self.recorded} (of it unknown {self.unknown}) <= caps {self.cap} "
            f"nano-USD; {self.stops} runs ended by their budget, of which at least {worst:.2%} was used "
            f"(one reservation added); {self.dead} with dead letters"
        )

    def __add__(self, other: Figures) -> Figures:
        return Figures(*[getattr(self, each.name) + getattr(other, each.name) for each in fields(self)])


def one(draw: Draw, server: Server) -> Figures:
    """Make one run and check it. Raises AssertionError where a promise is broken."""
    with tempfile.TemporaryDirectory(prefix="money-") as folder:
        job = Job(Path(folder), draw, server)
        code = job.run()
        raised = code == 4 and draw.raised
        if raised:
            job.cap = 3 * draw.need
            code = job.run()
        expect(code in (0, 3, 4), f"exit {code}: {(job.home / 'streams').read_text()}")
        job.check()
        if code != 4:
            check_outcomes(job.home, range(1, len(draw.texts) + 1))
        return _figures(job, code, raised)


def _figures(job: Job, code: int, raised: bool) -> Figures:
    money = recorded(job.ledger)
    used = (money.total + job.draw.reservation) / job.cap
    expect(code != 4 or used >= 0.99, f"only {money.total} of {job.cap} were used")
    return Figures(
        runs=1,
        kills=job.killed,
        checks=job.checks,
        stops=code == 4 or raised,
        dead=code == 3,
        cap=job.cap,
        recorded=money.total,
        billed=job.billed(),
        unknown=money.unknown,
        in_flight=job.in_flight,
        used=[used] if code == 4 else [],
    )


class Task(NamedTuple):
    """One run of a series, for a worker."""

    seed: int
    number: int
    most: int
    server: Server
    until: float

    def __call__(self) -> Figures:
        if time.monotonic() > self.until:
            return Figures()
        try:
            return one(drawn(self.seed, self.number, self.most), self.server)
        except AssertionError as broken:
            raise AssertionError(f"--seed {self.seed} --only {self.number}: {broken}") from None


def series(seed: int, numbers: Sequence[int], *, seconds: float, most: int, workers: int) -> Figures:
    """Make runs, several at a time, for at most so many seconds."""
    load_vocabulary("cl100k_base")  # once, and not in every process
    figures, until, shown = Figures(), time.monotonic() + seconds, time.monotonic()
    with tempfile.TemporaryDirectory(prefix="money-") as folder, contextlib.ExitStack() as stack:
        servers = [
            stack.enter_context(_server(Path(folder, str(number)), mix, _LATENCIES[number % len(_LATENCIES)]))
            for number, mix in enumerate(_MIXES)
        ]
        tasks = [Task(seed, number, most, random.Random(number).choice(servers), until) for number in numbers]
        pool = stack.enter_context(get_context("fork").Pool(workers))
        for made in pool.imap_unordered(Task.__call__, tasks):
            figures += made
            if time.monotonic() > shown + 30:
                shown = time.monotonic()
                print(figures, file=sys.stderr, flush=True)
    return figures


def _server(folder: Path, mix: Sequence[str], latency: float) -> contextlib.AbstractContextManager[Server]:
    folder.mkdir()
    faults = [word for fault in mix for word in ("--fault", fault)]
    return serving(folder, "--latency", str(latency), "--jitter", str(latency / 2), *faults)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=1_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=1e9, help="stop earlier, after so many seconds")
    parser.add_argument("--in-flight", type=int, default=500, help="the most requests in flight")
    parser.add_argument("--workers", type=int, default=2, help="runs at a time")
    parser.add_argument("--only", type=int, help="make this run of the series alone")
    chosen = parser.parse_args()
    numbers = range(chosen.runs) if chosen.only is None else [chosen.only]
    began = time.monotonic()
    try:
        figures = series(chosen.seed, numbers, seconds=chosen.seconds, most=chosen.in_flight, workers=chosen.workers)
    except AssertionError as broken:
        print(f"BROKEN: {broken}")
        return 1
    print(f"{figures}; {time.monotonic() - began:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
