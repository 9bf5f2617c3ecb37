"""Sends a JSONL file through an OpenAI-style API: durable, paced to the rate limit, never over budget.

    from pipeline import Result, open_run, plan, run

    print(plan("configs/tickets.yaml").cost_bound_nusd)
    summary = run("configs/tickets.yaml", budget_usd=5)      # the same again carries on where it stopped
    print(summary.state, summary.records.ok, summary.money.spent_usd)

    with open_run("configs/tickets.yaml", input=[{"id": "a-1", "body": "Hello"}], state="out/greetings") as outcomes:
        for outcome in outcomes:
            print(outcome.custom_id, outcome.answer if isinstance(outcome, Result) else outcome.code)

Names are imported when they are first used, so that the command starts quickly.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pipeline.api.configs import ConfigLike, Keys, load
    from pipeline.api.following import AsyncOutcomes, OpenRun, Outcomes, open_run
    from pipeline.api.outcomes import DeadLetter, Outcome, Result, outcomes
    from pipeline.api.runs import aplan, arun, plan, run
    from pipeline.config import Loaded
    from pipeline.earlier import Earlier, Where
    from pipeline.errors import (
        BudgetReached,
        EndpointUnavailable,
        JobStopped,
        Locked,
        Malformed,
        NeedsPerson,
        PipelineError,
        Rejected,
        StateMismatch,
        StorageFailed,
        UsageError,
    )
    from pipeline.job import Job, JobSpec, Template, Tokenizer
    from pipeline.observers.summary import Summary
    from pipeline.planning import Plan
    from pipeline.types import Item, Record, Usage

_HOMES = {
    "api.configs": ("ConfigLike", "Keys", "load"),
    "api.following": ("AsyncOutcomes", "OpenRun", "Outcomes", "open_run"),
    "api.outcomes": ("DeadLetter", "Outcome", "Result", "outcomes"),
    "api.runs": ("aplan", "arun", "plan", "run"),
    "config": ("Loaded",),
    "earlier": ("Earlier", "Where"),
    "errors": (
        "BudgetReached",
        "EndpointUnavailable",
        "JobStopped",
        "Locked",
        "Malformed",
        "NeedsPerson",
        "PipelineError",
        "Rejected",
        "StateMismatch",
        "StorageFailed",
        "UsageError",
    ),
    "job": ("Job", "JobSpec", "Template", "Tokenizer"),
    "observers.summary": ("Summary",),
    "planning": ("Plan",),
    "types": ("Item", "Record", "Usage"),
}
_HOME = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [
    "AsyncOutcomes",
    "BudgetReached",
    "ConfigLike",
    "DeadLetter",
    "Earlier",
    "EndpointUnavailable",
    "Item",
    "Job",
    "JobSpec",
    "JobStopped",
    "Keys",
    "Loaded",
    "Locked",
    "Malformed",
    "NeedsPerson",
    "OpenRun",
    "Outcome",
    "Outcomes",
    "PipelineError",
    "Plan",
    "Record",
    "Rejected",
    "Result",
    "StateMismatch",
    "StorageFailed",
    "Summary",
    "Template",
    "Tokenizer",
    "Usage",
    "UsageError",
    "Where",
    "aplan",
    "arun",
    "load",
    "open_run",
    "outcomes",
    "plan",
    "run",
]


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return __all__
