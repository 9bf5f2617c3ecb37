from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.cli.summary import summary_block, summary_line, was_refused
from pipeline.observers.outcome import nothing_to_do
from pipeline.observers.summary import Money, Part, Records, Requests, Tokens
from tests.cli.summaries import COMMANDS, summary

STOPPED = Part(
    Records(1000, 480, 20, 500),
    Requests(30, 25, 3, 2),
    Tokens(2_000_000, 120, 5000, 300),
    Money(4_900_000_000, 40_000_000, 0, 10_000_000, 5_000_000_000, "list"),
)
HERE = Part(Records(1000, 80, 0, 500), Requests(4, 4, 0, 0), Tokens(), Money())


def test_a_run_that_went_well_is_a_short_block() -> None:
    assert summary_block(summary(), COMMANDS).splitlines() == [
        "pipeline: complete: 500 of 500 records have a result",
        "  records   500 ok, 0 failed",
        "  requests  25 sent",
        "  tokens    12.3k in",
        "  cost      $0.0012",
        "  time      12s, 40/s",
        "  output    out/t.jsonl",
    ]


def test_a_run_that_was_stopped_says_why_and_what_next(tmp_path: Path) -> None:
    output = tmp_path / "t.jsonl"
    output.with_name("t.jsonl.partial").touch()
    stopped = summary(
        state="stopped",
        exit_code=4,
        message="the next request does not fit into the budget",
        whole=STOPPED,
        this_run=HERE,
        output=str(output),
        codes={"too_long": 15, "timeout": 5},
    )

    assert summary_block(stopped, COMMANDS).splitlines() == [
        "pipeline: stopped: the next request does not fit into the budget",
        "  records   480 ok, 20 failed, 500 remaining of 1,000 (420 settled in earlier runs)",
        "  requests  30 sent, 3 retried, 2 throttled (429)",
        "  tokens    2M in (120 cached), 5k out (300 reasoning)",
        "  cost      $4.90 of a budget of $5.00, $0.0100 of it on retries, at most $0.0400 more for lost answers",
        "  time      12s, 6.4/s",
        f"  output    {output}.partial so far",
        "  failed    out/t.jsonl.errors.jsonl (too_long: 15, timeout: 5)",
        "  next      pipeline run c.yaml   (with a larger budget or deadline)",
    ]


def test_dead_letters_ask_for_a_retry() -> None:
    part = Part(Records(500, 495, 5, 0))
    block = summary_block(summary(exit_code=3, whole=part, this_run=part, codes={"timeout": 5}), COMMANDS)

    assert block.startswith("pipeline: finished: 495 of 500 records have a result, 5 failed\n")
    assert block.endswith("  next      pipeline retry c.yaml")


def test_only_the_commonest_codes_are_named() -> None:
    part = Part(Records(500, 479, 21, 0))
    block = summary_block(summary(whole=part, codes={f"code{n}": n for n in range(1, 7)}), COMMANDS)

    assert "(code6: 6, code5: 5, code4: 4, code3: 3, others: 3)" in block


def test_one_line_holds_the_same() -> None:
    line = summary_line(summary(), COMMANDS)

    assert line == (
        "pipeline: complete: 500 of 500 records have a result; records: 500 ok, 0 failed; requests: 25 sent; "
        "tokens: 12.3k in; cost: $0.0012; time: 12s, 40/s; output: out/t.jsonl"
    )


@pytest.mark.parametrize("form", [summary_block, summary_line])
def test_a_message_from_a_server_cannot_forge_lines(form: Callable[..., str]) -> None:
    forged = summary(state="stopped", exit_code=6, message="refused\npipeline: complete\x1b[2J")

    assert "\npipeline" not in form(forged, COMMANDS)
    assert "\x1b" not in form(forged, COMMANDS)


def test_a_second_run_of_something_complete_had_nothing_to_do() -> None:
    again = summary(this_run=Part(Records(500, 0, 0, 0)))

    assert nothing_to_do(again)
    assert (
        summary_line(again, COMMANDS)
        == "pipeline: already complete: 500 of 500 records have a result; output: out/t.jsonl"
    )


@pytest.mark.parametrize(("code", "refused"), [(0, False), (2, True), (4, False), (5, True), (6, False), (75, True)])
def test_a_run_that_sent_nothing_is_not_summed_up(code: int, refused: bool) -> None:
    assert was_refused(summary(exit_code=code)) is refused


SLOW = {"bound_by": "tokens", "why": "bound by tokens a minute: shorten prompts"}
SHORT = {"bound_by": None, "why": "too short to say what bound it"}


@pytest.mark.parametrize(
    ("state", "pace", "said"),
    [
        ("complete", SLOW, "bound by tokens a minute: shorten prompts"),
        ("interrupted", SLOW, "bound by tokens a minute: shorten prompts"),
        ("complete", SHORT, "too short to say what bound it"),
        ("interrupted", SHORT, None),
        ("running", SLOW, None),
        ("complete", None, None),
    ],
)
def test_the_end_says_what_bound_the_run(state: str, pace: dict[str, object] | None, said: str | None) -> None:
    rows = summary_block(summary(state=state, pace=pace), COMMANDS).splitlines()

    assert [row for row in rows if row.startswith("  pace")] == ([] if said is None else [f"  pace      {said}"])


def test_a_summary_of_an_older_version_has_no_pace() -> None:
    older = {key: value for key, value in summary().items() if key != "pace"}

    assert summary_block(older, COMMANDS) == summary_block(summary(), COMMANDS)


def test_a_price_that_an_earlier_run_knew_still_counts() -> None:
    part = Part(Records(500, 500, 0, 0), Requests(25, 25), Tokens(100), Money(spent_nusd=20_000_000))

    assert "cost      $0.0200" in summary_block(summary(whole=part), COMMANDS)


def test_an_unknown_price_is_not_shown_as_nothing() -> None:
    part = Part(Records(500, 500, 0, 0), Requests(25, 25), Tokens(100), Money())

    assert "cost      unknown: no price is known for this model" in summary_block(summary(whole=part), COMMANDS)
