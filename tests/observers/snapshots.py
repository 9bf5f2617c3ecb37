"""Snapshots to show."""

from __future__ import annotations

from pipeline.observers.snapshot import Snapshot

START = Snapshot(
    state="running",
    total=1000,
    fraction=None,
    ok=0,
    failed=0,
    this_run_ok=0,
    this_run_failed=0,
    in_flight=0,
    throttled=0,
    elapsed=0.0,
    tokens_per_minute=0.0,
    tpm_limit=None,
    requests_per_minute=0.0,
    rpm_limit=None,
    spent_nusd=0,
    unknown_nusd=0,
    reserved_nusd=0,
    cap_nusd=None,
    paused=None,
)
HALFWAY = START._replace(
    ok=495,
    failed=5,
    this_run_ok=245,
    this_run_failed=5,
    in_flight=8,
    throttled=3,
    elapsed=10.0,
    tokens_per_minute=912_345.6,
    tpm_limit=1_000_000,
    requests_per_minute=290.2,
    rpm_limit=300,
    spent_nusd=12_300_000,
    cap_nusd=5_000_000_000,
)
