from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from pipeline.cli.usage import usage
from pipeline.storage.usage import UsageLog, UsageRow

TODAY = datetime.now(UTC).date()


def row(day: str, model: str, cost: int | None, kind: str = "ok") -> UsageRow:
    return UsageRow(1, day, model, "openai", "embeddings", "tickets", kind, 2, 1000, 0, 0, 0, 0, cost, "list")  # type: ignore[arg-type]


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
        ["large", "4", "2,000", "0", "0", "$0.0200", "$0.0200", "$0.0050", "0"],
        ["small", "4", "2,000", "0", "0", "$1.00", "$0", "$0", "2"],
        ["total", "8", "4,000", "0", "0", "$1.02", "$0.0200", "$0.0050", "2"],
    ]


@pytest.mark.parametrize("since", ["1d", (TODAY - timedelta(days=1)).isoformat()])
def test_since_leaves_out_what_came_before(since: str) -> None:
    assert [each[0] for each in cells(shown("--since", since).stdout)] == [TODAY.isoformat()]


def test_json_is_one_object_with_the_same_numbers() -> None:
    shape = json.loads(shown("--by", "model", "--json").stdout)

    assert (shape["schema_version"], shape["by"], shape["since"]) == (1, "model", None)
    assert [each["retried_nusd"] for each in shape["rows"]] == [20_000_000, 0]


@pytest.mark.parametrize("since", ["yesterday", "2026-13-01", "7", "-1d"])
def test_a_day_that_is_none_is_refused(since: str) -> None:
    assert shown("--since", since).exit_code == 2


def test_an_empty_log_prints_no_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIPELINE_STATE", str(tmp_path / "empty"))
    done = shown()

    assert (done.stdout, done.exit_code) == ("", 0)
    assert "nothing yet" in done.stderr
