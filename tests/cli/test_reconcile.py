from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from pipeline.cli.usage import usage
from pipeline.errors import UsageError
from pipeline.storage.usage import Kind, UsageLog, UsageRow
from tests.cli.command import run

ALL = "In all, $0.0100 was recorded and $0.0100 billed."
START = 1_795_132_800  # 2026-11-20 00:00 UTC


def row(day: str, model: str, kind: Kind, cost: int, endpoint: str = "openai", requests: int = 2) -> UsageRow:
    tokens = (0, 0, 0, 0, 0) if kind == "unknown" else (1000, 200, 0, 60, 20)
    return UsageRow(1, day, model, endpoint, "chat", "tickets", kind, requests, *tokens, cost, "list")


@pytest.fixture(autouse=True)
def _log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIPELINE_STATE", str(tmp_path / "state"))
    rows = [
        row("2026-11-19", "luna", "ok", 77),
        row("2026-11-20", "luna-2026-01-31", "ok", 3_000_000_000),
        row("2026-11-20", "luna-2026-01-31", "retried", 1_000_000_000),
        row("2026-11-20", "luna", "unknown", 500_000_000, requests=1),
        row("2026-11-20", "sol", "ok", 20_000_000),
        row("2026-11-21", "sol", "ok", 10_000_000),
        row("2026-11-20", "llama", "ok", 0, "local"),
    ]
    UsageLog(tmp_path / "state" / "usage.db").sync("ledger", rows, now=0)


def export(folder: Path, *rows: str, head: str = "date,model,requests,cost") -> str:
    path = folder / "export.csv"
    path.write_text("\n".join([head, *rows, ""]))
    return str(path)


def shown(*arguments: str) -> Result:
    return CliRunner().invoke(usage, ["reconcile", *arguments], standalone_mode=False)


AS_BILLED = (
    "2026-11-20,luna-2026-01-31,4,4.00",
    "2026-11-20,luna-2026-01-31,1,0.50",
    "2026-11-20,sol,2,0.02",
    "2026-11-21,sol,2,0.01",
)


def test_what_agrees_is_one_line_and_exit_code_0(tmp_path: Path) -> None:
    done = shown(export(tmp_path, *AS_BILLED), "--endpoint", "openai", "--tolerance", "0")

    assert done.return_value == 0
    assert done.stdout == (
        "2026-11-20 to 2026-11-21: 3 of 3 days and models agree. In all, $4.53 was recorded and $4.53 billed."
        " Of at most $0.5000 unknown, $0 was not billed.\n"
    )


def test_an_unknown_that_was_not_billed_explains_the_difference(tmp_path: Path) -> None:
    file = export(tmp_path, "2026-11-20,luna,4,4.10", *AS_BILLED[2:])
    done = shown(file, "--endpoint", "openai")

    assert done.return_value == 0
    *differences, last = done.stdout.splitlines()[1:]
    assert [line.split() for line in differences] == [
        ["2026-11-20", "luna", "less", "billed", "cost", "$4.50", "$4.10", "-$0.4000", "$0.4000"],
        ["2026-11-20", "luna", "less", "billed", "requests", "5", "4", "-1", "1"],
    ]
    assert last == (
        "2026-11-20 to 2026-11-21: 2 of 3 days and models agree. In all, $4.53 was recorded and $4.13 billed."
        " Of at most $0.5000 unknown, $0.4000 was not billed."
    )


def test_json_names_each_difference_exactly(tmp_path: Path) -> None:
    file = export(tmp_path, *AS_BILLED[:2], "2026-11-20,sol,2,0.030000001", "2026-11-21,terra,9,1")
    done = shown(file, "--json")
    shape = json.loads(done.stdout)
    differences = {(each["day"], each["model"]): each for each in shape["differences"]}

    assert done.return_value == 3
    assert (shape["since"], shape["until"], shape["compared"], shape["more_billed"]) == (
        "2026-11-20",
        "2026-11-21",
        5,
        True,
    )
    assert {key: each["verdict"] for key, each in differences.items()} == {
        ("2026-11-20", "llama"): "log_only",
        ("2026-11-20", "sol"): "more",
        ("2026-11-21", "sol"): "log_only",
        ("2026-11-21", "terra"): "export_only",
    }
    assert differences["2026-11-20", "sol"]["cost_nusd"] == {
        "known": 20_000_000,
        "most": 20_000_000,
        "billed": 30_000_001,
        "difference": 10_000_001,
        "explained_by_unknown": 0,
    }


