"""Rows 60 to 70: what the endpoint refuses, and what becomes of the run, the record and the money.

Runs are the library's in this process, against the judge in its own, but where the command itself is what is asked.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest

from pipeline.simulator import digest
from pipeline.simulator.refusals import QUOTA_CODES
from pipeline.types import Json
from tests.acceptance.command import Ended, read_lines, write_records
from tests.faults.case import Case, case
from tests.faults.here import finish_here, run_here
from tests.judge import Judge

Start = Callable[..., Judge]
ALONE: dict[str, Json] = {"limits": {"concurrency": 1}, "retry": {"base": 0.01}}
"""One request after the other, in the order of the script."""


def with_texts(case: Case, texts: Sequence[str]) -> Case:
    write_records(case.home / "in.jsonl", [{"text": text} for text in texts])
    return replace(case, texts=texts)


def dead(case: Case) -> dict[int, str]:
    """The code of each dead letter, by line."""
    return {letter["line"]: letter["code"] for letter in read_lines(case.home / "out.jsonl.errors.jsonl")}


def money(ended: Ended) -> tuple[int, int, int]:
    spent = ended.summary["money"]
    return spent["spent_nusd"], spent["unknown_nusd"], spent["reserved_nusd"]


@pytest.mark.row(60, 61)
def test_by_the_servers_own_clock_nothing_comes_before_it_may(judge: Start, tmp_path: Path) -> None:
    """The table of all forms, and the long ones, are in test_outages.py."""
    hints = {"rate_limited_seconds": 1.0, "rate_limited_float": 0.25, "reset_go": 1.02}
    struck = case(judge, tmp_path, "--script", ",ok,".join(hints), **ALONE)
    ended = finish_here(struck)
    entries = struck.judge.entries()
    gaps = [(hints[entry.fault], after.time - entry.time) for entry, after in pairwise(entries) if entry.fault in hints]

    assert [hint for hint, _ in gaps] == list(hints.values())
    assert all(gap >= hint - 0.01 for hint, gap in gaps)
    assert (ended.code, struck.sent, ended.summary["requests"]["throttled"]) == (0, 12 + 3, 3)
    assert money(ended) == (struck.judge.billed(), 0, 0)


@pytest.mark.row(60, 61)
@pytest.mark.parametrize("fault", ["rate_limited_huge", "reset_go_long"])
def test_a_wait_beyond_the_limit_is_7_and_can_be_resumed(judge: Start, tmp_path: Path, fault: str) -> None:
    struck = case(judge, tmp_path, "--script", fault)
    ended = run_here(struck)

    assert (ended.code, struck.sent, ended.summary["records"]["failed"]) == (7, 1, 0)
    assert "until " in ended.summary["message"]
    assert money(ended) == (0, 0, 0)
    assert finish_here(struck).code == 0


@pytest.mark.row(63)
def test_every_code_of_an_exhausted_quota_is_6_at_once(judge: Start, tmp_path: Path) -> None:
    """The same job, again and again: each run is stopped by the next code, and at last one finishes."""
    struck = case(judge, tmp_path, "--script", ",".join([*QUOTA_CODES, "payment_required"]))
    for number, code in enumerate((*QUOTA_CODES, "insufficient_quota"), 1):
        ended = run_here(struck)
        assert (ended.code, struck.sent, ended.summary["records"]["failed"]) == (6, number, 0), code
        assert code in ended.summary["message"]
        assert "run again" in ended.summary["message"], "what to do"
        assert money(ended) == (0, 0, 0)

    assert finish_here(struck).code == 0


@pytest.mark.row(63, 64)
@pytest.mark.parametrize("fault", ["insufficient_quota", "invalid_api_key", "permission_denied"])
def test_what_a_person_must_mend_stops_the_command_midway_and_no_record_fails(
    judge: Start, tmp_path: Path, fault: str
) -> None:
    script = ",".join(["ok"] * 4 + [fault] * 5)
    refusing = case(judge, tmp_path, "--latency", "0.05", "--script", script)
    ended = refusing.run()
    refused = [entry for entry in refusing.judge.entries() if entry.status != 200]

    assert (ended.code, ended.summary["records"]["ok"], ended.summary["records"]["failed"]) == (6, 20, 0)
    assert 1 <= len(refused) <= 4, "no more than was in flight"
    assert money(ended) == (refusing.judge.billed(), 0, 0)
    while refusing.sent < 9:
        assert run_here(refusing).code == 6
    assert finish_here(refusing).code == 0


@pytest.mark.row(65)
def test_an_unknown_model_is_6_at_first_and_the_records_fault_once_it_has_answered(
    judge: Start, tmp_path: Path
) -> None:
    struck = case(judge, tmp_path, "--script", "model_not_found,ok,model_not_found", **ALONE)
    first = run_here(struck)
    sent = struck.sent
    second = finish_here(struck)

    assert (first.code, sent, first.summary["records"]["failed"]) == (6, 1, 0)
    assert second.code == 3
    assert struck.sent == 1 + 12, "it is not asked again, neither whole nor in parts"
    assert set(dead(struck).values()) == {"model_not_found"}
    assert len(dead(struck)) == 5


@pytest.mark.row(66)
def test_a_server_that_fails_a_third_of_all_requests_serves_all(judge: Start, tmp_path: Path) -> None:
    """Independent failures: six attempts would lose a record in a thousand requests, so twenty are allowed."""
    names = ("server_error", "unavailable", "proxy_520", "proxy_521", "proxy_522", "proxy_523", "overloaded_529")
    shares = [word for name in names for word in ("--fault", f"{name}=0.045")]
    struck = case(judge, tmp_path, *shares, records=400, retry={"attempts": 20, "base": 0.01})
    ended = finish_here(struck)

    assert ended.code == 0
    assert struck.answered == struck.texts
    assert struck.sent <= 2 * 80
    assert money(ended) == (struck.judge.billed(), 0, 0)


@pytest.mark.row(66)
def test_a_gateway_that_gave_up_is_charged_as_unknown(judge: Start, tmp_path: Path) -> None:
    script = "ok,bad_gateway,ok,ok,ok,gateway_timeout,ok,ok,ok,proxy_524"
    struck = case(judge, tmp_path, "--script", script, **ALONE)
    ended = finish_here(struck)

    assert (ended.code, struck.sent) == (0, 12 + 3)
    assert struck.answered == struck.texts
    assert money(ended)[0] < struck.judge.billed() <= money(ended)[0] + money(ended)[1]


@pytest.mark.row(67)
def test_an_overloaded_endpoint_costs_no_attempt_and_no_money(judge: Start, tmp_path: Path) -> None:
    """With one attempt for each request; how the rate comes back is in test_outages.py."""
    script = "ok,slow_down,ok,slow_down_503,ok,overloaded_503,ok,overloaded_529"
    struck = case(judge, tmp_path, "--script", script, limits={"concurrency": 1}, retry={"attempts": 1})
    ended = finish_here(struck)

    assert (ended.code, struck.sent, ended.summary["requests"]["throttled"]) == (0, 12 + 4, 4)
    assert struck.answered == struck.texts
    assert money(ended) == (struck.judge.billed(), 0, 0)


MARKERS = [
    pytest.param("POISON", "http_400", marks=pytest.mark.row(68)),
    pytest.param("TOOLONG", "context_length_exceeded", marks=pytest.mark.row(69)),
    pytest.param("FORBIDDEN", "content_filter", marks=pytest.mark.row(70)),
]


@pytest.mark.parametrize(("marker", "code"), MARKERS)
def test_one_bad_record_of_twenty_is_found_by_halving_and_never_sent_again(
    judge: Start, tmp_path: Path, marker: str, code: str
) -> None:
    whole = case(judge, tmp_path, records=20, batch={"max_items": 20})
    struck = with_texts(whole, [f"{marker} 13" if number == 13 else f"text {number}" for number in range(1, 21)])
    ended = finish_here(struck)
    bad = digest(f"{marker} 13")
    asked = [tuple(entry.inputs) for entry in struck.judge.entries() if bad in entry.inputs]

    assert ended.code == 3
    assert set(dead(struck)) == {13}
    assert dead(struck)[13] in (code, "invalid_request_error")
    assert len(struck.answered) == 19
    assert struck.sent <= 1 + 10
    assert len(set(asked)) == len(asked), "no request is sent unchanged"
    assert asked[-1] == (bad,)
    assert money(ended) == (struck.judge.billed(), 0, 0)
