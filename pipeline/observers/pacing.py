"""How fast a run goes and what bounds it: the `pace` of the published schema."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, Protocol

from pipeline.clock import Clock
from pipeline.core.histogram import Histogram
from pipeline.core.verdict import Figures, Flow, Machine, Slots, verdict
from pipeline.observers.tally import Tally

if TYPE_CHECKING:
    from pipeline.middleware.throttle import Throttle, ThrottleStatistics


class Writer(Protocol):
    """What makes things durable."""

    @property
    def disk_seconds(self) -> float: ...


class Cpu(NamedTuple):
    """Seconds of CPU used so far: by the process, and by the thread that asks. Who else wants it: programs a core."""

    process: float
    thread: float
    load: float = 0.0


def cpu_now() -> Cpu:
    return Cpu(time.process_time(), time.thread_time(), _load())


def _load() -> float:
    """Programs that wanted each core in the last minute; 0 where the system does not say."""
    try:
        return os.getloadavg()[0] / (os.cpu_count() or 1)
    except OSError:
        return 0.0


@dataclass(frozen=True, slots=True)
class Plan:
    """What a run is held to."""

    concurrency: int
    max_items: int
    live: bool
    """The input is a pipe."""


class _Reading(NamedTuple):
    """One look at everything that is measured."""

    at: float
    cpu: Cpu
    disk: float
    paused: float
    behind: float
    throttle: ThrottleStatistics


class Pacing:
    """Measures a run from the first thing sent to the last. Belongs to the thread that sends.

    `behind` tells for how many seconds nothing was sent because whoever takes the results was behind.
    """

    def __init__(
        self,
        plan: Plan,
        tally: Tally,
        throttle: Throttle,
        writer: Writer,
        clock: Clock,
        cpu: Callable[[], Cpu] = cpu_now,
        behind: Callable[[], float] = lambda: 0.0,
    ) -> None:
        self._plan = plan
        self._tally = tally
        self._throttle = throttle
        self._writer = writer
        self._clock = clock
        self._cpu = cpu
        self._behind = behind
        self._looks = 0
        self._used = 0.0
        self._input_ended: float | None = None
        self._last: _Reading | None = None
        self._first = self._read()

    def look(self) -> None:
        """Note how much of the limits is in use; call it at a steady rate."""
        self._looks += 1
        self._used += self._throttle.statistics().utilisation

    def input_ended(self) -> None:
        """The input has been read to its end."""
        self._input_ended = self._clock.monotonic()

    def stop(self) -> None:
        """Nothing is sent any more."""
        if not self._looks:
            self.look()
        self._last = self._read()

    def as_dict(self) -> dict[str, object]:
        """The figures so far, or of the whole where it has stopped."""
        last = self._last or self._read()
        figures = self._figures(last)
        flow, machine, seconds = figures.flow, figures.machine, figures.seconds
        found = verdict(figures)
        items = self._tally.packed / max(1, self._tally.sent)
        return {
            "bound_by": found.bound_by,
            "why": found.sentence,
            "seconds": round(seconds, 3),
            "waiting": _percentiles(self._tally.waiting),
            "executing": _percentiles(self._tally.executing),
            "held_up": {cause: round(held, 3) for cause, held in figures.held.items()},
            "paused": round(figures.paused, 3),
            "requests_per_minute": round(flow.requests_per_minute, 1),
            "tokens_per_minute": round(flow.tokens_per_minute, 1),
            "utilisation": round(flow.utilisation, 4) or None,
            "in_flight": round(flow.in_flight, 2),
            "concurrency": figures.slots.in_force,
            "batch_items": round(items, 2),
            "batch_fill": round(items / self._plan.max_items, 4),
            "cpu_seconds": round(machine.process, 3),
            "cpu_share": round(machine.process / seconds, 4) if seconds else 0.0,
            "loop_cpu_seconds": round(machine.loop, 3),
            "disk_seconds": round(machine.disk, 3),
            "load": round(machine.load, 2),
        }

    def _read(self) -> _Reading:
        return _Reading(
            self._clock.monotonic(),
            self._cpu(),
            self._writer.disk_seconds,
            self._tally.paused(),
            self._behind(),
            self._throttle.statistics(),
        )

    def _figures(self, last: _Reading) -> Figures:
        first, plan = self._first, self._plan
        seconds = last.at - first.at
        input_ended = last.at if self._input_ended is None else self._input_ended
        return Figures(
            seconds,
            held=last.throttle.blocked,
            paused=last.paused - first.paused,
            waited_for_input=input_ended - first.at if plan.live else 0.0,
            flow=self._flow(seconds),
            machine=Machine(
                last.cpu.process - first.cpu.process,
                last.cpu.thread - first.cpu.thread,
                last.disk - first.disk,
                last.cpu.load,
            ),
            slots=Slots(plan.concurrency, last.throttle.concurrency, plan.max_items),
            waited_for_reader=last.behind - first.behind,
        )

    def _flow(self, seconds: float) -> Flow:
        tally, minutes = self._tally, max(seconds, 1e-9) / 60
        return Flow(
            attempts=tally.sent,
            again=tally.retried,
            throttled=tally.throttled,
            requests_per_minute=tally.sent / minutes,
            tokens_per_minute=(tally.input_tokens + tally.output_tokens) / minutes,
            utilisation=min(1.0, self._used / max(1, self._looks)),
            in_flight=tally.executing.total / max(seconds, 1e-9),
            median=tally.executing.percentile(0.5),
        )


def _percentiles(histogram: Histogram) -> dict[str, float]:
    """Seconds, to the millisecond."""
    return {name: round(seconds, 3) for name, seconds in histogram.percentiles()._asdict().items()}