def test_tokens_and_costs_of_the_api_are_one_export(tmp_path: Path) -> None:
    tokens = {"model": "sol", "input_tokens": 1000, "output_tokens": 60, "num_model_requests": 2}
    costs = [{"amount": {"value": value, "currency": "usd"}, "line_item": f"sol, {kind}"} for value, kind in
             ((0.0075, "input"), (0.0025, "output"))]  # fmt: skip
    files = []
    for name, results in (("usage.json", [tokens]), ("costs.json", costs)):
        bucket = {"start_time": START + 86_400, "end_time": START + 2 * 86_400, "results": results}
        (tmp_path / name).write_text(json.dumps({"data": [bucket], "has_more": name == "usage.json"}))
        files.append(str(tmp_path / name))
    done = shown(*files, "--tolerance", "0")

    assert (done.return_value, done.stdout) == (0, f"2026-11-21 to 2026-11-21: 1 of 1 days and models agree. {ALL}\n")
    assert "more pages" in done.stderr


def test_days_outside_since_and_until_are_not_compared(tmp_path: Path) -> None:
    file = export(tmp_path, *AS_BILLED, "2026-11-22,terra,1,9")
    done = shown(file, "--since", "2026-11-21", "--until", "2026-11-21")

    assert (done.return_value, done.stdout) == (0, f"2026-11-21 to 2026-11-21: 1 of 1 days and models agree. {ALL}\n")


def test_a_request_without_a_price_is_said_and_not_compared(tmp_path: Path) -> None:
    UsageLog(tmp_path / "state" / "usage.db").sync(
        "other", [row("2026-11-21", "sol", "ok", 0)._replace(cost_nusd=None)], now=0
    )
    done = shown(export(tmp_path, "2026-11-21,sol,4,9"))

    assert done.return_value == 0
    assert "2 requests have no known price: their cost was not compared." in done.stdout


def test_credits_are_shown_with_their_sign(tmp_path: Path) -> None:
    done = shown(export(tmp_path, "2026-11-21,sol,2,-1.5"))

    assert done.stdout.splitlines()[1].split() == [
        "2026-11-21", "sol", "less", "billed", "cost", "$0.0100", "-$1.50", "-$1.51", "$0"
    ]  # fmt: skip


def test_an_endpoint_that_the_log_does_not_know_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no endpoint 'opnai', only local, openai"):
        CliRunner().invoke(
            usage,
            ["reconcile", export(tmp_path, *AS_BILLED), "--endpoint", "opnai"],
            standalone_mode=False,
            catch_exceptions=False,
        )


@pytest.mark.parametrize("share", ["1", "-1%", "one", "1e3%"])
def test_a_tolerance_that_is_no_share_is_refused(tmp_path: Path, share: str) -> None:
    done = CliRunner().invoke(usage, ["reconcile", export(tmp_path, *AS_BILLED), "--tolerance", share])

    assert done.exit_code == 2


def test_the_command_exits_with_3_where_more_was_billed_and_2_where_a_file_is_refused(tmp_path: Path) -> None:
    more = run("usage", "reconcile", export(tmp_path, "2026-11-20,luna,5,4.60"), "--endpoint", "openai", cwd=tmp_path)

    assert more.returncode == 3
    assert more.stdout.splitlines()[1].split() == [
        "2026-11-20", "luna", "more", "billed", "cost", "$4.50", "$4.60", "+$0.1000", "$0"
    ]  # fmt: skip

    refused = run("usage", "reconcile", export(tmp_path, "2026-11-20,luna,x,1"), cwd=tmp_path)

    assert (refused.returncode, refused.stdout) == (2, "")
    assert "export.csv:2: 'x' is no number" in refused.stderr
