from __future__ import annotations

import csv
import io
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from pipeline.cli.usage import usage
from pipeline.storage.usage import Kind, UsageLog, UsageRow

TODAY = datetime.now(UTC).date()


def row(day: str, model: str, cost: int | None, kind: Kind = "ok", tags: tuple[str, ...] = ()) -> UsageRow:
    return UsageRow(
        1, day, model, "openai", "embeddings", "tickets", kind, 2, 1000, 200, 40, 60, 20, cost, "list", tags, 7_000_000
    )


@pytest.fixture(autouse=True)
def _log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIPELINE_STATE", str(tmp_path))
    rows = [
        row("2026-01-01", "small", 1_000_000_000),
        row("2026-01-01", "large", 20_000_000, "retried"),
        row(TODAY.isoformat(), "small", None),
        row(TODAY.isoformat(), "large", 5_000_000, "unknown"),
    ]
    UsageLog(tmp_path / "usage.db").sync("ledger", rows, now=0)


def shown(*arguments: str) -> Result:
    return CliRunner().invoke(usage, arguments)


def cells(text: str) -> list[list[str]]:
    return [line.split() for line in text.splitlines()[1:]]


def test_a_table_has_a_row_for_each_group_and_their_sum() -> None:
    assert cells(shown("--by", "model").stdout) == [
        ["large", "4", "2,000", "400", "80", "120", "40", "$0.0200", "$0.0200", "$0.0050", "$0.0140", "0"],
        ["small", "4", "2,000", "400", "80", "120", "40", "$1.00", "$0", "$0", "$0.0140", "2"],
        ["total", "8", "4,000", "800", "160", "240", "80", "$1.02", "$0.0200", "$0.0050", "$0.0280", "2"],
    ]


@pytest.mark.parametrize("since", ["1d", (TODAY - timedelta(days=1)).isoformat()])
def test_since_leaves_out_what_came_before(since: str) -> None:
    assert [each[0] for each in cells(shown("--since", since).stdout)] == [TODAY.isoformat()]


@pytest.mark.parametrize(
    ("period", "days"),
    [
        (("--until", "2026-01-01"), ["2026-01-01"]),
        (("--since", "2026-01", "--until", "2026-01"), ["2026-01-01"]),
        (("--since", "2026-02", "--until", "2026-02"), []),
        (("--until", "0d"), ["2026-01-01", TODAY.isoformat(), "total"]),
        (("--until", "2025-12"), []),
    ],
)
def test_until_leaves_out_what_came_after(period: tuple[str, ...], days: list[str]) -> None:
    done = shown(*period)

    assert [each[0] for each in cells(done.stdout)] == days
    assert shown("--by", "tag", *period).exit_code == done.exit_code == 0


def test_a_month_ends_with_its_last_day() -> None:
    period = json.loads(shown("--since", "2028-02", "--until", "2028-02", "--json").stdout)

    assert (period["since"], period["until"]) == ("2028-02-01", "2028-02-29")


def test_a_period_without_a_day_is_refused() -> None:
    assert shown("--since", "2026-02", "--until", "2026-01").exit_code == 2


def test_json_is_one_object_with_the_same_numbers() -> None:
    shape = json.loads(shown("--by", "model", "--json").stdout)

    assert (shape["schema_version"], shape["by"], shape["since"]) == (1, "model", None)
    assert [each["retried_nusd"] for each in shape["rows"]] == [20_000_000, 0]


def test_json_has_the_exact_total() -> None:
    assert json.loads(shown("--by", "month", "--json").stdout)["total"] == {
        "key": "total",
        "requests": 8,
        "input": 4000,
        "cached": 800,
        "cache_write": 160,
        "output": 240,
        "reasoning": 80,
        "ok_nusd": 1_000_000_000,
        "retried_nusd": 20_000_000,
        "unknown_nusd": 5_000_000,
        "unpriced": 2,
        "saved_nusd": 28_000_000,
    }


def test_csv_has_a_head_and_exact_rows() -> None:
    assert shown("--by", "model", "--csv").stdout.splitlines() == [
        "model,requests,input,cached,cache_write,output,reasoning,ok_nusd,retried_nusd,unknown_nusd,unpriced,saved_nusd",
        "large,4,2000,400,80,120,40,0,20000000,5000000,0,14000000",
        "small,4,2000,400,80,120,40,1000000000,0,0,2,14000000",
    ]


@pytest.mark.parametrize("name", ["=1+1", "+1", "-1", "@A1", " =1", "\t=1", '=HYPERLINK("http://x","y")'])
def test_no_name_in_a_csv_is_a_formula(tmp_path: Path, name: str) -> None:
    UsageLog(tmp_path / "usage.db").sync("other", [row("2026-01-02", name, 1)], now=0)
    names = [cells[0] for cells in csv.reader(io.StringIO(shown("--by", "model", "--csv").stdout))]

    assert f"'{name}" in names
    assert name not in names


def test_a_name_moves_no_cursor(tmp_path: Path) -> None:
    UsageLog(tmp_path / "usage.db").sync("other", [row("2026-01-02", "\x1b[2Jmodel", 1)], now=0)

    assert "\\x1b[2Jmodel" in shown("--by", "model").stdout


def test_under_two_tags_a_job_counts_twice_and_in_the_total_once(tmp_path: Path) -> None:
    UsageLog(tmp_path / "usage.db").sync("other", [row("2026-01-02", "small", 3_000_000_000, tags=("a", "b"))], now=0)

    assert [(each[0], each[7]) for each in cells(shown("--by", "tag").stdout)] == [
        ("(none)", "$1.02"),
        ("a", "$3.00"),
        ("b", "$3.00"),
        ("total", "$4.02"),
    ]


def test_a_run_is_named_by_its_job_its_ledger_and_its_number(tmp_path: Path) -> None:
    log = UsageLog(tmp_path / "usage.db")
    log.sync("other", [row("2026-01-02", "small", 5)._replace(run_no=number) for number in (2, 10)], now=0)

    assert [each["key"] for each in json.loads(shown("--by", "run", "--json").stdout)["rows"]] == [
        "tickets ledger-1",
        "tickets other-2",
        "tickets other-10",
    ]


@pytest.mark.parametrize("by", ["day", "month", "model", "job", "endpoint", "tag", "name", "run"])
@pytest.mark.parametrize("form", [(), ("--csv",), ("--json",)])
def test_every_grouping_has_every_form(by: str, form: tuple[str, ...]) -> None:
    done = shown("--by", by, "--since", "2026-01-01", *form)

    assert (done.exit_code, len(done.stdout.splitlines()) > (form != ("--json",))) == (0, True)


def test_csv_and_json_exclude_each_other() -> None:
    assert shown("--csv", "--json").exit_code == 2


def test_options_of_usage_are_not_ignored_before_reconcile() -> None:
    done = shown("--by", "model", "reconcile", "file")

    assert (done.exit_code, "--by belongs after reconcile" in done.stderr) == (2, True)


@pytest.mark.parametrize("since", ["yesterday", "2026-13-01", "2026-13", "7", "-1d"])
def test_a_day_that_is_none_is_refused(since: str) -> None:
    assert shown("--since", since).exit_code == 2


def test_an_empty_log_prints_no_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIPELINE_STATE", str(tmp_path / "empty"))
    done = shown()

    assert (done.stdout, done.exit_code) == ("", 0)
    assert "nothing yet" in done.stderr
