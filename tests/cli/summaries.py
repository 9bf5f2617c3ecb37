"""Summaries to print."""

from __future__ import annotations

from typing import Any

from pipeline.observers.summary import Money, Part, Records, Requests, Summary, Tokens

COMMANDS = {"run": "pipeline run c.yaml", "retry": "pipeline retry c.yaml"}


def summary(**changes: Any) -> dict[str, object]:
    """Return the published form of a run that went well, with `changes`."""
    done = Part(
        Records(500, 500, 0, 0), Requests(25, 25, 0, 0), Tokens(12_345, 0, 0, 0), Money(1_230_000, price_source="list")
    )
    fields: dict[str, Any] = {
        "job": "embeddings",
        "name": "tickets",
        "state": "complete",
        "exit_code": 0,
        "started_at": "2026-11-21T12:00:00Z",
        "ended_at": "2026-11-21T12:00:12Z",
        "message": None,
        "output": "out/t.jsonl",
        "errors": "out/t.jsonl.errors.jsonl",
        "whole": done,
        "this_run": done,
        "seconds": 12.5,
    }
    return Summary(**{**fields, **changes}).as_dict()
