"""Rows 70 to 85: answers with status 200 that are none or lie, and budgets and limits that cannot be kept.

The texts are canaries: the judge answers each with words of its own, so a text that stands with another record is seen.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.config import load
from pipeline.errors import UsageError
from pipeline.simulator import chat_prompt, expected_text
from pipeline.types import Json
from tests.acceptance.command import read_lines, write_records
from tests.faults.case import Case, case, case_at
from tests.faults.here import finish_here, run_here
from tests.faults.oracle import check_money
from tests.faults.raw_server import Exchange, RawServer, answer, serve
from tests.faults.test_api_faults import ALONE, dead, money, with_texts
from tests.judge import Judge

Start = Callable[..., Judge]
COMPLETIONS: dict[str, Json] = {
    "job": "completions",
    "model": "simulator-text-1",
    "prompt": "{{ text }}",
    "max_output_tokens": 64,
}
CHAT: dict[str, Json] = {**COMPLETIONS, "job": "chat"}


def results(case: Case) -> dict[int, Json]:
    """The result lines by input line."""
    return {int(line["attempt"].split("-")[2]): line for line in read_lines(case.places.output)}


def check_texts(case: Case) -> None:
    """Every result is the answer to its own record."""
    for line, shown in results(case).items():
        assert shown["text"] == expected_text(case.texts[line - 1], max_tokens=64), f"line {line}"


@pytest.mark.row(70)
def test_what_the_model_refuses_to_say_is_paid_for_and_not_asked_again(judge: Start, tmp_path: Path) -> None:
    """But for a missing content without a reason, which is asked for once more."""
    script = "finish_content_filter,refusal,null_content"
    whole = case(judge, tmp_path, "--script", script, records=5, **CHAT, **ALONE)
    struck = with_texts(whole, ["a", "b", "c", "d", "FORBIDDEN e"])
    ended = finish_here(struck)

    assert ended.code == 3
    assert dead(struck) == {1: "content_filter", 2: "refusal", 5: "content_filter"}
    assert struck.sent == 5 + 1
    assert money(ended) == (struck.judge.billed(), 0, 0)
    for line in (3, 4):
        prompt = chat_prompt([{"role": "user", "content": struck.texts[line - 1]}])
        assert results(struck)[line]["text"] == expected_text(prompt, max_tokens=64)


@pytest.mark.row(70)
def test_content_that_is_missing_twice_is_a_dead_letter(judge: Start, tmp_path: Path) -> None:
    struck = case(judge, tmp_path, "--script", "null_content,null_content", records=1, **CHAT)
    ended = finish_here(struck)

    assert (ended.code, struck.sent, dead(struck)) == (3, 2, {1: "null_content"})
    assert money(ended) == (struck.judge.billed(), 0, 0)


@pytest.mark.row(71)
@pytest.mark.parametrize("keys", [COMPLETIONS, CHAT], ids=["completions", "chat"])
def test_an_answer_cut_at_its_limit_is_a_result_that_says_so(
    judge: Start, tmp_path: Path, keys: dict[str, Json]
) -> None:
    struck = case(judge, tmp_path, "--script", "finish_length", records=3, **keys, **ALONE)
    ended = finish_here(struck)

    assert ended.code == 0
    assert [results(struck)[line].get("truncated") for line in (1, 2, 3)] == [True, None, None]


PAYLOADS = ["error_in_200", "html", "empty", "empty_list", "json_null", "plain_text", "truncated_json", "bad_utf8"]


@pytest.mark.row(72)
@pytest.mark.parametrize("fault", [*PAYLOADS, pytest.param("event_stream", marks=pytest.mark.row(82))])
def test_a_200_that_is_no_answer_is_charged_as_unknown_and_asked_for_once_more(
    judge: Start, tmp_path: Path, fault: str
) -> None:
    struck = case(judge, tmp_path, "--script", fault, records=5, **COMPLETIONS, **ALONE)
    ended = finish_here(struck)

    assert (ended.code, struck.sent) == (0, 2)
    check_texts(struck)
    assert money(ended)[0] == struck.judge.billed() // 2
    assert money(ended)[1] >= struck.judge.billed() // 2


@pytest.mark.row(72, 82)
@pytest.mark.parametrize("fault", ["html", "event_stream"])
def test_a_server_that_never_answers_but_with_200_gets_two_requests_for_a_record(
    judge: Start, tmp_path: Path, fault: str
) -> None:
    struck = case(judge, tmp_path, "--fault", f"{fault}=1", records=2, batch={"max_items": 1}, **ALONE)
    ended = finish_here(struck)

    assert (ended.code, struck.sent) == (3, 4)
    assert dead(struck) == {1: "ambiguous_limit", 2: "ambiguous_limit"}
    assert money(ended)[1] >= struck.judge.billed() > money(ended)[0] == 0


MISMATCHES = [
    "too_few",
    "too_many",
    "duplicate_index",
    "index_out_of_range",
    "index_negative",
    "index_string",
    "index_float",
    "index_null",
    "index_missing",
]


@pytest.mark.row(73)
@pytest.mark.parametrize("fault", MISMATCHES)
def test_answers_that_cannot_be_matched_are_accepted_for_none_and_asked_for_singly(
    judge: Start, tmp_path: Path, fault: str
) -> None:
    struck = case(judge, tmp_path, "--script", fault, records=5, **COMPLETIONS, **ALONE)
    ended = finish_here(struck)
    asked = [len(entry.inputs) for entry in struck.judge.entries()]
    first = struck.judge.entries()[0].cost_nusd

    assert (ended.code, asked) == (0, [5, 1, 1, 1, 1, 1])
    check_texts(struck)
    assert money(ended)[0] == struck.judge.billed() - first
    assert money(ended)[1] >= first


@pytest.mark.row(74)
def test_shuffled_answers_belong_to_their_index(judge: Start, tmp_path: Path) -> None:
    struck = case(judge, tmp_path, "--fault", "shuffled=1", records=40, **COMPLETIONS, **ALONE)
    ended = finish_here(struck)

    assert (ended.code, struck.sent) == (0, 8)
    assert len(results(struck)) == 40
    check_texts(struck)
    assert money(ended) == (struck.judge.billed(), 0, 0)


@pytest.mark.row(74)
def test_shuffled_vectors_belong_to_their_index(judge: Start, tmp_path: Path) -> None:
    (tmp_path / "clean").mkdir()
    clean = case_at(tmp_path / "clean", judge("--engine", "hashing"), 40)
    struck = case(judge, tmp_path, "--fault", "shuffled=1", records=40)
    assert (finish_here(clean).code, finish_here(struck).code) == (0, 0)

    shown = [{line: found["embedding"] for line, found in results(each).items()} for each in (clean, struck)]
    assert shown[0] == shown[1]
    assert len({tuple(vector) for vector in shown[0].values()}) == 40


@pytest.mark.row(75)
@pytest.mark.parametrize("vectors", ["floats", "base64"])
@pytest.mark.parametrize("fault", ["vector_nan", "vector_infinite", "vector_short", "vector_null", "vector_holds_null"])
def test_a_vector_that_is_none_is_its_records_dead_letter(
    judge: Start, tmp_path: Path, fault: str, vectors: str
) -> None:
    struck = case(judge, tmp_path, "--script", fault, records=5, vectors=vectors)
    ended = finish_here(struck)

    assert (ended.code, struck.sent, dead(struck)) == (3, 1, {1: "bad_vector"})
    assert sorted(results(struck)) == [2, 3, 4, 5]
    assert all(line["embedding"] for line in results(struck).values())
    assert money(ended) == (struck.judge.billed(), 0, 0)


USAGES = ["missing", "null", "negative", "float", "string", "input_only", "of_first"]


@pytest.mark.row(76)
@pytest.mark.parametrize("fault", USAGES)
def test_a_usage_that_makes_no_sense_costs_the_upper_bound_and_is_marked(
    judge: Start, tmp_path: Path, fault: str
) -> None:
    struck = case(judge, tmp_path, "--script", f"usage_{fault}", records=5, **COMPLETIONS)
    ended = finish_here(struck)

    assert (ended.code, struck.sent) == (0, 1)
    check_texts(struck)
    assert all(line["usage"]["estimated"] for line in results(struck).values())
    assert money(ended)[0] > struck.judge.billed()
    assert "the upper bound is recorded" in " ".join(ended.summary["notices"])


@pytest.mark.row(76)
@pytest.mark.parametrize("fault", ["usage_missing", "usage_of_first"])
def test_where_no_usage_can_be_believed_what_is_recorded_still_fits_the_budget(
    judge: Start, tmp_path: Path, fault: str
) -> None:
    """Each answer is recorded at its upper bound, which is no more than what was set aside for it."""
    struck = case(
        judge, tmp_path, "--fault", f"{fault}=1", records=60, **{**COMPLETIONS, "budget": {"hard_usd": 0.0005}}
    )
    ended = run_here(struck)
    check_money(ended.summary, struck.judge)

    assert ended.code == 4
    assert money(ended)[0] >= 0.9 * 500_000


@pytest.mark.row(76)
def test_an_absurd_usage_is_recorded_as_reported_and_ends_the_run(judge: Start, tmp_path: Path) -> None:
    """Only here is more recorded than the cap: the server says that it has billed it."""
    struck = case(judge, tmp_path, "--script", "ok,usage_huge", records=60, **COMPLETIONS, **ALONE)
    ended = run_here(struck)

    assert (ended.code, struck.sent) == (4, 2), "nothing is sent after it"
    assert ended.summary["records"]["ok"] == 10
    assert money(ended)[0] > ended.summary["money"]["cap_nusd"]
    assert "more tokens than were sent" in " ".join(ended.summary["notices"])


@pytest.mark.row(77)
def test_an_answer_of_another_model_is_priced_by_it(judge: Start, tmp_path: Path) -> None:
    struck = case(judge, tmp_path, "--script", "ok,model_differs", records=15, **COMPLETIONS, **ALONE)
    ended = finish_here(struck)

    assert money(ended) == (struck.judge.billed(), 0, 0)
    assert {line["model"] for line in results(struck).values()} == {"simulator-text-1", "simulator-text-1-large"}
    assert "answered for 'simulator-text-1'" in " ".join(ended.summary["notices"])


@pytest.mark.row(78)
def test_a_budget_and_a_model_without_a_price_are_2_before_anything_is_sent(judge: Start, tmp_path: Path) -> None:
    struck = case(judge, tmp_path, model="nobody-knows-1")
    ended = struck.run()

    assert (ended.code, struck.sent) == (2, 0)
    assert "nobody-knows-1" in ended.err
    assert not struck.places.partial.exists()


@pytest.mark.row(79)
def test_what_costs_more_than_was_set_aside_is_recorded_in_full_and_more_is_set_aside_from_then_on(
    judge: Start, tmp_path: Path
) -> None:
    """Each answer thinks for a thousand tokens that nobody allowed: some ten times the bound."""
    struck = case(judge, tmp_path, "--fault", "reasoning_overrun=1", records=20, budget={"hard_usd": 0.005}, **CHAT)
    ended = run_here(struck)
    check_money(ended.summary, struck.judge)
    cost = max(entry.cost_nusd for entry in struck.judge.entries())

    assert ended.code == 4
    assert cost > 600_000
    assert money(ended) == (struck.judge.billed(), 0, 0)
    assert money(ended)[0] > 5_000_000 - 2 * cost, "nearly all of the budget is used"
    assert ended.summary["tokens"]["reasoning"] == 1_000 * struck.sent


@pytest.mark.row(81)
def test_an_answer_that_names_another_request_is_not_taken(judge: Start, tmp_path: Path) -> None:
    """OpenAI's API repeats no id; where a server or gateway repeats ours (X-Client-Request-Id), it must be ours."""

    def misnamed(exchange: Exchange) -> bool:
        whole = exchange.forward()
        exchange.send(answer(whole.partition(b"\r\n\r\n")[2], "X-Client-Request-Id: abcdefgh-1"))
        return True

    struck = case(judge, tmp_path, records=20, **COMPLETIONS, **ALONE)
    with RawServer(struck.judge, serve, misnamed) as server:
        moved = case_at(struck.home, Judge(server.url, struck.judge.record), 20, **COMPLETIONS, **ALONE)
        ended = finish_here(moved)

    assert (ended.code, len(server.requests)) == (0, 4 + 1)
    check_texts(struck)
    assert money(ended)[1] > 0


