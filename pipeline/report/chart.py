"""Charts as numbers: shares of width and height, which the template makes SVG of. Nothing here is of a record."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from pipeline.core.axis import Tick, ceiling, clock, time_ticks
from pipeline.core.histogram import Histogram
from pipeline.core.history import History
from pipeline.core.timeline import INPUT, MOST_ROWS, OUTPUT, PAUSED, REFUSED, SENT, Step
from pipeline.observers.progress import duration, short

_MOST_STEPS = 120
_SHORTEST_STEP = 5.0
"""Seconds of a step, where the whole is a minute or more: limits are kept by the minute, not by the second."""
_A_DOUBLING = 2
_WIDTH, _HEIGHT = 1000, 100
"""Of a plot, in its own units: it is stretched to its place."""


class Bar(NamedTuple):
    """A rectangle of a plot, with what a pointer on it shows."""

    x: float
    y: float
    width: float
    height: float
    title: str


class Mark(NamedTuple):
    """A place on the time axis: when a further run began."""

    x: float
    title: str


class Line(NamedTuple):
    """A value against time, as steps under a limit."""

    title: str
    path: str
    """Of the area below."""
    edge: str
    """Of its upper side."""
    limit: float | None
    """Where the limit is, from the top."""
    limit_label: str
    peak_label: str
    steps: Sequence[Bar]
    y_ticks: Sequence[Tick]
    x_ticks: Sequence[Tick]
    starts: Sequence[Mark]
    refused: Sequence[Bar]
    paused: Sequence[Bar]


class Bars(NamedTuple):
    """A histogram of durations."""

    bars: Sequence[Bar]
    x_ticks: Sequence[Tick]
    y_ticks: Sequence[Tick]
    figures: Sequence[tuple[str, str]]
    """Percentiles, with their names."""


def throughput(history: History, rpm: int | None, tpm: int | None) -> list[Line]:
    """Return requests and tokens a minute over time; nothing where nothing was sent."""
    steps = history.timeline.steps(_MOST_STEPS, _SHORTEST_STEP)
    if not any(step.sums[SENT] for step in steps):
        return []
    charts = [_line("Requests a minute", steps, history, rpm, SENT)]
    if any(step.sums[INPUT] or step.sums[OUTPUT] for step in steps):
        charts.append(_line("Tokens a minute", steps, history, tpm, INPUT, OUTPUT))
    return charts


def _line(title: str, steps: Sequence[Step], history: History, limit: int | None, *columns: int) -> Line:
    seconds = steps[-1].end
    rates = [step.per_minute(*columns) for step in steps]
    top = ceiling(max(*rates, (limit or 0) * 1.05))
    edge = _edge(steps, [rate / top for rate in rates])
    return Line(
        title=title,
        path=f"{edge}V{_HEIGHT}H0Z",
        edge=edge,
        limit=None if limit is None else _y(limit, top),
        limit_label="no limit known" if limit is None else f"limit {short(limit)}",
        peak_label=f"peak {short(max(rates))}",
        steps=[
            _column(step, seconds, _HEIGHT, _told(step, rate, title)) for step, rate in zip(steps, rates, strict=True)
        ],
        y_ticks=_halves(top),
        x_ticks=time_ticks(seconds),
        starts=[Mark(at / seconds * _WIDTH, f"a further run began at {stamp}") for at, stamp in history.starts if at],
        refused=_lane(history, seconds, REFUSED, lambda amount: f"{amount:,.0f} refused"),
        paused=_lane(history, seconds, PAUSED, lambda amount: f"paused for {duration(amount)}"),
    )


def _edge(steps: Sequence[Step], heights: Sequence[float]) -> str:
    """Return the upper side of steps that are so high, as shares."""
    wide = _WIDTH / steps[-1].end
    corners = [
        f"{step.start * wide:.2f} {(1 - height) * _HEIGHT:.2f}H{step.end * wide:.2f}"
        for step, height in zip(steps, heights, strict=True)
    ]
    return "M" + "L".join(corners)


def _column(step: Step, seconds: float, height: float, title: str) -> Bar:
    return Bar(step.start / seconds * _WIDTH, 0, (step.end - step.start) / seconds * _WIDTH, height, title)


def _lane(history: History, seconds: float, column: int, told: Callable[[float], str]) -> list[Bar]:
    """Mark when something of a column happened, as exactly as is known."""
    steps = history.timeline.steps(MOST_ROWS, 0)
    return [
        _column(step, seconds, 1, f"{_span(step)}: {told(step.sums[column])}") for step in steps if step.sums[column]
    ]


def durations(histogram: Histogram) -> Bars:
    """Return how often which duration was seen; no bars where none was."""
    bins = histogram.bins(_A_DOUBLING)
    if not bins:
        return Bars([], [], [], [])
    top = ceiling(max(each.durations for each in bins))
    wide = _WIDTH / len(bins)
    bars = []
    for number, each in enumerate(bins):
        y = _y(each.durations, top)
        told = f"{_seconds(each.lower)} to {_seconds(each.upper)}: {each.durations:,}"
        bars.append(Bar(number * wide + wide * 0.06, y, wide * 0.88, _HEIGHT - y, told))
    every = max(1, -(-len(bins) // 5))
    labels = [Tick(number / len(bins), _seconds(bins[number].lower)) for number in range(0, len(bins), every)]
    p50, p90, p99, longest = histogram.percentiles()
    figures = [("median", p50), ("90 % within", p90), ("99 % within", p99), ("longest", longest)]
    return Bars(bars, labels, _halves(top), [(name, _seconds(seconds)) for name, seconds in figures])


def _halves(top: float) -> list[Tick]:
    return [Tick(share, short(top * (1 - share)) if top > 2 else f"{top * (1 - share):g}") for share in (0.0, 0.5, 1.0)]


def _told(step: Step, rate: float, title: str) -> str:
    refused = f", {step.sums[REFUSED]:,.0f} refused" if step.sums[REFUSED] else ""
    return f"{_span(step)}: {rate:,.0f} {title.lower()}{refused}"


def _span(step: Step) -> str:
    return f"{clock(step.start)} to {clock(step.end)}"


def _seconds(seconds: float) -> str:
    if seconds == float("inf"):
        return "longer"
    return f"{seconds * 1000:.0f}ms" if seconds < 0.9995 else duration(seconds)


def _y(value: float, top: float) -> float:
    return _HEIGHT * (1 - min(1.0, value / top))
