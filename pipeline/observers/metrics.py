"""Metrics for the textfile collector of Prometheus' node_exporter. Counters are of this run and begin at 0 with it.

Every sample has the labels job, name, endpoint and, where the config names one, model. The families:

    pipeline_requests_total{outcome}          attempts: ok, throttled, unreachable, transient, ambiguous, malformed,
                                              rejected, stopped
    pipeline_request_errors_total{code}       attempts that failed; a bounded number of codes, the others as `other`
    pipeline_records_total{outcome}           ok, failed
    pipeline_tokens_total{kind}               input (without cached), cached, output (without reasoning), reasoning
    pipeline_cost_dollars_total{kind}         ok, retried, unknown
    pipeline_request_duration_seconds         histogram of attempts
    pipeline_quota_wait_seconds               histogram of waits before attempts
    pipeline_in_flight, pipeline_running, pipeline_start_timestamp_seconds
    pipeline_records_remaining, pipeline_limit_utilisation_ratio{limit}, pipeline_budget_dollars   where known
    pipeline_last_exit_code, pipeline_last_end_timestamp_seconds, pipeline_last_success_timestamp_seconds
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from datetime import datetime

from pipeline.core.exposition import Buckets, Family, Sample, exposition
from pipeline.events import AttemptEnded, AttemptSent, Event
from pipeline.observers.snapshot import Snapshot
from pipeline.observers.summary import Money, Summary, Tokens

_DURATIONS = (0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0)
_WAITS = (0.001, 0.01, 0.1, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0, 900.0)
_OUTCOMES = ("ok", "throttled", "unreachable", "transient", "ambiguous", "malformed", "rejected", "stopped")
_MOST_CODES = 30
"""Codes come from the provider: beyond so many different ones they count as `other`."""
_LONGEST_CODE = 64
_OTHER = "other"


class Metrics:
    """Counts what Prometheus wants to know beyond the summary.

    Args:
        labels: Of every sample.
    """

    def __init__(self, labels: Mapping[str, str]) -> None:
        self._labels = labels
        self._outcomes = dict.fromkeys(_OUTCOMES, 0)
        self._codes: Counter[str] = Counter()
        self._durations, self._waits = Buckets(_DURATIONS), Buckets(_WAITS)

    def see(self, event: Event) -> None:
        if type(event) is AttemptEnded:
            self._ended(event)
        elif type(event) is AttemptSent:
            self._waits.note(event.waited)

    def text(self, summary: Summary, snapshot: Snapshot) -> str:
        """How the run stands, or how it ended, as the collector reads it."""
        return exposition([*self._counted(summary), *_gauges(summary, snapshot), *_ends(summary)], self._labels)

    def _ended(self, event: AttemptEnded) -> None:
        self._durations.note(event.seconds)
        if event.error is None:
            self._outcomes["ok"] += 1
            return
        outcome = event.error.lower()
        self._outcomes[outcome if outcome in self._outcomes else "stopped"] += 1
        code = (event.code or _OTHER)[:_LONGEST_CODE]
        self._codes[code if code in self._codes or len(self._codes) < _MOST_CODES else _OTHER] += 1

    def _counted(self, summary: Summary) -> Iterator[Family]:
        part = summary.this_run
        records = {"ok": part.records.ok, "failed": part.records.failed}
        outcomes = _by("outcome", self._outcomes)
        yield Family("pipeline_requests_total", "counter", "Attempts by outcome.", outcomes)
        yield Family("pipeline_request_errors_total", "counter", "Failed attempts by code.", _by("code", self._codes))
        yield Family("pipeline_records_total", "counter", "Records settled.", _by("outcome", records))
        yield Family(
            "pipeline_tokens_total", "counter", "Tokens reported; the kinds add up.", _by("kind", _tokens(part.tokens))
        )
        cost = _by("kind", _cost(part.money))
        yield Family("pipeline_cost_dollars_total", "counter", "Cost in US dollars; the kinds add up.", cost)
        yield Family(
            "pipeline_request_duration_seconds", "histogram", "How long attempts took.", self._durations.samples()
        )
        yield Family(
            "pipeline_quota_wait_seconds", "histogram", "How long attempts waited for quota.", self._waits.samples()
        )


def _by(label: str, values: Mapping[str, float]) -> list[Sample]:
    return [Sample(value, {label: key}) for key, value in values.items()]


def _tokens(tokens: Tokens) -> dict[str, float]:
    return {
        "input": tokens.input - tokens.cached,
        "cached": tokens.cached,
        "output": tokens.output - tokens.reasoning,
        "reasoning": tokens.reasoning,
    }


def _cost(money: Money) -> dict[str, float]:
    kinds = {
        "ok": money.spent_nusd - money.retried_nusd,
        "retried": money.retried_nusd,
        "unknown": money.unknown_nusd,
    }
    return {kind: nusd / 1e9 for kind, nusd in kinds.items()}


def _gauges(summary: Summary, snapshot: Snapshot) -> Iterator[Family]:
    running = summary.exit_code is None
    yield _gauge("pipeline_in_flight", "Attempts in flight.", snapshot.in_flight if running else 0)
    yield _gauge("pipeline_running", "Whether the run is under way.", float(running))
    yield _gauge("pipeline_start_timestamp_seconds", "When the run began.", _seconds(summary.started_at))
    yield _gauge("pipeline_records_remaining", "Records not settled yet.", summary.whole.records.remaining)
    yield Family("pipeline_limit_utilisation_ratio", "gauge", "Share of a limit in use.", _utilisation(snapshot))
    cap = snapshot.cap_nusd
    yield _gauge("pipeline_budget_dollars", "The hard budget of the output.", None if cap is None else cap / 1e9)


def _utilisation(snapshot: Snapshot) -> list[Sample]:
    pairs = {
        "requests": (snapshot.requests_per_minute, snapshot.rpm_limit),
        "tokens": (snapshot.tokens_per_minute, snapshot.tpm_limit),
    }
    return [Sample(max(0.0, now) / limit, {"limit": name}) for name, (now, limit) in pairs.items() if limit]


def _ends(summary: Summary) -> Iterator[Family]:
    """How the run ended; nothing while it is under way."""
    if summary.exit_code is None or summary.ended_at is None:
        return
    at = _seconds(summary.ended_at)
    yield _gauge("pipeline_last_exit_code", "Exit code of the last run that ended.", summary.exit_code)
    yield _gauge("pipeline_last_end_timestamp_seconds", "When the last run ended.", at)
    succeeded = at if summary.exit_code == 0 else None
    yield _gauge("pipeline_last_success_timestamp_seconds", "When a run last ended with exit code 0.", succeeded)


def _gauge(name: str, help_text: str, value: float | None) -> Family:
    return Family(name, "gauge", help_text, [] if value is None else [Sample(value)])


def _seconds(stamp: str) -> float:
    return datetime.fromisoformat(stamp).timestamp()
