"""Sends a JSONL file through an OpenAI-style API: durable, paced to the rate limit, never over budget.

    import asyncio
    from pathlib import Path

    import pipeline

    loaded = pipeline.load(Path("configs/tickets.yaml"), {"budget.hard_usd": 5}, os.environ)
    print(asyncio.run(pipeline.plan(loaded)).cost_nusd)
    summary = asyncio.run(pipeline.run(loaded))
    print(summary.exit_code, summary.whole.money.spent_nusd)

Names are imported when they are first used, so that the command starts quickly.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pipeline.config import Loaded, load
    from pipeline.earlier import Earlier
    from pipeline.errors import Malformed, Rejected
    from pipeline.job import Job, JobSpec, Template, Tokenizer
    from pipeline.observers.summary import Summary
    from pipeline.planning import Plan, plan
    from pipeline.runner import Run, run
    from pipeline.types import Item, Record

__all__ = [
    "Earlier",
    "Item",
    "Job",
    "JobSpec",
    "Loaded",
    "Malformed",
    "Plan",
    "Record",
    "Rejected",
    "Run",
    "Summary",
    "Template",
    "Tokenizer",
    "load",
    "plan",
    "run",
]

_HOMES = {
    "Earlier": "earlier",
    "Item": "types",
    "Job": "job",
    "JobSpec": "job",
    "Loaded": "config",
    "Malformed": "errors",
    "Plan": "planning",
    "Record": "types",
    "Rejected": "errors",
    "Run": "runner",
    "Summary": "observers.summary",
    "Template": "job",
    "Tokenizer": "job",
    "load": "config",
    "plan": "planning",
    "run": "runner",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
