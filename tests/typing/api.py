"""Uses of the public API. Nothing here runs: that mypy, strict, finds no fault in it is the test."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any, assert_type

from pipeline import (
    BudgetReached,
    ConfigLike,
    DeadLetter,
    Earlier,
    Item,
    Job,
    JobSpec,
    JobStopped,
    Keys,
    Loaded,
    OpenRun,
    Outcome,
    Plan,
    Record,
    Rejected,
    Result,
    Summary,
    Usage,
    UsageError,
    Where,
    aplan,
    arun,
    load,
    open_run,
    outcomes,
    plan,
    run,
)


def configs() -> None:
    loaded = load("c.yaml", limit=5, environ={"OPENAI_API_KEY": "k"})
    assert_type(loaded, Loaded)
    every: list[ConfigLike] = ["c.yaml", Path("c.yaml"), {"job": "chat", "input": {"path": Path("in.jsonl")}}, loaded]
    for config in every:
        assert_type(run(config), Summary)
    keys: Keys = {"job": "chat", "prompt": "{{ text }}", "budget_usd": Decimal("0.5"), "limits": {"rpm": 500}}
    assert_type(plan(**keys), Plan)


def rows() -> None:
    def generated() -> Iterator[Mapping[str, str]]:
        yield {"text": "a"}

    run("c.yaml", input=[{"text": "a"}], id="text", keep=["text"], output=Path("out.jsonl"), deadline="8h")
    run("c.yaml", input=generated(), earlier=Earlier(fresh=True))
    run("c.yaml", inputs="in.jsonl")  # type: ignore[call-arg]
    run("c.yaml", limit="five")  # type: ignore[arg-type]


def summaries() -> float:
    summary = run("c.yaml").raise_for_state()
    assert_type(summary, Summary)
    assert_type(summary.records.ok, int)
    assert_type(summary.stopped, JobStopped | None)
    return summary.money.spent_usd


def following() -> list[float]:
    costs = []
    assert_type(open_run("c.yaml"), OpenRun)
    with open_run("c.yaml") as taken:
        for outcome in taken:
            assert_type(outcome, Result | DeadLetter)
            match outcome:
                case Result():
                    assert_type(outcome.usage, Usage)
                    assert_type(outcome.answer, Mapping[str, Any])
                    assert_type(outcome.record, Mapping[str, Any])
                    costs.append(outcome.cost_usd)
                case DeadLetter():
                    assert_type(outcome.code, str)
                    assert_type(outcome.record, Mapping[str, Any] | str)
    assert_type(taken.summary, Summary)
    return costs


async def on_a_loop() -> AsyncIterator[str]:
    assert_type(await arun("c.yaml"), Summary)
    assert_type(await aplan("c.yaml"), Plan)
    async with open_run("c.yaml", earlier=Earlier(retry=Where())) as taken:
        async for outcome in taken:
            assert_type(outcome, Outcome)
            yield outcome.custom_id


def errors() -> str:
    try:
        run("c.yaml").raise_for_state()
    except BudgetReached as stopped:
        return stopped.message
    except UsageError as refused:
        return refused.code
    return ",".join(outcome.custom_id for outcome in outcomes("c.yaml"))


class Shout:
    """A job of a user's own."""

    path = "/embeddings"
    max_items = 3

    def __init__(self, spec: JobSpec) -> None:
        self._spec = spec

    def render(self, record: Record) -> Item:
        if "text" not in record.data:
            raise Rejected("no text", code="no_text")
        text = str(record.data["text"]).upper()
        return Item(record, text, self._spec.tokenizer.estimate(text))

    def body(self, items: Any) -> Mapping[str, Any]:
        return {"model": self._spec.model, "input": [item.content for item in items]}

    def split(self, items: Any, body: Any) -> list[Mapping[str, Any] | Rejected]:
        return [{"data": [body["data"][number]]} for number in range(len(items))]

    def fields(self, answer: Mapping[str, Any]) -> Mapping[str, Any]:
        return {"embedding": answer["data"][0]["embedding"]}


def job(spec: JobSpec) -> Job:
    return Shout(spec)
