"""The log and the ledgers: each run's own spend, what a killed run leaves, and what is thinned."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.storage.state import Lock, make_private
from pipeline.storage.usage import Grouping, Kind, RunRow, UsageLog, UsageRow, UsageTotal

NOW = 1_795_262_400.0
TODAY = "2026-11-21"
DAY = 86_400
GROUPINGS: Sequence[Grouping] = ("month", "model", "job", "name", "endpoint", "tag")


def spent(run_no: int, cost: int, day: str = TODAY, *, kind: Kind = "ok", name: str = "n") -> UsageRow:
    return UsageRow(run_no, day, "m", "e", "j", name, kind, 1, 9, 4, 3, 2, 1, cost, "list", (f"team={name}",), 5, "a")


@pytest.fixture
def log(tmp_path: Path) -> UsageLog:
    return UsageLog(tmp_path / "usage.db")


def begun(folder: Path, run_no: int = 1, ledger: str = "ledger", at: float = NOW, *, name: str = "n") -> RunRow:
    return RunRow(
        ledger, run_no, 7, "c.yaml", "j", name, "e", "m", str(folder / "out"), str(folder), (f"team={name}",), at, at
    )


def by_run(log: UsageLog) -> dict[str, int]:
    return {total.key: total.ok_nusd + total.unknown_nusd for total in log.totals("run")}


def test_each_run_has_its_own_spend_and_writing_it_again_changes_nothing(log: UsageLog, tmp_path: Path) -> None:
    log.begin_run(begun(tmp_path), [])
    for cost in (10, 30, 30):
        log.sync_run(begun(tmp_path), [spent(1, cost)])
    log.begin_run(begun(tmp_path, 2), [spent(1, 30), spent(2, 5, kind="unknown")])
    log.end_run(begun(tmp_path, 2), [spent(2, 5, kind="unknown"), spent(2, 100)])

    assert by_run(log) == {"n ledger-1": 30, "n ledger-2": 105}


def test_what_a_killed_run_did_not_tell_is_told_by_the_next_under_the_dead_runs_own_name(
    log: UsageLog, tmp_path: Path
) -> None:
    log.begin_run(begun(tmp_path, name="before"), [])
    log.begin_run(begun(tmp_path, 2, name="after"), [spent(1, 70, name="after"), spent(2, 5, name="after")])

    assert by_run(log) == {"before ledger-1": 70, "after ledger-2": 5}
    assert [total.key for total in log.totals("tag")] == ["team=after", "team=before"]


def test_what_the_log_has_and_the_ledger_has_not_goes(log: UsageLog, tmp_path: Path) -> None:
    log.sync("ledger", [spent(1, 70), spent(2, 30)], now=NOW)
    log.sync("another", [spent(1, 1)], now=NOW)
    log.begin_run(begun(tmp_path, 3), [spent(0, 100)])

    assert by_run(log) == {"n another-1": 1, "n ledger-0": 100}


def test_a_ledger_with_nothing_to_do_can_still_be_agreed_with(log: UsageLog) -> None:
    log.sync("ledger", [spent(1, 70)], now=NOW)
    log.agree("ledger", [spent(1, 90)], now=NOW)

    assert by_run(log) == {"n ledger-1": 90}
    assert log.runs() == []


def test_runs_are_listed_the_latest_first_with_what_was_last_said_of_them(log: UsageLog, tmp_path: Path) -> None:
    make_private(tmp_path / "live")
    lock = Lock.take(tmp_path / "live" / "lock")
    ended = begun(tmp_path)._replace(ended_at=NOW + 9, updated_at=NOW + 9, state="complete", exit_code=0, records_ok=3)
    live = begun(tmp_path / "live", 4, "live", NOW + 1)._replace(records_total=8, spent_nusd=6, unknown_nusd=1)
    log.begin_run(begun(tmp_path))
    log.end_run(ended, [])
    log.begin_run(live)

    assert log.runs() == [live, ended]
    assert log.runs(limit=1) == [live]
    lock.release()


def test_a_run_whose_lock_is_free_has_died(log: UsageLog, tmp_path: Path) -> None:
    make_private(tmp_path / "state")
    lock = Lock.take(tmp_path / "state" / "lock")
    log.begin_run(begun(tmp_path / "state"))
    log.sync_run(begun(tmp_path / "state")._replace(updated_at=NOW + 5), [])
    alive = [run.state for run in log.runs()]
    lock.release()

    assert alive == ["running"]
    assert [(run.state, run.ended_at, run.exit_code) for run in log.runs()] == [("died", NOW + 5, None)]


def test_a_dead_run_is_not_taken_for_the_one_that_goes_on_in_its_place(log: UsageLog, tmp_path: Path) -> None:
    make_private(tmp_path / "state")
    lock = Lock.take(tmp_path / "state" / "lock")
    log.begin_run(begun(tmp_path / "state", 1, "before-fresh"))
    log.begin_run(begun(tmp_path / "state", 1, "ledger", NOW + 1))
    log.begin_run(begun(tmp_path / "state", 2, "ledger", NOW + 2))

    assert [(run.ledger_id, run.run_no, run.state) for run in log.runs()] == [
        ("ledger", 2, "running"),
        ("ledger", 1, "died"),
        ("before-fresh", 1, "died"),
    ]
    lock.release()


VERSION_1 = """
CREATE TABLE usage(
    ledger_id TEXT NOT NULL, run_no INT NOT NULL, day TEXT NOT NULL, model TEXT NOT NULL, endpoint TEXT NOT NULL,
    job TEXT NOT NULL, name TEXT NOT NULL, kind TEXT NOT NULL, requests INT NOT NULL, input INT NOT NULL,
    cached INT NOT NULL, cache_write INT NOT NULL, output INT NOT NULL, reasoning INT NOT NULL, cost_nusd INT,
    price_source TEXT NOT NULL, tags TEXT NOT NULL, updated_at REAL NOT NULL,
    PRIMARY KEY (ledger_id, run_no, day, model, endpoint, job, name, kind)
) STRICT, WITHOUT ROWID;
CREATE INDEX usage_day ON usage(day);
INSERT INTO usage VALUES ('a', 0, '2026-10-31', 'm', 'e', 'j', 'n', 'ok', 3, 30, 5, 2, 12, 1, 70, 'list', '[]', 1.0);
INSERT INTO usage VALUES ('a', 0, '2026-11-01', 'm', 'e', 'j', 'n', 'unknown', 2, 0, 0, 0, 0, 0, 9, 'list', '["t"]', 1);
INSERT INTO usage VALUES ('b', 0, '2026-11-01', 'x', 'e', 'j', 'n', 'ok', 4, 8, 0, 0, 8, 0, NULL, 'unknown', '[]', 1.0);
PRAGMA application_id=1886745447;
PRAGMA user_version=1;
"""


@pytest.fixture
def old(tmp_path: Path) -> UsageLog:
    path = tmp_path / "old.db"
    with contextlib.closing(sqlite3.connect(path)) as db:
        db.executescript(VERSION_1)
    return UsageLog(path)


def test_a_log_of_version_1_keeps_every_sum_when_it_is_read(old: UsageLog) -> None:
    assert old.totals("month") == [
        UsageTotal("2026-10", 3, 30, 5, 2, 12, 1, 70, 0, 0, 0, 0),
        UsageTotal("2026-11", 6, 8, 0, 0, 8, 0, 0, 0, 9, 4, 0),
    ]
    assert {total.key: total.requests for total in old.totals("tag")} == {"": 7, "t": 2}
    assert old.runs() == []


def test_a_log_of_version_1_takes_runs(old: UsageLog, tmp_path: Path) -> None:
    rows = [spent(1, 500)._replace(endpoint="e")]
    old.begin_run(begun(tmp_path, ledger="c"), rows)

    assert by_run(old) == {"n a-0": 79, "n b-0": 0, "n c-1": 500}
    assert old.recorded(date(2026, 11, 1), date(2026, 11, 1))[1].unpriced == 4


def detail(log_path: Path) -> list[tuple[str, int]]:
    with contextlib.closing(sqlite3.connect(log_path)) as db:
        return list(db.execute("SELECT day, run_no FROM usage ORDER BY day, run_no"))


def test_detail_of_more_than_400_days_is_one_row_a_month_and_the_ledger_still_agrees(
    log: UsageLog, tmp_path: Path
) -> None:
    long_ago = [spent(run, 10**run, f"2025-0{month}-1{run}") for run in (1, 2) for month in (3, 4)]
    recent = [spent(2, 7, "2025-11-02"), spent(3, 8)]
    for _ in range(2):
        log.begin_run(begun(tmp_path, 3), [*long_ago, *recent])

    assert detail(tmp_path / "usage.db") == [("2025-03-01", 0), ("2025-04-01", 0), ("2025-11-02", 2), (TODAY, 3)]
    assert {total.key: total.ok_nusd for total in log.totals("month")} == {
        "2025-03": 110,
        "2025-04": 110,
        "2025-11": 7,
        "2026-11": 8,
    }


def test_runs_of_more_than_400_days_are_forgotten_but_not_their_spend(log: UsageLog, tmp_path: Path) -> None:
    old = begun(tmp_path, ledger="old", at=NOW - 401 * DAY)
    log.begin_run(old)
    log.end_run(old._replace(state="complete"), [spent(1, 70, "2025-10-16")])
    log.begin_run(begun(tmp_path / "other", at=NOW))

    assert [run.ledger_id for run in log.runs()] == ["ledger"]
    assert log.total().ok_nusd == 70


DAYS = st.integers(0, 900).map(lambda ago: (datetime.fromtimestamp(NOW, UTC) - timedelta(ago)).date().isoformat())
ROWS = st.lists(
    st.builds(
        lambda run, cost, day, kind, name: spent(run, cost, day, kind=kind, name=name),
        st.integers(0, 4),
        st.integers(0, 10**12),
        DAYS,
        st.sampled_from(["ok", "retried", "unknown"]),
        st.sampled_from(["one", "two"]),
    ),
    max_size=25,
    unique_by=lambda row: (row.run_no, row.day, row.kind),
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=ROWS, later=st.lists(st.integers(0, 500), min_size=1, max_size=3))
def test_thinning_changes_no_sum_but_of_days_and_runs(rows: list[UsageRow], later: list[int], tmp_path: Path) -> None:
    path = tmp_path / "thinned.db"
    path.unlink(missing_ok=True)
    log = UsageLog(path)
    log.sync("ledger", rows, now=NOW)
    before = {by: log.totals(by) for by in GROUPINGS}
    for days in sorted(later):
        log.begin_run(begun(tmp_path, 1, "another", NOW + days * DAY))

    assert {by: log.totals(by) for by in GROUPINGS} == before
    log.begin_run(begun(tmp_path, 5, "ledger", NOW + max(later) * DAY), rows)
    assert {by: log.totals(by) for by in GROUPINGS} == before
