from __future__ import annotations

from pathlib import Path

import pytest

from jobs.chat import Chat
from pipeline.backends.base import Backend
from pipeline.core.tokens import TextTokenizer
from pipeline.errors import (
    Ambiguous,
    BudgetReached,
    JobStopped,
    Malformed,
    NeedsPerson,
    Rejected,
    Transient,
    Unreachable,
    UsageError,
)
from pipeline.job import JobSpec
from pipeline.types import Item, Request, Response
from tests.rig import answer, echo, prompts, run

TEXTS = [{"text": f"text {number}"} for number in range(1, 46)]


async def test_every_record_gets_its_own_answer(tmp_path: Path) -> None:
    ended = await run(tmp_path, TEXTS)

    assert ended.complete
    assert {line: shown["text"] for line, shown in ended.lines.items()} == {
        line: f"to text {line}" for line in range(1, 46)
    }
    assert sorted(len(request.items) for request in ended.requests) == [5, 20, 20]


async def test_costs_and_usages_of_the_lines_add_up_to_the_request(tmp_path: Path) -> None:
    ended = await run(tmp_path, TEXTS)

    assert ended.ledger.budget.spent == 45 * (3 * 1 + 2 * 2)
    assert round(sum(line["cost_usd"] for line in ended.lines.values()) * 1e9) == ended.ledger.budget.spent
    assert sum(line["usage"]["prompt_tokens"] for line in ended.lines.values()) == 3 * 45
    assert sum(line["usage"]["completion_tokens"] for line in ended.lines.values()) == 2 * 45


async def test_a_bad_line_becomes_a_dead_letter_and_the_others_are_answered(tmp_path: Path) -> None:
    ended = await run(tmp_path, [{"text": "a"}, b"{broken", b"", {"other": 1}, {"text": "b"}])

    assert sorted(ended.lines) == [1, 5]
    assert {line: letter.code for line, letter in ended.dead.items()} == {2: ended.dead[2].code, 4: "bug"}
    assert ended.dead[2].record == b"{broken"
    assert ended.complete


async def test_one_bad_record_of_a_batch_is_found_by_halving(tmp_path: Path) -> None:
    def poisoned(request: Request) -> Response | Rejected:
        if "text 13" in prompts(request):
            return Rejected("the prompt is bad", code="bad_prompt", status=400)
        return echo(request)

    ended = await run(tmp_path, TEXTS[:20], poisoned)

    assert sorted(ended.dead) == [13]
    assert ended.dead[13].code == "bad_prompt"
    assert len(ended.lines) == 19
    assert len(ended.requests) <= 11, "at most ten more requests than the one"


async def test_a_batch_that_failed_to_the_end_is_not_halved_and_sent_again(tmp_path: Path) -> None:
    def hopeless(request: Request) -> Rejected:
        error = Rejected("every attempt failed", code="server_error")
        error.halve = False
        return error

    ended = await run(tmp_path, TEXTS[:20], hopeless)

    assert len(ended.requests) == 1
    assert len(ended.dead) == 20


async def test_answers_that_cannot_be_matched_are_accepted_for_none_and_resent_singly(tmp_path: Path) -> None:
    def short(request: Request) -> Response:
        full = echo(request)
        return answer({"choices": [], "usage": {}}) if len(request.items) > 1 else full

    ended = await run(tmp_path, TEXTS[:6], short)

    assert {line: shown["text"] for line, shown in ended.lines.items()} == {
        line: f"to text {line}" for line in range(1, 7)
    }
    assert [len(request.items) for request in ended.requests] == [6, 1, 1, 1, 1, 1, 1]
    assert ended.ledger.budget.unknown > 0, "the answer that was not accepted may have been billed"


async def test_a_single_answer_that_cannot_be_matched_is_a_dead_letter(tmp_path: Path) -> None:
    ended = await run(tmp_path, TEXTS[:1], [answer({"choices": []})])

    assert ended.dead[1].code == Malformed.code


async def test_a_record_is_not_sent_again_after_two_unknown_outcomes(tmp_path: Path) -> None:
    class Thrice:
        def __init__(self, inner: Backend) -> None:
            self._inner = inner

        async def send(self, request: Request) -> Response:
            for _ in range(3):
                try:
                    return await self._inner.send(request)
                except Ambiguous:
                    continue
            raise Rejected("three attempts")

    ended = await run(tmp_path, TEXTS[:1], lambda _: Ambiguous("no answer"), wrap=Thrice)

    assert len(ended.requests) == 2
    assert ended.dead[1].code == "ambiguous_limit"


