from __future__ import annotations

from typing import Any

import pytest

from pipeline.observers.look import Seen
from pipeline.report.state import next_commands, standing
from tests.cli.summaries import summary

COMMANDS = {name: f"pipeline {name} c.yaml" for name in ("run", "retry", "status", "check")}
HALF = {"total": 500, "ok": 200, "failed": 0, "remaining": 300}
NOW = {"fraction": 0.4, "seconds_left": 75.0}


def seen(holder: str | None = None, **changes: Any) -> Seen:
    return Seen({**summary(), **changes}, holder)


@pytest.mark.parametrize(
    ("run", "title", "tone", "said"),
    [
        (seen(), "Complete", "good", "All 500 records have a result."),
        (
            seen(records={"total": 500, "ok": 494, "failed": 6, "remaining": 0}, exit_code=3),
            "Finished with failures",
            "warn",
            "494 of 500 records have a result, 6 failed for good.",
        ),
        (
            seen("pid 7", state="running", exit_code=None, records=HALF, now=NOW),
            "Running",
            "busy",
            "200 of 500 records are settled, about 1m15s left.",
        ),
        (
            seen("pid 7", state="running", exit_code=None, records={**HALF, "total": None, "remaining": None}, now=NOW),
            "Running",
            "busy",
            "200 records are settled, 40% of the input, about 1m15s left.",
        ),
        (
            seen(state="running", exit_code=None, records=HALF),
            "Killed",
            "bad",
            "The process is gone without a last word; 200 of 500 records have a result.",
        ),
        (
            seen(state="interrupted", exit_code=130, records=HALF),
            "Interrupted",
            "warn",
            "It was asked to stop; 200 of 500 records have a result. What was in flight is committed.",
        ),
        (
            seen(state="stopped", exit_code=5, message="in.jsonl was changed", records=HALF),
            "Refused: state and files disagree",
            "bad",
            "In.jsonl was changed. So far 200 of 500 records have a result.",
        ),
        (
            seen(state="stopped", exit_code=4, message="the deadline has come", records=HALF),
            "Stopped by its budget or deadline",
            "warn",
            "The deadline has come. So far 200 of 500 records have a result.",
        ),
    ],
)
def test_every_state_is_a_title_and_a_sentence(run: Seen, title: str, tone: str, said: str) -> None:
    assert standing(run) == (tone, title, said)


@pytest.mark.parametrize("code", [1, 2, 4, 5, 6, 7, 74, 75, 99])
def test_a_run_that_stopped_says_why_and_how_to_go_on(code: int) -> None:
    run = seen(state="stopped", exit_code=code, message="because", records=HALF)

    assert "Because." in standing(run).sentence
    assert [command.line for command in next_commands(run, COMMANDS)] == ["pipeline run c.yaml"]


@pytest.mark.parametrize(
    ("run", "names"),
    [
        (seen(), ["check", "run"]),
        (seen(records={"total": 500, "ok": 494, "failed": 6, "remaining": 0}), ["retry", "check", "run"]),
        (seen("pid 7", state="running", exit_code=None), ["status"]),
        (seen(state="running", exit_code=None), ["run"]),
        (seen(state="interrupted", exit_code=143), ["run"]),
    ],
)
def test_what_to_type_next_follows_from_the_state(run: Seen, names: list[str]) -> None:
    assert [command.line for command in next_commands(run, COMMANDS)] == [COMMANDS[name] for name in names]
