"""The page: facts in, HTML out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from pipeline.core.timeline import ANSWERED, FAILED, ITEMS, REFUSED
from pipeline.observers.recorded import Recorded
from pipeline.report.cards import cards
from pipeline.report.chart import durations, throughput
from pipeline.report.cost import Estimate, Meter, budget_meter, by_outcome, by_token, cost_sentences, meter
from pipeline.report.facts import Facts
from pipeline.report.render import render
from pipeline.report.samples import Sample
from pipeline.report.state import next_commands, standing
from pipeline.types import Json


@dataclass(frozen=True, slots=True)
class Asked:
    """What else a page may show."""

    commands: Mapping[str, str] = field(default_factory=dict)
    """What to type to `run`, `retry`, `check`, and for the `status`."""
    samples: Sequence[Sample] = ()
    estimate: Estimate | None = None
    """What the whole input was expected to cost."""


class Failed(NamedTuple):
    """Records that failed for one reason."""

    code: str
    records: str
    message: str
    examples: Sequence[tuple[int, str]]
    more: int


def page(facts: Facts, asked: Asked) -> str:
    """Return the report as HTML."""
    summary, recorded = facts.seen.summary, facts.recorded
    values = {
        **_head(facts, asked),
        "cards": cards(summary, recorded, asked.estimate),
        "verdict": _verdict(summary["pace"]),
        "notices": summary["notices"],
        "records": _records(summary["records"], summary.get("now")),
        "failed": _failed(summary, recorded),
        "errors_file": summary["errors"] if summary["records"]["failed"] and facts.seen.holder is None else "",
        **_cost(summary, recorded, asked.estimate),
        **_sending(recorded),
        "samples": asked.samples,
        **_settings(recorded),
    }
    return render("report.html", values)


def _head(facts: Facts, asked: Asked) -> dict[str, object]:
    summary, recorded = facts.seen.summary, facts.recorded
    return {
        "name": summary["name"],
        "job": summary["job"],
        "about": recorded.about if recorded is not None else None,
        "standing": standing(facts.seen),
        "began": moment(summary["started_at"]),
        "ended": moment(summary["ended_at"]) if summary["ended_at"] else "without a last word",
        "running": summary["state"] == "running" and not facts.seen.died,
        "made": f"{facts.at:%Y-%m-%d %H:%M:%S} UTC",
        "commands": next_commands(facts.seen, asked.commands),
        "output": summary["output"] + ("" if summary["state"] == "complete" else ".partial"),
    }


def _verdict(pace: Json) -> str:
    """What bound the run, and what to change; nothing where it stopped too soon to say."""
    if pace is None or pace["bound_by"] is None:
        return ""
    why = str(pace["why"])
    return why[:1].upper() + why[1:]


def _cost(summary: Json, recorded: Recorded | None, estimate: Estimate | None) -> dict[str, object]:
    return {
        "cost_sentences": cost_sentences(summary, estimate),
        "budget": budget_meter(summary["money"]),
        "price_source": summary["money"]["price_source"],
        "tokens": by_token(recorded) if recorded is not None else [],
        "outcomes": by_outcome(recorded) if recorded is not None else [],
    }


def _sending(recorded: Recorded | None) -> dict[str, object]:
    """What is drawn of the sending, over all runs."""
    if recorded is None:
        return {"charts": [], "runs": 0, "waits": None, "answers": None, "fill": None, "attempts": []}
    whole, about = recorded.whole, recorded.about
    return {
        "charts": throughput(whole, about.rpm, about.tpm),
        "runs": whole.runs,
        "waits": durations(whole.waiting),
        "answers": durations(whole.executing),
        "fill": _fill(recorded),
        "attempts": sorted(whole.attempts.items(), key=lambda each: (-each[1], each[0])),
    }


def _records(records: Json, now: Json) -> Meter:
    ok, failed, remaining = records["ok"], records["failed"], records["remaining"] or 0
    about = ""
    if records["total"] is None and now and now["fraction"]:
        remaining, about = round((ok + failed) * (1 / now["fraction"] - 1)), "about "
    parts = [
        ("ok", ok, f"{ok:,} have a result"),
        ("failed", failed, f"{failed:,} failed for good"),
        ("rest", remaining, f"{about}{remaining:,} remain"),
    ]
    return meter(records["total"] or 0, parts)


def _fill(recorded: Recorded) -> Meter | None:
    """Return how full the requests were; None where one takes one record, or nothing was sent."""
    timeline, most = recorded.whole.timeline, recorded.about.max_items
    attempts = sum(timeline.total(column) for column in (ANSWERED, REFUSED, FAILED))
    if most == 1 or not attempts:
        return None
    items = timeline.total(ITEMS) / attempts
    return meter(most, [("ok", items, f"{items:.1f} of {most:,} records in a request, on average")])


def _failed(summary: Json, recorded: Recorded | None) -> list[Failed]:
    kinds = recorded.failures.kinds if recorded is not None else []
    if not kinds:
        return [Failed(code, f"{count:,}", "", [], 0) for code, count in summary["codes"].items()]
    return [
        Failed(each.code, f"{each.count:,}", each.message, each.examples, each.count - len(each.examples))
        for each in kinds
    ]


def _settings(recorded: Recorded | None) -> dict[str, object]:
    settings = recorded.about.settings if recorded is not None else []
    return {
        "given": [each for each in settings if each.origin != "default"],
        "defaults": [each for each in settings if each.origin == "default"],
    }


def moment(stamp: str) -> str:
    """Return a time of day (ISO 8601, UTC) to the second."""
    return f"{stamp[:19].replace('T', ' ')} UTC"
