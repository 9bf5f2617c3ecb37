from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

import orjson
import pytest

from pipeline.channels.base import Undelivered
from pipeline.channels.deliveries import deliver
from pipeline.channels.program import Program
from tests.channels.events import told
from tests.channels.lingering import COMMAND, has_ended
from tests.faults.case import wait_until

KEEP = "import os, sys, json; json.dump([dict(os.environ), sys.stdin.read(), sys.argv[1:]], open('seen.json', 'w'))"


def program(code: str, *arguments: str, **environ: str) -> Program:
    return Program([sys.executable, "-c", code, *arguments], {"PATH": os.environ["PATH"], **environ})


async def test_the_event_is_on_standard_input_and_its_gist_in_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    event = told(exit_code=4, state="stopped", message="the budget\n$(id)")
    await program(KEEP, "$HOME; `id` {{ name }}", OWN="1").deliver(event)
    environ, stdin, arguments = orjson.loads((tmp_path / "seen.json").read_bytes())

    assert orjson.loads(stdin) == event.content
    assert arguments == ["$HOME; `id` {{ name }}"], "there is no shell, and nothing is filled in"
    assert environ["OWN"] == "1"
    assert {name: value for name, value in environ.items() if name.startswith("PIPELINE")} == {
        "PIPELINE_EVENT": "complete",
        "PIPELINE_EVENT_NAME": "tickets",
        "PIPELINE_EVENT_TEXT": event.text,
        "PIPELINE_EVENT_EXIT_CODE": "4",
        "PIPELINE_EVENT_OUTPUT": "out/t.jsonl",
    }


async def test_what_it_writes_goes_nowhere(capfd: pytest.CaptureFixture[str]) -> None:
    await program("import sys; print('out'); print('err', file=sys.stderr)").deliver(told())

    assert capfd.readouterr() == ("", "")


async def test_a_program_that_reads_nothing_is_fine() -> None:
    assert await deliver(lambda: program("").deliver(told()), 30) is None


@pytest.mark.parametrize(
    ("code", "reason"),
    [("raise SystemExit(7)", "it ended with 7"), ("import os; os.kill(os.getpid(), 9)", "it ended with -9")],
)
async def test_a_program_that_fails_is_named_by_its_exit_code(code: str, reason: str) -> None:
    with pytest.raises(Undelivered) as caught:
        await program(code).deliver(told())

    assert (str(caught.value), caught.value.again) == (reason, False)


async def test_a_program_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(Undelivered) as caught:
        await Program([str(tmp_path / "absent")], {}).deliver(told())

    assert str(caught.value) == "cannot be started (no such file or directory)"


@pytest.mark.parametrize("how", ["its time is over", "nobody waits any more"])
async def test_a_program_that_hangs_is_ended_with_all_that_it_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    monkeypatch.chdir(tmp_path)
    seconds = 1.0 if how == "its time is over" else 60.0
    delivery = asyncio.create_task(deliver(lambda: Program(COMMAND, {}).deliver(told()), seconds))
    await asyncio.to_thread(wait_until, (tmp_path / "pids").exists)
    pids = (tmp_path / "pids").read_text().split()
    if how == "nobody waits any more":
        delivery.cancel()
        with pytest.raises(asyncio.CancelledError):
            await delivery
    else:
        assert str(await delivery) == "not done within 1 s"

    await asyncio.to_thread(wait_until, lambda: all(map(has_ended, pids)))
