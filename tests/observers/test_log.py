from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Literal

import pytest

from pipeline.events import AttemptEnded, AttemptSent, Event, Notice, Paused, RecordsSettled
from pipeline.observers.log import Level, Log, printable, progress_json
from tests.observers.snapshots import HALFWAY

NOON = datetime(2026, 11, 21, 12, 0, 0, 500_000, UTC)
ANSWERED = AttemptEnded(0.25, 20, 100, 0, None, None, 200)
TIMED_OUT = AttemptEnded(600.0004, 20, 0, 0, "Ambiguous", "timeout", None)
PAUSED = Paused(5.0, "rate_limit_exceeded")
WARNING = Notice("warning", "the price of m is not known")
ALL: list[Event] = [ANSWERED, TIMED_OUT, PAUSED, WARNING, AttemptSent(0.0), RecordsSettled(20, 0)]


def logged(events: list[Event], least: Level = "trace", style: Literal["text", "json"] = "text") -> list[str]:
    lines: list[str] = []
    log = Log(lines.append, lambda: NOON, least=least, style=style, stamped=style == "json")
    for event in events:
        log.see(event)
    return lines


def test_each_event_worth_a_line_is_one() -> None:
    assert logged(ALL) == [
        "answered: seconds=0.25 records=20",
        "attempt failed: error=Ambiguous code=timeout seconds=600.0 records=20",
        "paused: for=5.0s reason=rate_limit_exceeded",
        "warning: the price of m is not known",
    ]


@pytest.mark.parametrize(("least", "lines"), [("trace", 4), ("debug", 3), ("info", 1), ("error", 0)])
def test_lower_levels_are_left_out(least: Level, lines: int) -> None:
    assert len(logged(ALL, least)) == lines


def test_json_lines_are_objects_with_a_time() -> None:
    assert [json.loads(line) for line in logged([PAUSED, WARNING], style="json")] == [
        {
            "time": "2026-11-21T12:00:00.500Z",
            "level": "debug",
            "event": "paused",
            "for": "5.0s",
            "reason": "rate_limit_exceeded",
        },
        {
            "time": "2026-11-21T12:00:00.500Z",
            "level": "warning",
            "event": "notice",
            "message": "the price of m is not known",
        },
    ]


def test_text_lines_begin_with_the_time_where_that_is_wanted() -> None:
    lines: list[str] = []
    Log(lines.append, lambda: NOON).see(WARNING)

    assert lines == ["2026-11-21T12:00:00Z warning: the price of m is not known"]


@pytest.mark.parametrize("style", ["text", "json"])
def test_a_forged_message_stays_one_line_and_moves_no_cursor(style: Literal["text", "json"]) -> None:
    forged = Notice("warning", "first\nerror: forged\r\x1b[2J\u202e\u2028\x85")

    [line] = logged([forged], style=style)

    assert line.isprintable()


@pytest.mark.parametrize("style", ["text", "json"])
def test_a_key_in_a_message_is_masked(style: Literal["text", "json"]) -> None:
    [line] = logged([Notice("error", "refused: sk-canary0123456789")], style=style)

    assert "canary" not in line


def test_a_message_of_any_length_makes_a_line_of_a_bounded_one() -> None:
    [line] = logged([Notice("error", "x" * 100_000)])

    assert len(line) < 1100


def test_letters_of_any_script_stay_readable() -> None:
    assert printable("Straße 東京 🙂") == "Straße 東京 🙂"


def test_progress_is_an_object_with_every_number() -> None:
    shown = json.loads(progress_json(NOON, HALFWAY, 25.00001))

    assert (shown["event"], shown["ok"], shown["spent_nusd"], shown["records_per_second"]) == (
        "progress",
        495,
        12_300_000,
        25.0,
    )
