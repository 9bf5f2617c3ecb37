from __future__ import annotations

from dataclasses import replace
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from pipeline.events import AttemptEnded, AttemptSent
from pipeline.observers.metrics import Metrics
from pipeline.observers.summary import Money, Part, Records, Requests, Summary, Tokens
from tests.observers.snapshots import HALFWAY

PART = Part(
    Records(1000, 245, 5, 500),
    Requests(14, 12, 2, 1),
    Tokens(1000, 300, 90, 40),
    Money(7_000_000, 500_000, 0, 2_000_000),
)
UNDER_WAY = Summary(
    "embeddings",
    "tickets",
    "running",
    None,
    "2026-11-21T12:00:00.000+00:00",
    None,
    None,
    "out",
    "errors",
    PART,
    PART,
    9.5,
)
OK = AttemptEnded(0.3, 20, 100, 0, None, None, 200)
LABELS = {"job": "embeddings", "name": "tickets", "endpoint": "openai", "model": "m"}


def values(metrics: Metrics, summary: Summary = UNDER_WAY) -> dict[tuple[str, str], float]:
    """Samples by name and their own labels, as the official parser reads them."""
    found = {}
    for family in text_string_to_metric_families(metrics.text(summary, HALFWAY)):
        for sample in family.samples:
            assert LABELS.items() <= sample.labels.items()
            own = ",".join(f"{key}={value}" for key, value in sample.labels.items() if key not in LABELS)
            found[sample.name, own] = sample.value
    return found


def ended(code: int) -> Summary:
    return replace(UNDER_WAY, exit_code=code, ended_at="2026-11-21T12:00:10.000+00:00", state="complete")


def test_every_number_of_a_run_is_there() -> None:
    metrics = Metrics(LABELS)
    for event in (AttemptSent(0.0), OK, AttemptSent(2.0), AttemptEnded(7.0, 20, 0, 0, "Throttled", "slow_down", 429)):
        metrics.see(event)
    seen = values(metrics)

    assert seen["pipeline_requests_total", "outcome=ok"] == 1
    assert seen["pipeline_requests_total", "outcome=throttled"] == 1
    assert seen["pipeline_request_errors_total", "code=slow_down"] == 1
    assert seen["pipeline_records_total", "outcome=ok"] == 245
    assert seen["pipeline_records_total", "outcome=failed"] == 5
    kinds = ("input", "cached", "output", "reasoning")
    assert [seen["pipeline_tokens_total", f"kind={kind}"] for kind in kinds] == [700, 300, 50, 40]
    costs = [seen["pipeline_cost_dollars_total", f"kind={kind}"] for kind in ("ok", "retried", "unknown")]
    assert costs == [0.005, 0.002, 0.0005]
    assert seen["pipeline_request_duration_seconds_bucket", "le=0.5"] == 1
    assert seen["pipeline_request_duration_seconds_bucket", "le=10"] == 2
    assert seen["pipeline_request_duration_seconds_sum", ""] == 7.3
    assert seen["pipeline_quota_wait_seconds_bucket", "le=1"] == 1
    assert seen["pipeline_quota_wait_seconds_count", ""] == 2
    assert seen["pipeline_in_flight", ""] == 8
    assert seen["pipeline_running", ""] == 1
    assert seen["pipeline_records_remaining", ""] == 500
    assert seen["pipeline_limit_utilisation_ratio", "limit=tokens"] == 0.9123456
    assert seen["pipeline_budget_dollars", ""] == 5
    assert seen["pipeline_start_timestamp_seconds", ""] == 1795262400
    assert not [name for name, _ in seen if name.startswith("pipeline_last_")]


def test_an_end_is_remembered_and_only_a_success_as_one() -> None:
    succeeded, failed = values(Metrics(LABELS), ended(0)), values(Metrics(LABELS), ended(3))

    assert succeeded["pipeline_last_exit_code", ""] == 0
    assert succeeded["pipeline_last_success_timestamp_seconds", ""] == 1795262410
    assert (succeeded["pipeline_running", ""], succeeded["pipeline_in_flight", ""]) == (0, 0)
    assert failed["pipeline_last_exit_code", ""] == 3
    assert ("pipeline_last_success_timestamp_seconds", "") not in failed


def test_codes_that_a_provider_makes_up_do_not_grow_without_end() -> None:
    metrics = Metrics(LABELS)
    for number in range(1000):
        metrics.see(AttemptEnded(0.1, 1, 0, 0, "Rejected", f'code {number}"\n', 400))
    seen: dict[Any, float] = {key: value for key, value in values(metrics).items() if key[0].endswith("errors_total")}

    assert len(seen) == 31
    assert seen["pipeline_request_errors_total", "code=other"] == 970
    assert sum(seen.values()) == 1000


def test_an_error_that_stops_the_job_counts_as_one() -> None:
    metrics = Metrics(LABELS)
    metrics.see(AttemptEnded(0.1, 1, 0, 0, "NeedsPerson", "invalid_api_key", 401))

    assert values(metrics)["pipeline_requests_total", "outcome=stopped"] == 1