@pytest.mark.row(82)
def test_a_line_that_asks_for_a_stream_is_never_sent(judge: Start, tmp_path: Path) -> None:
    struck = case(judge, tmp_path, records=2, **CHAT)
    body = {"model": "simulator-text-1", "messages": [{"role": "user", "content": "a"}], "max_tokens": 8}
    line = {"custom_id": "a", "method": "POST", "url": "/v1/chat/completions", "body": body}
    streamed = {**line, "custom_id": "b", "body": {**body, "stream": True}}
    write_records(struck.home / "in.jsonl", [line, streamed])
    ended = run_here(struck)

    assert (ended.code, struck.sent, dead(struck)) == (3, 1, {2: "stream_not_supported"})
    check_money(ended.summary, struck.judge)


@pytest.mark.row(82)
def test_a_config_that_asks_for_a_stream_is_2(judge: Start, tmp_path: Path) -> None:
    struck = case(judge, tmp_path, params={"stream": True}, **CHAT)
    ended = run_here(struck)

    assert (ended.code, struck.sent) == (2, 0)


@pytest.mark.row(83)
def test_a_budget_that_ends_with_hundreds_in_flight_is_used_and_not_exceeded(judge: Start, tmp_path: Path) -> None:
    """The command, 1,000 slots, a budget for some two thirds of the work, answers that take a third of a second."""
    struck = case(
        judge,
        tmp_path,
        "--latency",
        "0.3",
        records=2_000,
        batch={"max_items": 2},
        limits={"concurrency": 1_000, "rpm": 1_000_000},
        budget={"hard_usd": 0.00008},
    )
    ended = struck.run()
    spent, unknown, reserved = money(ended)
    print(f"\nbilled {struck.judge.billed()} <= recorded {spent + unknown} <= 80000, {struck.sent} requests")

    assert ended.code == 4
    assert (unknown, reserved) == (0, 0), "it waits for what is in flight before it gives up"
    assert struck.judge.billed() == spent <= 80_000
    assert spent >= 0.99 * 80_000 - 100, "less than one more record"
    struck.finish("--budget", "1")


