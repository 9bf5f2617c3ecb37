from __future__ import annotations

import io
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.events import AttemptEnded
from pipeline.observers.progress import (
    Lines,
    Pace,
    Trouble,
    duration,
    money,
    progress_line,
    rate,
    seconds_left,
    share,
    short,
)
from pipeline.observers.snapshot import Snapshot
from tests.observers.snapshots import HALFWAY, START


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0, "0"),
        (7, "7"),
        (999, "999"),
        (999.6, "1k"),
        (1000, "1k"),
        (1234, "1.2k"),
        (12_345, "12.3k"),
        (99_960, "100k"),
        (999_499, "999k"),
        (999_600, "1M"),
        (1_234_567, "1.2M"),
        (2_500_000_000, "2.5G"),
    ],
)
def test_a_big_number_is_shortened(number: float, text: str) -> None:
    assert short(number) == text


@given(st.floats(0, 9.9e11))
def test_a_shortened_number_is_short_and_within_five_percent(number: float) -> None:
    text = short(number)
    factor = {"k": 1e3, "M": 1e6, "G": 1e9}.get(text[-1], 1)

    assert len(text) <= 5
    assert float(text.rstrip("kMG")) * factor == pytest.approx(number, rel=0.05, abs=0.5)


@pytest.mark.parametrize(
    ("nusd", "text"),
    [
        (0, "$0"),
        (1, "$0.0000000010"),
        (20_000, "$0.000020"),
        (99_999, "$0.000100"),
        (12_300_000, "$0.0123"),
        (12_345_678, "$0.0123"),
        (999_990_000, "$1.0000"),
        (1_000_000_000, "$1.00"),
        (5_000_000_000, "$5.00"),
        (1_234_567_890_000, "$1,234.57"),
    ],
)
def test_money_shows_as_many_decimals_as_it_needs(nusd: int, text: str) -> None:
    assert money(nusd) == text


@given(st.integers(1, 10**15))
def test_money_that_was_spent_never_reads_as_nothing(nusd: int) -> None:
    assert re.search("[1-9]", money(nusd))


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0.0s"),
        (0.44, "0.4s"),
        (9.96, "10s"),
        (42.4, "42s"),
        (59.7, "1m00s"),
        (125, "2m05s"),
        (3599.6, "1h00m"),
        (3723, "1h02m"),
        (86_399, "23h59m"),
        (273_600, "3d04h"),
    ],
)
def test_a_duration_shows_its_two_largest_units(seconds: float, text: str) -> None:
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ("per_second", "text"),
    [(0, "0/min"), (0.05, "3/min"), (0.5, "30/min"), (1, "1.0/s"), (25, "25/s"), (4321, "4.3k/s")],
)
def test_a_slow_rate_is_shown_by_the_minute(per_second: float, text: str) -> None:
    assert rate(per_second) == text


def test_the_rate_is_that_of_the_last_minute() -> None:
    pace = Pace()
    for second in range(101):
        pace.see(START._replace(elapsed=float(second), this_run_ok=10 * second))
    for second in range(101, 160):
        paused = pace.see(START._replace(elapsed=float(second), this_run_ok=1000))

    assert paused == pytest.approx(10 / 60)
    assert pace.see(START._replace(elapsed=161.0, this_run_ok=1000)) == 0


def test_the_rate_counts_what_this_run_did_and_not_what_was_done_before() -> None:
    assert Pace().see(HALFWAY) == 25


def test_the_time_left_is_that_of_the_records_left() -> None:
    assert seconds_left(HALFWAY, 25) == 20


def test_the_time_left_follows_from_the_share_where_nobody_counted_the_records() -> None:
    assert seconds_left(HALFWAY._replace(total=None, fraction=0.25), 25) == 60


@pytest.mark.parametrize("snapshot", [START, HALFWAY._replace(total=None)])
def test_no_time_is_promised_where_it_cannot_be_known(snapshot: Snapshot) -> None:
    assert seconds_left(snapshot, 25) is None


def test_a_share_never_exceeds_the_whole() -> None:
    assert share(HALFWAY._replace(total=400)) == 1


def test_a_line_says_everything_that_is_known() -> None:
    assert progress_line(HALFWAY, 25) == (
        "50.0% · 500/1,000 records · 25/s · 20s left · 495 ok · 5 failed · 8 in flight · 3 throttled · "
        "290 of 300 req/min · 912k of 1M tok/min · $0.0123 of $5.00"
    )


def test_a_line_says_nothing_of_what_is_not_known() -> None:
    piped = START._replace(total=None, ok=12, this_run_ok=12)

    assert (
        progress_line(piped, 0.5) == "12 records · 30/min · 12 ok · 0 failed · 0 in flight · 0 req/min · 0 tok/min · $0"
    )


def test_a_line_says_why_it_is_paused() -> None:
    assert progress_line(HALFWAY._replace(paused="paused by the endpoint"), 25).endswith(" · paused by the endpoint")


def test_money_whose_fate_is_unknown_is_shown_apart() -> None:
    line = progress_line(HALFWAY._replace(unknown_nusd=40_000_000, cap_nusd=None), 25)

    assert line.endswith("$0.0123 (+ at most $0.0400 unknown)")


def test_what_it_will_have_cost_is_said_while_it_runs() -> None:
    spent = HALFWAY._replace(spent_nusd=1_230_000_000, projected_nusd=4_100_000_000)

    assert progress_line(spent, 25).endswith(" · $1.23 of $5.00, about $4.10 in the end")
    assert progress_line(spent._replace(ok=995), 25).endswith(" · $1.23 of $5.00")
    assert progress_line(spent._replace(projected_nusd=None), 25).endswith(" · $1.23 of $5.00")


def test_all_but_one_record_is_not_all() -> None:
    assert progress_line(START._replace(total=10_000, ok=9999), 1).startswith("99.9% ")


def test_the_end_promises_no_time_left() -> None:
    assert "left" not in progress_line(HALFWAY._replace(state="interrupted"), 25)


def test_lines_are_written_one_a_snapshot() -> None:
    stream = io.StringIO()
    lines = Lines(stream)
    lines.show(START)
    lines.say("warning: slow")
    lines.show(HALFWAY)
    lines.close()

    assert stream.getvalue().splitlines() == [progress_line(START, 0), "warning: slow", progress_line(HALFWAY, 25)]


FAILED = AttemptEnded(0.1, 1, 0, 0, "Unreachable", "unreachable", None)
ANSWERED = AttemptEnded(0.1, 1, 5, 0, None, None, 200)


def after(*events: AttemptEnded) -> str | None:
    trouble = Trouble()
    for event in events:
        trouble.see(event)
    return trouble.noted(START).paused


def test_failures_in_a_row_are_named_as_the_reason_why_nothing_moves() -> None:
    assert after(FAILED, FAILED, FAILED) == "3 attempts in a row failed: unreachable"


def test_failures_between_answers_are_no_trouble() -> None:
    assert after(FAILED, FAILED, ANSWERED, FAILED) is None


def test_a_pause_is_a_better_reason_than_failures() -> None:
    trouble = Trouble()
    for event in (FAILED, FAILED, FAILED):
        trouble.see(event)

    assert trouble.noted(START._replace(paused="paused by the endpoint")).paused == "paused by the endpoint"


def test_a_rate_that_was_given_back_is_not_below_zero() -> None:
    assert " 0 tok/min" in progress_line(START._replace(tokens_per_minute=-0.4), 0)
