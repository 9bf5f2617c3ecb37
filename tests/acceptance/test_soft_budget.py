"""The soft budget: an event and a line, once for each output."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.config import load
from pipeline.events import Event, Notice, SoftBudgetReached
from pipeline.runner import Run
from tests.acceptance.command import environment, write_config, write_records
from tests.judge import Judge


class Seen:
    """Keeps what it sees of the soft budget."""

    def __init__(self) -> None:
        self.events: list[SoftBudgetReached] = []
        self.lines: list[str] = []

    def see(self, event: Event) -> None:
        if isinstance(event, SoftBudgetReached):
            self.events.append(event)
        if isinstance(event, Notice) and "soft budget" in event.message:
            self.lines.append(event.message)


@pytest.fixture
def server(judge: Callable[..., Judge]) -> Judge:
    return judge("--engine", "hashing")


async def run(home: Path, server: Judge, soft_usd: float, limit: int) -> tuple[int, Seen]:
    """Run the first records; return what was spent in all, and what was seen."""
    write_records(home / "in.jsonl", [{"text": f"text {number}"} for number in range(100)])
    config = write_config(
        home,
        "job",
        job="completions",
        endpoint="simulator",
        model="simulator-text-1",
        prompt="{{ text }}",
        max_output_tokens=8,
        input={"path": str(home / "in.jsonl")},
        output={"path": str(home / "out.jsonl")},
        budget={"soft_usd": soft_usd},
        limit=limit,
    )
    started = Run(load(config, {}, environment(home, server.environment)))
    started.observers.add(seen := Seen())
    summary = await started.execute()
    assert summary.exit_code == 0
    assert [notice for notice in summary.notices if "soft budget" in notice] == seen.lines
    return summary.whole.money.spent_nusd, seen


async def test_the_soft_budget_is_an_event_and_a_line_once_for_each_output(server: Judge, tmp_path: Path) -> None:
    _, below = await run(tmp_path, server, 0.0002, limit=20)
    spent, reached = await run(tmp_path, server, 0.0002, limit=60)
    _, again = await run(tmp_path, server, 0.0002, limit=80)
    more, raised = await run(tmp_path, server, 0.0004, limit=100)

    assert (below.events, below.lines) == ([], [])
    assert reached.events == [SoftBudgetReached(spent, 200_000)]
    assert reached.lines == [f"the soft budget is reached: ${spent / 1e9:.6f} of $0.000200"]
    assert (again.events, again.lines) == ([], [])
    assert raised.events == [SoftBudgetReached(more, 400_000)], "a higher one is another one"
