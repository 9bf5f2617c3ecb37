"""What each observer costs: nanoseconds on the event loop an event, and CPU beside it in its own thread.

python -m tests.benchmarks.observers
"""

from __future__ import annotations

import asyncio
import os
import tempfile
import time
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import click

from pipeline.clock import SystemClock
from pipeline.events import AttemptEnded, AttemptSent, Event, Exchange
from pipeline.middleware.exchanges import Exchanges
from pipeline.observers import background
from pipeline.observers.background import Background
from pipeline.observers.joblog import HEADER, JobLog
from pipeline.observers.log import Log, Source
from pipeline.observers.metrics import Metrics
from pipeline.observers.traces import Traced, Traces
from pipeline.storage.line_file import LineFile
from pipeline.types import Item, Record, Request, Response, Usage

ENDED = AttemptEnded(0.25, 20, 900, 0, None, None, 200)
SENT = AttemptSent(0.01)
SEEN = Exchange("abcdefgh-7", "/embeddings", "m", 21, 40, 20, 1e9, 0.25, 9000, 90_000, None, None, 200, Usage(60), "m")
REQUEST = Request("/embeddings", b"{}", (Item(Record(1, "1", {}), "x", 1),), "m", 1, 1, 0, attempt="abcdefgh-7")
ANSWER = Response(200, {}, b"", usage=Usage(60), model="m", received=90_000)
SOURCE = Source("name", 1)


class Answers:
    """A backend that is always done."""

    async def send(self, request: Request) -> Response:
        return ANSWER


@click.command(help=__doc__)
@click.option("--events", default=200_000, show_default=True)
def main(events: int) -> None:
    background._MOST = events + 1
    with tempfile.TemporaryDirectory(prefix="benchmark-") as name:
        folder = Path(name)
        _on_loop(events)
        _beside("log file, every attempt", partial(_log_lines, folder), events)
        _beside("joblog", partial(_joblog, folder), events)
        os.environ |= {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9", "OTEL_EXPORTER_OTLP_TIMEOUT": "1"}
        _beside("traces", _traces, min(events, 20_000))
    click.echo("off: neither observer nor middleware is there (tests/test_watching.py)")


def _on_loop(events: int) -> None:
    """What the event loop's thread pays."""
    idle = Background[Any]("idle", lambda _: None, lambda _: None)
    metrics = Metrics({"job": "j"})
    quiet, loud = _log(idle.put, "info"), _log(idle.put, "trace")
    _show("log file, level info: an answered attempt", _each(partial(quiet.see, ENDED), events))
    _show("log file, level trace: an answered attempt", _each(partial(loud.see, ENDED), events))
    _show("metrics: an attempt sent and ended", _each(partial(_both, metrics.see), events))
    bare, watched = Answers(), Exchanges(Answers(), SystemClock(), [idle.put])
    once = asyncio.run(_sends(bare.send, events))
    _show("joblog or traces: an attempt", asyncio.run(_sends(watched.send, events)) - once)
    both = Exchanges(Answers(), SystemClock(), [idle.put, idle.put])
    _show("joblog and traces: an attempt", asyncio.run(_sends(both.send, events)) - once)
    idle.end()


def _log(write: Callable[[str], None], least: Any) -> Log:
    return Log(write, lambda: datetime.now(UTC), least=least, style="json", source=SOURCE)


def _both(see: Callable[[Event], None]) -> None:
    see(SENT)
    see(ENDED)


def _each(act: Callable[[], None], times: int) -> float:
    began = time.perf_counter()
    for _ in range(times):
        act()
    return (time.perf_counter() - began) / times


async def _sends(send: Callable[[Request], Coroutine[Any, Any, Response]], times: int) -> float:
    began = time.perf_counter()
    for _ in range(times):
        await send(REQUEST)
    return (time.perf_counter() - began) / times


def _log_lines(folder: Path, events: int) -> None:
    lines: list[str] = []
    log = _log(lines.append, "trace")
    log.see(ENDED)
    file = LineFile(folder / "log", 10_000_000, 2)
    for at in range(0, events, 200):
        file.append([f"{lines[0]}\n".encode()] * min(200, events - at))


def _joblog(folder: Path, events: int) -> None:
    joblog = JobLog(LineFile(folder / "joblog", header=HEADER), "api.openai.com")
    for at in range(0, events, 200):
        joblog.write([SEEN] * min(200, events - at))


def _traces(events: int) -> None:
    traces = Traces(Traced("j", "n", "openai", "api.openai.com", 443), lambda _: None)
    traces.write([SEEN])
    for at in range(0, events, 200):
        traces.write([SEEN] * min(200, events - at))


def _beside(name: str, work: Callable[[int], None], events: int) -> None:
    began = time.process_time()
    work(events)
    _show(f"{name}: beside the loop, CPU", (time.process_time() - began) / events)


def _show(what: str, seconds: float) -> None:
    click.echo(f"{what:<48} {seconds * 1e9:8,.0f} ns")


if __name__ == "__main__":
    main()