REFUSED_BUDGETS = ["0", "-1", "nan", "inf", "1e400", "1e-9", "$5", "5 USD", "5,00", ""]


@pytest.mark.row(84)
@pytest.mark.parametrize("budget", REFUSED_BUDGETS)
def test_a_budget_that_is_no_amount_is_2(judge: Start, tmp_path: Path, budget: str) -> None:
    (tmp_path / "home").mkdir()
    struck = case_at(tmp_path / "home", Judge("http://127.0.0.1:9/v1", tmp_path / "record"), 1)
    with pytest.raises(UsageError) as caught:
        load(struck.config, {"budget.hard_usd": budget}, struck.environment)

    assert caught.value.exit_code == 2
    assert "budget.hard_usd" in caught.value.message


@pytest.mark.row(84, 85)
@pytest.mark.parametrize("flag", ["--budget=0", "--budget=1e400", "--budget=$5", "--rpm=0", "--tpm=0", "--rpm=-1"])
def test_a_limit_that_lets_nothing_through_is_2_at_the_command_line(tmp_path: Path, flag: str) -> None:
    (tmp_path / "home").mkdir()
    struck = case_at(tmp_path / "home", Judge("http://127.0.0.1:9/v1", tmp_path / "record"), 1)
    ended = struck.run(flag)

    assert ended.code == 2
    assert not struck.places.partial.exists()
    assert not struck.places.state.exists()


@pytest.mark.row(85)
def test_one_request_a_minute_lets_the_first_go_at_once(judge: Start, tmp_path: Path) -> None:
    struck = case(judge, tmp_path, records=5, limits={"rpm": 1})

    assert finish_here(struck).code == 0
    assert struck.sent == 1


@pytest.mark.row(85)
@pytest.mark.parametrize("long", [4, 1], ids=["all", "one"])
def test_a_record_above_the_tokens_of_a_minute_is_a_dead_letter_and_never_waits(
    judge: Start, tmp_path: Path, long: int
) -> None:
    """A batch above it is sent in parts."""
    whole = case(judge, tmp_path, records=4, batch={"max_items": 4}, limits={"tpm": 6_000})
    texts = [f"{number} " + "word " * (7_000 if number <= long else 10) for number in range(1, 5)]
    struck = with_texts(whole, texts)
    ended = finish_here(struck)

    assert ended.code == 3
    assert dead(struck) == dict.fromkeys(range(1, long + 1), "request_too_large")
    assert sum(len(entry.inputs) for entry in struck.judge.entries()) == 4 - long
    assert money(ended) == (struck.judge.billed(), 0, 0)
