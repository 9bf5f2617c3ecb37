"""The figures at the head of the page, each with two remarks short enough for a line of a narrow card."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from pipeline.core.timeline import FAILED, REFUSED, SENT
from pipeline.observers.progress import duration, money, rate, short
from pipeline.observers.recorded import Recorded
from pipeline.report.cost import Estimate, dollars
from pipeline.types import Json

_NUSD = 1_000_000_000
"""In a dollar."""
_LEAST_SHOWN = _NUSD // 10_000


class Card(NamedTuple):
    """A figure."""

    label: str
    value: str
    exact: str
    """The figure, not shortened; empty where it is not."""
    notes: Sequence[str]


def cards(summary: Json, recorded: Recorded | None, estimate: Estimate | None) -> list[Card]:
    """Return the figures of an output and of its last run."""
    spent = summary["money"]["spent_nusd"]
    return [
        _records(summary["records"], summary.get("now")),
        Card("Cost", _sum(spent), money(spent), _cost_notes(summary["money"], estimate)),
        _time(summary["this_run"]["seconds"], recorded),
        _speed(summary["this_run"], summary["pace"]),
        _requests(summary["requests"], recorded),
        _tokens(summary["tokens"]),
    ]


def _records(records: Json, now: Json) -> Card:
    settled = records["ok"] + records["failed"]
    if records["total"] is not None:
        of = f"of {records['total']:,}"
    else:
        of = f"{now['fraction']:.0%} of the input" if now and now["fraction"] else "so far"
    return Card("Records", _exact(settled), f"{settled:,}", [of, f"{_brief(records['failed'])} failed"])


def _cost_notes(sums: Json, estimate: Estimate | None) -> list[str]:
    notes = []
    if sums["cap_nusd"]:
        notes.append(f"{sums['spent_nusd'] / sums['cap_nusd']:.0%} of {dollars(sums['cap_nusd'])}")
    if estimate is not None:
        notes.append(estimate.short)
    if sums["unknown_nusd"]:
        notes.append(f"≤ {_sum(sums['unknown_nusd'])} unknown")
    return notes[:2] or ["no budget was set"]


def _time(seconds: float, recorded: Recorded | None) -> Card:
    notes = ["one run"]
    if recorded is not None and (whole := recorded.whole).runs > 1:
        notes = [f"last of {whole.runs} runs", f"{duration(whole.timeline.seconds)} in all"]
    return Card("Time", duration(seconds), f"{seconds:,.1f} s", notes)


def _speed(here: Json, pace: Json) -> Card:
    settled, seconds = here["records"]["ok"] + here["records"]["failed"], here["seconds"]
    if pace is None or not settled or not seconds:
        return Card("Speed", "none", "", ["nothing was settled"])
    notes = [f"{short(pace['requests_per_minute'])} requests/min", f"{short(pace['tokens_per_minute'])} tokens/min"]
    return Card("Speed", rate(settled / seconds), "", notes)


def _requests(requests: Json, recorded: Recorded | None) -> Card:
    """Return the attempts of all runs: a run that was killed could not add its own to the summary."""
    sent, throttled, again = requests["sent"], requests["throttled"], requests["retried"]
    if recorded is not None:
        timeline = recorded.whole.timeline
        sent = max(sent, int(timeline.total(SENT)))
        throttled = max(throttled, int(timeline.total(REFUSED)))
        again = max(again, throttled + int(timeline.total(FAILED)))
    return Card(
        "Requests", _exact(sent), f"{sent:,}", [f"{_brief(again)} in vain", f"{_brief(throttled)} refused (429)"]
    )


def _sum(nusd: int) -> str:
    """Return a sum in at most seven characters."""
    if 0 < nusd < _LEAST_SHOWN:
        return "< 0.01¢"
    if nusd < 1000 * _NUSD:
        return money(nusd)
    return f"${nusd / _NUSD:,.0f}" if nusd < 99_999 * _NUSD else f"${short(nusd / _NUSD)}"


def _brief(number: int) -> str:
    return f"{number:,}" if number < 10_000 else short(number)


def _exact(number: int) -> str:
    """Return a number as it is while it is easy to read."""
    return f"{number:,}" if number < 100_000 else short(number)


def _tokens(tokens: Json) -> Card:
    both = tokens["input"] + tokens["output"]
    notes = [f"{short(tokens['input'])} in, {short(tokens['output'])} out", f"{short(tokens['cached'])} cached"]
    return Card("Tokens", short(both), f"{both:,}", notes)
