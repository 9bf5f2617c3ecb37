"""Runs a case in this process, where a process of its own would add nothing but a second: through the library's API."""

from __future__ import annotations

import asyncio
import contextlib

import orjson

from pipeline.config import load
from pipeline.earlier import CARRY_ON, Earlier
from pipeline.runner import run
from tests.acceptance.command import Ended
from tests.faults.case import Case
from tests.faults.oracle import check_all


def run_here(case: Case, earlier: Earlier = CARRY_ON) -> Ended:
    """Run to the end, or to what stops it."""
    with contextlib.chdir(case.home):
        loaded = load(case.config, {}, case.environment)
        summary = asyncio.run(run(loaded, earlier)).as_dict()
    code = summary["exit_code"]
    assert isinstance(code, int)
    return Ended(code, orjson.dumps(summary).decode(), str(summary["message"] or ""))


def finish_here(case: Case, earlier: Earlier = CARRY_ON) -> Ended:
    """Run to the end of all records, each with a result or a dead letter, and check everything."""
    ended = run_here(case, earlier)
    check_all(case.home, case.judge, ended, range(1, len(case.texts) + 1))
    return ended
