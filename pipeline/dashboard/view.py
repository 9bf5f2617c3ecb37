"""The dashboard as HTML: the page, and the part of it that changes."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import NamedTuple

from jinja2 import Environment

from pipeline.core.axis import Tick, ceiling
from pipeline.dashboard.caps import Cap
from pipeline.dashboard.figures import Day, Figures, Live, Use, spent
from pipeline.observers.progress import duration, money, rate, short
from pipeline.report.chart import Bar
from pipeline.report.cost import Meter, dollars, meter
from pipeline.report.render import TEMPLATES, environment
from pipeline.storage.usage import RunRow, UsageTotal

_FOLDER = Path(__file__).parent
_NUSD = 1_000_000_000
_WIDTH, _HEIGHT = 1000, 100
_MOST_ROWS = 8
_STATES = {
    "complete": ("good", "complete"),
    "running": ("busy", "running"),
    "interrupted": ("warn", "interrupted"),
    "stopped": ("warn", "stopped"),
    "failed": ("bad", "failed"),
    "died": ("bad", "killed"),
}


class Moving(NamedTuple):
    """A run under way."""

    name: str
    model: str
    report: str
    share: str
    progress: Meter
    figures: Sequence[tuple[str, str]]
    paused: str


class Limits(NamedTuple):
    """The limits of a model at an endpoint."""

    name: str
    requests: Meter
    tokens: Meter


class Ended(NamedTuple):
    """A run of the past, or one under way."""

    name: str
    report: str
    began: str
    took: str
    tone: str
    state: str
    exit_code: str
    records: str
    cost: str


def whole_page(figures: Figures, error: str = "") -> str:
    """Return the page."""
    return _templates().get_template("dashboard.html").render(_values(figures, error))


def changing_part(figures: Figures, error: str = "") -> str:
    """Return what is inside the page's main part."""
    return _templates().get_template("main.html").render(_values(figures, error))


def short_page(title: str, text: str) -> str:
    """Return a page that says one thing."""
    return _templates().get_template("short.html").render(title=title, text=text)


def asset(name: str) -> str:
    """Return a file of the page's own: `dashboard.js` or `style.css`."""
    if name == "style.css":
        return "".join((folder / name).read_text(encoding="utf-8") for folder in (TEMPLATES, _FOLDER / "static"))
    return (_FOLDER / "static" / name).read_text(encoding="utf-8")


@cache
def _templates() -> Environment:
    return environment(_FOLDER / "templates", TEMPLATES)


def _values(figures: Figures, error: str) -> dict[str, object]:
    return {
        "error": error,
        "at": f"{figures.at:%Y-%m-%d %H:%M:%S} UTC",
        "month": f"{figures.at:%B %Y}",
        "cards": _cards(figures),
        "live": [_moving(each) for each in figures.live],
        "uses": [_limits(use) for use in figures.uses],
        "caps": [_cap(cap) for cap in figures.caps],
        "days": _bars(figures.days),
        "day_ticks": _day_ticks(figures.days),
        "sum_ticks": _sum_ticks(figures.days),
        "spent_30": money(sum(day.spent for day in figures.days)),
        "models": _shares(figures.models),
        "names": _shares(figures.names),
        "recent": [_ended(run) for run in figures.recent],
    }


def _cards(figures: Figures) -> list[tuple[str, str, str]]:
    unknown = sum(total.unknown_nusd for total in figures.models)
    requests = sum(total.requests for total in figures.models)
    tokens = sum(total.input + total.output for total in figures.models)
    return [
        ("Running now", str(len(figures.live)), "job" if len(figures.live) == 1 else "jobs"),
        ("Today", money(figures.today), "since 00:00 UTC"),
        (f"{figures.at:%B}", money(figures.month), f"≤ {money(unknown)} unknown" if unknown else "nothing unknown"),
        ("Tokens", short(tokens), f"{short(requests)} requests"),
    ]


def _moving(live: Live) -> Moving:
    run, now = live.run, live.now
    if now is None:
        return Moving(run.name, run.model, run.ledger_id, "starting", meter(1, []), [], "")
    settled = live.status["records"]["ok"] + live.status["records"]["failed"]
    share = now["fraction"] or 0.0
    figures = [
        ("records", f"{settled:,}"),
        ("failed", f"{live.status['records']['failed']:,}"),
        ("speed", rate(now["records_per_second"])),
        ("time left", duration(now["seconds_left"]) if now["seconds_left"] is not None else "unknown"),
        ("spent", _against(live.status["money"]["spent_nusd"], live.status["money"]["cap_nusd"])),
        ("in flight", f"{now['in_flight']:,}"),
    ]
    # Rounded down, because 100% means that nothing is left.
    text = f"{int(share * 1000) / 10:.1f}%" if now["fraction"] is not None else "under way"
    progress = meter(1, [("ok", share, f"{share:.1%} settled")])
    return Moving(run.name, run.model, run.ledger_id, text, progress, figures, now["paused"] or "")


