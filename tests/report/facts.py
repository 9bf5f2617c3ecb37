"""Facts to report."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from pipeline.core.failures import Failures
from pipeline.core.history import History
from pipeline.core.timeline import ANSWERED, INPUT, ITEMS, OK, OUTPUT, PAUSED, REFUSED, SENT
from pipeline.observers.look import Seen
from pipeline.observers.recorded import About, Recorded, Setting, Sum
from pipeline.report import Facts
from pipeline.types import Json
from tests.cli.summaries import summary

AT = datetime(2026, 11, 21, 12, 0, 30, tzinfo=UTC)


def history(seconds: int = 90, runs: int = 1) -> History:
    """Ten requests of ten records a second; one in a hundred was refused, after which nothing was sent for a second."""
    whole = History()
    for _ in range(runs):
        run = History(starts=((0.0, "2026-11-21T12:00:00+00:00"),), runs=1, attempts={"rate_limit_exceeded": 9})
        for second in range(seconds):
            row = run.timeline.row(second)
            row[SENT] += 10
            row[ANSWERED] += 9 if second % 10 == 0 else 10
            row[REFUSED] += second % 10 == 0
            row[PAUSED] += second % 10 == 1
            row[ITEMS] += 95
            row[OK] += 95
            row[INPUT] += 2000
            row[OUTPUT] += 500
            run.waiting.note(second / 10)
            run.executing.note(0.2 + second / 200)
        run.timeline.reach(seconds - 0.01)
        whole.add(run)
    return whole


def recorded(**changes: Any) -> Recorded:
    """What a run left that had some failures."""
    failures = Failures()
    for line in (3, 17, 29):
        failures.note("context_length_exceeded", line, f"T-{line}", "the record is longer than the model takes")
    fields: dict[str, Any] = {
        "ledger": "abcdefgh",
        "about": About(
            "text-1", "openai", 720, 200_000, 32, 10, [150_000_000, 75_000_000, 150_000_000, 600_000_000, 600_000_000],
            [Setting("model", '"text-1"', "tickets.yaml:3"), Setting("timeout", "600.0", "default")],
        ),
        "earlier": History(),
        "last": history(),
        "failures": failures,
        "sums": [
            Sum("text-1", "ok", 880, 900_000, 100_000, 0, 45_000, 5_000, 157_500_001),
            Sum("text-1", "retried", 9, 9_000, 0, 0, 450, 0, 1_620_000),
            Sum("text-1", "unknown", 2, 0, 0, 0, 0, 0, 4_000_000),
        ],
    }  # fmt: skip
    return Recorded(**{**fields, **changes})


def facts(summary_changes: Json = None, holder: str | None = None, **changes: Any) -> Facts:
    """What is known of a run that ended well, but for `changes`."""
    found: dict[str, Any] = {**summary(), **(summary_changes or {})}
    return Facts(Seen(found, holder), recorded(**changes), AT)
