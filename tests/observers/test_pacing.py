"""Whole runs in virtual time: what bound them is said by what they measured."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any

import pytest

from pipeline.core.limits import Limits
from pipeline.errors import Throttled
from pipeline.events import Observers
from pipeline.middleware.throttle import Throttle
from pipeline.middleware.trace import Trace
from pipeline.observers.pacing import Cpu, Pacing, Plan
from pipeline.observers.tally import Tally
from pipeline.types import Item, Record, Request, Response, Usage
from tests.virtual import LoopClock, run

ITEMS = tuple(Item(Record(line, str(line), {}), "text", 3) for line in (1, 2, 3))


@dataclass
class Server:
    """Answers after `latency` seconds; refuses the first `refusals` attempts for ten seconds."""

    latency: float = 0.1
    refusals: int = 0

    async def send(self, request: Request) -> Response:
        await asyncio.sleep(self.latency)
        if self.refusals:
            self.refusals -= 1
            raise Throttled("slow down", code="rate_limit_exceeded", status=429, hint=10.0)
        return Response(200, {}, b"", usage=Usage(input=request.tokens))


@dataclass
class Job:
    """What is sent, by how many workers, and what this machine needs for it."""

    limits: Limits
    server: Server = field(default_factory=Server)
    requests: int = 300
    tokens: int = 10
    workers: int = 32
    every: float = 0.0
    """Seconds between two records of a pipe; 0: the input is a file."""
    cpu: float = 0.01
    """Seconds of CPU a second."""
    commit: float = 0.0
    """Seconds until an intent is durable, for all that wait at once."""
    disk_seconds: float = 0.0


@dataclass
class Intents:
    """Makes an intent durable before anything is sent."""

    inner: Trace
    job: Job

    async def send(self, request: Request) -> Response:
        await asyncio.sleep(self.job.commit)
        self.job.disk_seconds += self.job.commit / self.job.limits.concurrency
        return await self.inner.send(request)


def paced(job: Job) -> dict[str, Any]:
    """Run `job` on virtual time and return its `pace`."""
    return run(_paced(job))


async def _paced(job: Job) -> dict[str, Any]:
    clock = LoopClock()
    tally = Tally(clock.monotonic)
    observers = Observers([tally])
    durable = Intents(Trace(job.server, clock, observers), job)
    throttle = Throttle(durable, job.limits, clock, observers, jitter=lambda: 0.0)
    plan = Plan(job.limits.concurrency, max_items=6, live=job.every > 0)
    pacing = Pacing(plan, tally, throttle, job, clock, lambda: Cpu(clock.monotonic() * job.cpu, 0.0))
    queue: asyncio.Queue[Request | None] = asyncio.Queue(1)
    workers = [asyncio.create_task(_work(throttle, queue)) for _ in range(job.workers)]
    looking = asyncio.create_task(_look(pacing))
    for _ in range(job.requests):
        await asyncio.sleep(job.every)
        await queue.put(Request("/x", b"", ITEMS, "m", job.tokens, job.tokens, 0))
    pacing.input_ended()
    for _ in workers:
        await queue.put(None)
    await asyncio.gather(*workers)
    looking.cancel()
    pacing.stop()
    return pacing.as_dict()


async def _work(throttle: Throttle, queue: asyncio.Queue[Request | None]) -> None:
    while (request := await queue.get()) is not None:
        while not await _answered(throttle, request):
            pass


async def _answered(throttle: Throttle, request: Request) -> bool:
    try:
        await throttle.send(request)
    except Throttled:
        return False
    return True


async def _look(pacing: Pacing) -> None:
    while True:
        await asyncio.sleep(1)
        pacing.look()


def test_a_run_at_its_limit_of_requests_says_so() -> None:
    pace = paced(Job(Limits(64, rpm=600)))

    assert pace["bound_by"] == "requests"
    assert pace["requests_per_minute"] == pytest.approx(600, rel=0.02)
    assert pace["utilisation"] == pytest.approx(1, abs=0.02)
    assert pace["held_up"]["requests"] > 0.9 * pace["seconds"]


def test_a_run_at_its_limit_of_tokens_says_so() -> None:
    pace = paced(Job(Limits(64, rpm=6_000, tpm=6_000)))

    assert pace["bound_by"] == "tokens"
    assert pace["tokens_per_minute"] == pytest.approx(6_000, rel=0.02)


@pytest.mark.usefixtures("throttler_on_loop_time")
def test_a_run_at_its_requests_a_second_says_so() -> None:
    assert paced(Job(Limits(64, per_second=20)))["bound_by"] == "per_second"


def test_a_run_with_all_its_slots_taken_says_so() -> None:
    pace = paced(Job(Limits(4, rpm=60_000)))

    assert pace["bound_by"] == "concurrency"
    assert pace["in_flight"] == pytest.approx(4, rel=0.02)
    assert pace["executing"] == pytest.approx({"p50": 0.1, "p90": 0.1, "p99": 0.1, "max": 0.1}, rel=0.06)
    assert pace["waiting"]["p50"] == pytest.approx(0.7, rel=0.06), "32 workers take turns on 4 slots"


def test_a_server_that_asks_for_pauses_is_named() -> None:
    pace = paced(Job(Limits(64, rpm=6_000), Server(refusals=2)))

    assert pace["bound_by"] == "pause"
    assert pace["paused"] == pytest.approx(10, abs=0.2), "two refusals at once are one pause"


def test_a_run_whose_requests_are_all_on_the_wire_is_bound_by_the_server() -> None:
    pace = paced(Job(Limits(64, rpm=60_000), Server(latency=20)))

    assert pace["bound_by"] == "server"
    assert pace["waiting"]["max"] < 0.1


def test_a_pipe_that_brings_little_is_named() -> None:
    assert paced(Job(Limits(64, rpm=60_000), every=0.1))["bound_by"] == "input"


def test_a_machine_without_a_free_core_is_named() -> None:
    pace = paced(Job(Limits(4, rpm=60_000), cpu=0.96))

    assert pace["bound_by"] == "cpu"
    assert pace["cpu_share"] == pytest.approx(0.96)
    assert pace["cpu_seconds"] == pytest.approx(0.96 * pace["seconds"], rel=0.01)


def test_a_disk_that_holds_the_slots_is_named() -> None:
    pace = paced(Job(Limits(4, rpm=60_000), commit=0.3))

    assert pace["bound_by"] == "disk"
    assert pace["disk_seconds"] == pytest.approx(0.75 * pace["seconds"], rel=0.02), "0.3 s of each 0.4 s"


def test_batches_say_how_full_they_were() -> None:
    pace = paced(Job(Limits(64, rpm=600), requests=60))

    assert pace["batch_items"] == 3
    assert pace["batch_fill"] == 0.5


def test_a_run_that_just_began_is_too_short() -> None:
    pace = paced(Job(Limits(4), requests=10))

    assert pace["bound_by"] is None
    assert pace["why"] == "too short to say what bound it"
