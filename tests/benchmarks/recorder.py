"""What recording costs a second, and how large the record of ten million events is.

python -m tests.benchmarks.recorder
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

import click

from pipeline.clock import SystemClock
from pipeline.events import AttemptEnded, AttemptSent, Event, Paused, RecordFailed, RecordsSettled
from pipeline.loop import run_loop
from pipeline.observers.recorded import MOST_BYTES, About
from pipeline.observers.recorder import Recorder
from pipeline.observers.tally import Tally
from tests.storage.outputs import close_both, open_both, places_in

_ROUND: tuple[Event, ...] = (
    AttemptSent(0.01),
    AttemptEnded(0.25, 20, 300, 40, None, None, 200),
    RecordsSettled(20, 0),
)
_TIMES = 1_000
_RARE: tuple[Event, ...] = (
    AttemptEnded(0.01, 20, 0, 0, "Throttled", "rate_limit_exceeded", 429),
    Paused(0.05, "rate_limit_exceeded"),
    RecordFailed(12_345, "ticket-12345", "timeout"),
)


@click.command(help=__doc__)
@click.option("--events", default=10_000_000, show_default=True)
def main(events: int) -> None:
    with tempfile.TemporaryDirectory(prefix="recorder-") as name:
        run_loop(_measure(Path(name), events))


async def _measure(folder: Path, events: int) -> None:
    places = places_in(folder)
    ledger, log, _ = open_both(places)
    clock = SystemClock()
    tally = Tally(clock.monotonic)
    recorder = Recorder(places.history, About("m", "simulator", 600, None, 16, 20, None, []), ledger, tally, clock)
    took = 0.0
    for number in range(100):
        for event in _ROUND * (events // 100 // len(_ROUND)) + _RARE * 20:
            tally.see(event)
            if isinstance(event, Recorder.KINDS):
                recorder.see(event)
        recorder._began -= 3600  # as if an hour had passed, so that rows are merged
        took += _look(recorder)
        if number % 10 == 9:
            await recorder.end()
    began = time.perf_counter()
    size = len(recorder.recorded().as_json())
    made = time.perf_counter() - began
    close_both(ledger, log)
    print(f"{events:,} events: {took / 100 / _TIMES * 1e6:.1f} us a second, however many events there are in it")
    print(f"history.json: {size:,} bytes, of at most {MOST_BYTES:,}; made in {made * 1e3:.2f} ms every 5 s")


def _look(recorder: Recorder) -> float:
    began = time.perf_counter()
    for _ in range(_TIMES):
        recorder.look()
    return time.perf_counter() - began


if __name__ == "__main__":
    main()