@pytest.mark.parametrize("error", [Unreachable("refused"), Transient("500")])
async def test_what_was_not_billed_is_not_charged(tmp_path: Path, error: Unreachable | Transient) -> None:
    class Once:
        def __init__(self, inner: Backend) -> None:
            self._inner = inner

        async def send(self, request: Request) -> Response:
            try:
                return await self._inner.send(request)
            except (Unreachable, Transient):
                return await self._inner.send(request)

    outcomes = iter([error])
    ended = await run(tmp_path, TEXTS[:2], lambda request: next(outcomes, None) or echo(request), wrap=Once)

    assert (ended.ledger.budget.spent, ended.ledger.budget.unknown) == (14, 0)


async def test_a_stop_keeps_what_came_back_and_the_next_run_goes_on(tmp_path: Path) -> None:
    answered: list[Request] = []

    def revoked(request: Request) -> Response | NeedsPerson:
        if len(answered) == 2:
            return NeedsPerson("the key was revoked", code="invalid_api_key", status=401)
        answered.append(request)
        return echo(request)

    first = await run(tmp_path, TEXTS, revoked, max_items=5, workers=1)
    second = await run(tmp_path, TEXTS, max_items=5)

    assert isinstance(first.stopped, NeedsPerson)
    assert len(first.requests) == 3
    assert len(first.lines) == 10
    assert first.dead == {}, "no record is to blame for the key"
    assert second.complete
    assert sorted(second.lines) == list(range(1, 46))
    assert sum(len(request.items) for request in second.requests) == 35, "nothing is bought twice"


async def test_a_batch_that_does_not_fit_into_the_budget_goes_in_smaller_pieces(tmp_path: Path) -> None:
    ended = await run(tmp_path, TEXTS, cap=220, max_items=20)

    assert isinstance(ended.stopped, BudgetReached)
    assert 1 <= len(ended.lines) < 45
    assert max(len(request.items) for request in ended.requests) < 20
    assert ended.ledger.budget.spent + ended.ledger.budget.unknown <= 220
    assert ended.dead == {}


async def test_a_larger_budget_goes_on_where_the_smaller_one_ended(tmp_path: Path) -> None:
    first = await run(tmp_path, TEXTS, cap=220)
    second = await run(tmp_path, TEXTS, cap=20_000)

    assert second.complete
    assert len(second.lines) == 45
    assert sum(len(request.items) for request in second.requests) == 45 - len(first.lines)


async def test_a_budget_may_refuse_requests_that_nothing_bounds(tmp_path: Path) -> None:
    def refuse(item: Item) -> Item:
        raise UsageError("set max_output_tokens")

    spec = JobSpec("m", TextTokenizer("o200k_base"), templates={"prompt": lambda data: str(data["text"])})
    ended = await run(tmp_path, TEXTS[:3], cap=10**9, job=Chat(spec), require_bound=refuse)

    assert isinstance(ended.stopped, UsageError)
    assert ended.requests == []


async def test_a_bug_costs_its_record_and_ten_stop_the_job(tmp_path: Path) -> None:
    bugs = await run(tmp_path, [{"no": number} for number in range(30)])

    assert isinstance(bugs.stopped, JobStopped)
    assert bugs.stopped.exit_code == 1
    assert "KeyError" in bugs.stopped.message


async def test_lines_that_are_done_are_not_sent_again(tmp_path: Path) -> None:
    await run(tmp_path, TEXTS)
    again = await run(tmp_path, TEXTS)

    assert again.requests == []
    assert again.complete


async def test_a_false_usage_is_not_believed(tmp_path: Path) -> None:
    first_only = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}
    ended = await run(tmp_path, [{"text": "many words " * 20} for _ in range(20)], lambda r: echo(r, first_only))

    assert ended.ledger.budget.spent >= 20 * 20 * 2
    assert all(line["usage"]["estimated"] for line in ended.lines.values())
    assert any("usage" in notice.message for notice in ended.tally.notices)


async def test_an_answer_without_content_is_asked_for_once_more_and_both_are_paid(tmp_path: Path) -> None:
    spec = JobSpec("m", TextTokenizer("o200k_base"), {"max_tokens": 9}, {"prompt": lambda data: str(data["text"])})
    usage = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}

    def said(content: str | None) -> Response:
        message = {"role": "assistant", "content": content}
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        return answer({"model": "m", "choices": [choice], "usage": usage})

    mended = await run(tmp_path / "mended", TEXTS[:1], [said(None), said("yes")], job=Chat(spec))
    hopeless = await run(tmp_path / "hopeless", TEXTS[:1], [said(None), said(None)], job=Chat(spec))

    assert mended.lines[1]["text"] == "yes"
    assert mended.ledger.budget.spent == 2 * (3 + 2 * 2)
    assert hopeless.dead[1].code == "null_content"
    assert len(hopeless.requests) == 2
