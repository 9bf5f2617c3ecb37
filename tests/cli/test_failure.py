from __future__ import annotations

import subprocess
import sys

import click
import pytest

from pipeline.cli.failure import exit_code_of, redacted
from pipeline.errors import (
    BudgetReached,
    EndpointUnavailable,
    JobStopped,
    Locked,
    NeedsPerson,
    StateMismatch,
    StorageFailed,
    UsageError,
)

SECRET = "a prompt that nobody may see"


def failing(error: BaseException) -> int:
    def command() -> None:
        prompt = SECRET
        assert prompt
        raise error

    return exit_code_of(command)


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        (UsageError, 2),
        (BudgetReached, 4),
        (StateMismatch, 5),
        (NeedsPerson, 6),
        (EndpointUnavailable, 7),
        (StorageFailed, 74),
        (Locked, 75),
    ],
)
def test_what_stops_a_job_is_one_line_and_its_exit_code(
    kind: type[JobStopped], code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    assert failing(kind("this and that")) == code
    assert capsys.readouterr() == ("", "pipeline: this and that\n")


def test_a_key_in_a_message_is_masked(capsys: pytest.CaptureFixture[str]) -> None:
    failing(NeedsPerson("Incorrect API key provided: sk-canary0123456789"))

    assert "canary" not in capsys.readouterr().err


@pytest.mark.parametrize("error", [KeyboardInterrupt(), click.Abort()])
def test_an_interrupt_before_the_run_is_130(error: BaseException) -> None:
    assert failing(error) == 130


def test_a_click_error_of_any_kind_is_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert failing(click.FileError("f", "unreadable")) == 2
    assert capsys.readouterr().err == "Error: Could not open file 'f': unreadable\n"


def test_a_bug_is_exit_1_and_asks_for_a_report(capsys: pytest.CaptureFixture[str]) -> None:
    assert failing(ValueError(SECRET)) == 1

    shown = capsys.readouterr().err
    assert "test_failure.py" in shown
    assert "ValueError" in shown
    assert shown.splitlines()[-1].startswith("pipeline: this is a bug")
    assert SECRET not in shown


def test_a_traceback_names_every_error_of_the_chain_and_no_value() -> None:
    error = RuntimeError(SECRET)
    error.__cause__ = KeyError(SECRET)
    shown = redacted(error)

    assert shown.index("KeyError") < shown.index("RuntimeError")
    assert SECRET not in shown


def test_a_result_is_the_exit_code() -> None:
    assert exit_code_of(lambda: 3) == 3
    assert exit_code_of(lambda: None) == 0


PROGRAMS = {
    "main": "fail()",
    "thread": "import threading\nt = threading.Thread(target=fail)\nt.start(); t.join()",
    "task": (
        "import asyncio, gc\nasync def f(): fail()\nasync def g():\n"
        "    t = asyncio.create_task(f()); await asyncio.sleep(0); await asyncio.sleep(0); del t; gc.collect()\n"
        "asyncio.run(g())"
    ),
    "log": "import logging\ntry: fail()\nexcept ValueError: logging.getLogger('x').exception('broken')",
}
BEFORE = f"""
from pipeline.cli.failure import install_hooks
install_hooks()
def fail(): raise ValueError(bytes.fromhex({SECRET.encode().hex()!r}).decode())
"""


@pytest.mark.parametrize("program", PROGRAMS.values(), ids=PROGRAMS)
def test_nothing_that_escapes_prints_a_value(program: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", BEFORE + program], capture_output=True, text=True, check=False, timeout=60
    )

    assert "ValueError" in done.stderr
    assert SECRET not in done.stderr