def _against(nusd: int, cap: int | None) -> str:
    return money(nusd) if cap is None else f"{money(nusd)} of {dollars(cap)}"


def _limits(use: Use) -> Limits:
    return Limits(
        f"{use.endpoint} · {use.model or 'models of the lines'}",
        _in_use(use.requests, use.rpm, "requests a minute"),
        _in_use(use.tokens, use.tpm, "tokens a minute"),
    )


def _in_use(amount: float, limit: int | None, unit: str) -> Meter:
    if limit is None:
        return meter(1, [("rest", 1, f"{short(amount)} {unit}, no limit known")])
    title = f"{short(amount)} of {short(limit)} {unit}, {amount / limit:.0%}"
    return meter(limit, [("ok", max(amount, limit / 1000), title)])


def _cap(cap: Cap) -> tuple[str, Meter]:
    share = cap.used_nusd / cap.nusd if cap.nusd else 1.0
    title = f"{money(cap.used_nusd)} of {dollars(cap.nusd)}, {share:.0%}"
    kind = "failed" if share >= 0.9 else "ok"
    return cap.name, meter(cap.nusd, [(kind, max(cap.used_nusd, cap.nusd // 1000), title)])


def _bars(days: Sequence[Day]) -> list[tuple[Bar, Bar]]:
    """Return for each day what was spent and, on top of it, what may have been."""
    top = ceiling(max((day.spent + day.unknown) / _NUSD for day in days)) * _NUSD
    wide = _WIDTH / len(days)
    bars = []
    for number, day in enumerate(days):
        x, width = number * wide + wide * 0.12, wide * 0.76
        title = f"{day.day:%a %d %b}: {money(day.spent)}"
        title += f" and at most {money(day.unknown)} unknown" if day.unknown else ""
        height, more = (amount / top * _HEIGHT for amount in (day.spent, day.unknown))
        bars.append(
            (Bar(x, _HEIGHT - height, width, height, title), Bar(x, _HEIGHT - height - more, width, more, title))
        )
    return bars


def _day_ticks(days: Sequence[Day]) -> list[Tick]:
    """Label each seventh day, the last one included."""
    last = len(days) - 1
    return [
        Tick((number + 0.5) / len(days), f"{day.day:%d %b}")
        for number, day in enumerate(days)
        if (last - number) % 7 == 0
    ]


def _sum_ticks(days: Sequence[Day]) -> list[Tick]:
    top = int(ceiling(max((day.spent + day.unknown) / _NUSD for day in days)) * _NUSD)
    if not any(day.spent + day.unknown for day in days):
        return [Tick(1.0, "$0")]
    return [Tick(share, dollars(int(top * (1 - share)))) for share in (0.0, 0.5, 1.0)]


def _shares(totals: Sequence[UsageTotal]) -> list[tuple[str, str, str, Meter]]:
    """Return name, tokens, cost and a bar for the dearest; the others are added up."""
    shown = [(total.key or "none", total.input + total.output, spent(total)) for total in totals[:_MOST_ROWS]]
    rest = totals[_MOST_ROWS:]
    if rest:
        tokens = sum(total.input + total.output for total in rest)
        shown.append((f"{len(rest)} others", tokens, sum(map(spent, rest))))
    most = max((cost for _, _, cost in shown), default=0)
    return [(name, short(tokens), money(cost), meter(most or 1, [("ok", cost, "")])) for name, tokens, cost in shown]


def _ended(run: RunRow) -> Ended:
    tone, state = _STATES.get(run.state, ("warn", run.state))
    if run.state == "complete" and run.records_failed:
        tone, state = "warn", "with failures"
    until = run.ended_at if run.ended_at is not None else run.updated_at
    return Ended(
        name=run.name,
        report=run.ledger_id,
        began=f"{datetime.fromtimestamp(run.started_at, UTC):%d %b %H:%M}",
        took=duration(max(0.0, until - run.started_at)),
        tone=tone,
        state=state,
        exit_code="" if run.exit_code is None else str(run.exit_code),
        records=f"{run.records_ok + run.records_failed:,}",
        cost=money(run.spent_nusd),
    )
