"""Rows 47 to 52, 54, 55, 58 and 80: answers that come broken, slowly, twice or never to the real command."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.earlier import Earlier, Where
from pipeline.types import Json
from tests.acceptance.command import Ended, read_lines, write_endpoint
from tests.faults.case import Case, case, case_at, end, wait_until
from tests.faults.here import finish_here
from tests.faults.oracle import check_all
from tests.faults.raw_server import Behaviour, RawServer, answer_too_late, answer_twice, serve
from tests.judge import Judge

Start = Callable[..., Judge]
ONE_BATCH: dict[str, Json] = {"records": 20, "batch": {"max_items": 20}, "retry": {"base": 0.01}}


def unknown(ended: Ended) -> int:
    """Nano-USD that may have been billed."""
    found: int = ended.summary["money"]["unknown_nusd"]
    return found


def lines(case: Case) -> range:
    return range(1, len(case.texts) + 1)


AMBIGUOUS = {
    "reset_before_response": 47,
    "close_before_response": 47,
    "reset_mid_body": 48,
    "length_too_long": 49,
    "length_too_short": 49,
    "no_length": 50,
    "big_header": 54,
    "bad_chunk": 55,
    "cut_chunk": 55,
    "bad_status_line": 55,
    "no_status_line": 55,
}


@pytest.mark.parametrize("fault", [pytest.param(f, marks=pytest.mark.row(row)) for f, row in AMBIGUOUS.items()])
def test_what_was_sent_and_not_answered_is_charged_as_unknown_and_sent_twice_at_most(
    judge: Start, tmp_path: Path, fault: str
) -> None:
    struck = case(judge, tmp_path, "--script", f"{fault},{fault}", **ONE_BATCH)
    ended = finish_here(struck)
    sent, billed = struck.sent, struck.judge.billed()
    again = finish_here(struck, Earlier(retry=Where()))

    assert (ended.code, sent, ended.summary["codes"]) == (3, 2, {"ambiguous_limit": 20})
    assert ended.summary["money"]["spent_nusd"] == ended.summary["money"]["reserved_nusd"] == 0
    assert unknown(ended) >= billed > 0, "the server did the work and the answer was lost"
    assert (again.code, struck.sent) == (0, 3)
    assert struck.answered == struck.texts


@pytest.mark.row(47, 48)
def test_a_reset_costs_one_more_request_and_no_record(judge: Start, tmp_path: Path) -> None:
    script = "reset_before_response,ok,ok,reset_mid_body"
    struck = case(judge, tmp_path, "--script", script, records=80, limits={"concurrency": 1}, retry={"base": 0.01})
    ended = struck.finish()

    assert struck.sent == 16 + 2
    assert ended.summary["requests"]["retried"] == 2
    assert unknown(ended) > 0


@pytest.mark.row(51, 52)
@pytest.mark.parametrize("fault", ["drip", "hang"])
def test_the_deadline_ends_what_the_server_never_does(judge: Start, tmp_path: Path, fault: str) -> None:
    """With one slot: the others can only be answered because the slot and the reservation came back."""
    struck = case(
        judge, tmp_path, "--script", fault, timeout=1, limits={"concurrency": 1}, **{**ONE_BATCH, "records": 60}
    )
    ended = struck.finish()
    first, second, *_ = [entry.time for entry in struck.judge.entries()]

    assert struck.sent == 3 + 1
    assert 1.0 - 0.05 <= second - first <= 2.0, "the deadline, and at most a second more"
    assert ended.summary["requests"]["retried"] == 1
    assert ended.summary["money"]["reserved_nusd"] == 0
    assert unknown(ended) > 0


def peak(process: subprocess.Popen[bytes]) -> tuple[int, Ended]:
    """Wait for the end of a process, and return the most memory that it was seen to use, in MiB, and its end."""
    most = 0

    def ended() -> bool:
        nonlocal most
        status = Path(f"/proc/{process.pid}/status").read_text()
        most = max(most, *(int(line.split()[1]) >> 10 for line in status.splitlines() if line.startswith("VmHWM")), 0)
        return process.poll() is not None

    wait_until(ended, seconds=30)
    return most, end(process)


@pytest.mark.row(54)
@pytest.mark.parametrize("fault", ["endless_body", "gzip_bomb"])
def test_an_answer_without_end_costs_its_record_and_no_memory(judge: Start, tmp_path: Path, fault: str) -> None:
    struck = case(judge, tmp_path, "--script", f"ok,{fault}", records=4, batch={"max_items": 1})
    (tmp_path / "clean").mkdir()
    usual, _ = peak(case_at(tmp_path / "clean", judge("--engine", "hashing"), 1).start())
    most, ended = peak(struck.start())
    check_all(struck.home, struck.judge, ended, lines(struck))

    assert (ended.code, ended.summary["codes"]) == (3, {"answer_too_large": 1})
    assert unknown(ended) > 0, "the server has done the work"
    assert most < usual + 100


@pytest.mark.row(58)
def test_answers_that_come_too_late_for_the_deadline_are_asked_for_once_more(judge: Start, tmp_path: Path) -> None:
    """Ten times the latency for all, and two answers that never make it; the storm of it is in test_outages.py."""
    script = ",".join(["ok"] * 10 + ["late"] + ["ok"] * 10 + ["late"])
    struck = case(
        judge, tmp_path, "--latency", "0.1", "--late-seconds", "30", "--script", script, timeout=1, records=300
    )
    ended = struck.finish()

    assert struck.sent == 60 + 2
    assert ended.summary["requests"]["retried"] == 2


@pytest.mark.row(80)
@pytest.mark.parametrize("behaviour", [answer_twice, answer_too_late], ids=["twice", "too-late"])
def test_an_answer_nobody_waits_for_is_nobodys(judge: Start, tmp_path: Path, behaviour: Behaviour) -> None:
    """Every vector is compared with that of a run without a fault: none went to another record.

    The second answer comes before the next request. One that came after it, and before that one's own answer, could
    not be told from it: HTTP/1.1 has nothing but the order.
    """
    keys: dict[str, Json] = {"timeout": 1, "limits": {"concurrency": 1}, "retry": {"base": 0.01}, "records": 40}
    (tmp_path / "clean").mkdir()
    clean = case_at(tmp_path / "clean", judge("--engine", "hashing"), 40)
    struck = case(judge, tmp_path, **keys)
    with RawServer(struck.judge, serve, behaviour, serve, serve, serve, behaviour) as server:
        write_endpoint(struck.home, "own", server.url, api_key="env:CANARY_KEY", provider="simulator")
        ended = struck.finish()
    clean.finish()

    retried = ended.summary["requests"]["retried"]
    assert retried == 2 or (retried < 2 and behaviour is answer_twice)
    assert (unknown(ended) > 0) == (retried > 0)
    assert struck.sent <= 8 + retried
    vectors = [[line["embedding"] for line in read_lines(case.places.output)] for case in (struck, clean)]
    assert vectors[0] == vectors[1]
