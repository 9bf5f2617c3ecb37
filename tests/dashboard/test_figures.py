from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest

from pipeline.core.monthly import MonthlyCap
from pipeline.dashboard.figures import DAYS, gather
from pipeline.storage.state import Places
from tests.dashboard.runs import AT, Runs
from tests.report.facts import recorded


@pytest.fixture
def runs(tmp_path: Path) -> Runs:
    return Runs(tmp_path)


def test_spend_is_by_day_with_the_days_on_which_nothing_was_spent(runs: Runs) -> None:
    runs.ended("aaaaaaaa", day="2026-11-01")
    runs.ended("bbbbbbbb")
    runs.ended("cccccccc", day="2026-09-30")
    figures = gather(runs.log, AT)
    spent = {day.day: (day.spent, day.unknown) for day in figures.days if day.spent}

    assert len(figures.days) == DAYS
    assert figures.days[-1].day == AT.date()
    assert spent == {date(2026, 11, 1): (3 * 10**9, 10**8), date(2026, 11, 21): (3 * 10**9, 10**8)}
    assert (figures.today, figures.month) == (3 * 10**9, 6 * 10**9)


def test_this_month_is_by_model_and_by_job_the_dearest_first(runs: Runs) -> None:
    runs.ended("aaaaaaaa", "tickets")
    runs.ended("bbbbbbbb", "labels", model="text-2")
    runs.ended("cccccccc", "labels", model="text-2")
    figures = gather(runs.log, AT)

    assert [(total.key, total.ok_nusd) for total in figures.models] == [("text-2", 6 * 10**9), ("text-1", 3 * 10**9)]
    assert [total.key for total in figures.names] == ["labels", "tickets"]


def test_runs_under_way_are_those_whose_lock_is_held(runs: Runs) -> None:
    runs.running("aaaaaaaa")
    runs.running("bbbbbbbb", "killed")
    runs.locks[1].release()
    figures = gather(runs.log, AT)

    assert [(live.run.name, live.now["fraction"]) for live in figures.live] == [("tickets", 0.4321)]
    assert {run.name: run.state for run in figures.recent} == {"tickets": "running", "killed": "died"}


def test_a_run_that_has_said_nothing_yet_is_shown_as_starting(runs: Runs) -> None:
    run = runs.running("aaaaaaaa")
    runs.says(run, state="complete")

    assert [live.now for live in gather(runs.log, AT).live] == [None]


def test_limits_in_use_add_up_over_the_runs_that_share_them(runs: Runs) -> None:
    runs.running("aaaaaaaa")
    runs.running("bbbbbbbb", "labels", {"rpm": 600, "tpm": None})
    runs.running("cccccccc", "other", model="text-2")
    first, second = gather(runs.log, AT).uses

    assert first == ("openai", "text-1", 720, 720, 300_000, 200_000)
    assert second == ("openai", "text-2", 360, 720, 150_000, 200_000)


def test_an_empty_log_is_no_error(runs: Runs) -> None:
    figures = gather(runs.log, AT)

    assert (figures.live, figures.recent, figures.month) == ([], [], 0)


def test_monthly_caps_are_those_of_the_last_runs_with_what_was_spent_under_each(runs: Runs) -> None:
    run = runs.ended("aaaaaaaa", model="text-1-large")
    runs.ended("bbbbbbbb")
    runs.ended("cccccccc", endpoint="local")
    runs.ended("dddddddd", day="2026-10-31")
    runs.says(run)
    caps = [
        MonthlyCap("budget.monthly_usd", 50 * 10**9),
        MonthlyCap("monthly_usd of endpoint openai", 20 * 10**9, "openai"),
        MonthlyCap("limits.text-1-*.monthly_usd of endpoint openai", 4 * 10**9, "openai", "text-1-*"),
    ]
    kept = recorded()
    kept = kept._replace(about=kept.about._replace(caps=caps, cap_keys=["text-1-*", "text-1"]))
    Places(Path(run.output), Path(run.state_dir)).history.write_bytes(kept.as_json())

    assert gather(runs.log, AT).caps == [
        ("budget.monthly_usd", 50 * 10**9, 3 * 3_100_000_000),
        ("limits.text-1-*.monthly_usd of endpoint openai", 4 * 10**9, 3_100_000_000),
        ("monthly_usd of endpoint openai", 20 * 10**9, 2 * 3_100_000_000),
    ]
