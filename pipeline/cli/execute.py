"""Runs a config and shows how it goes and how it ended."""

from __future__ import annotations

import asyncio
import gc
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING

from pipeline.cli.confirm import confirm
from pipeline.cli.display import Display, Shown, on_terminal
from pipeline.cli.signals import signals_to
from pipeline.cli.streams import STDOUT, say, wants_stdout
from pipeline.cli.summary import summary_block, summary_line, was_refused
from pipeline.earlier import CARRY_ON, Earlier
from pipeline.errors import Locked, ReaderGone
from pipeline.events import AttemptEnded
from pipeline.loop import run_loop
from pipeline.observers.log import Log, summary_json
from pipeline.observers.outcome import headline, nothing_to_do
from pipeline.observers.progress import Trouble
from pipeline.secret import redact_patterns
from pipeline.types import Json

if TYPE_CHECKING:
    from pipeline.config import Loaded
    from pipeline.runner import Run


@dataclass(frozen=True, slots=True)
class Execution:
    """What is run, and how."""

    loaded: Loaded
    shown: Shown
    commands: Mapping[str, str]
    """What to type to `run` the rest and to `retry` the dead letters."""
    earlier: Earlier = CARRY_ON
    ask: bool = False
    """Ask before what cannot be taken back: paying anew, or more than the config says."""


def execute(execution: Execution) -> int:
    """Run to the end, or to what stops it, and return the exit code."""
    to_stdout = wants_stdout(execution.loaded.config.output.path)
    if execution.ask:
        confirm(execution.loaded, execution.earlier)
    summary = run_loop(watched(execution))
    gc.freeze()  # what the run leaves is not looked through either as the process ends
    if execution.shown.as_json:
        say(json.dumps(summary), err=to_stdout)
    code: int = summary["exit_code"]
    return code


async def watched(execution: Execution) -> Json:
    """Run, show how it goes and how it ended on stderr, and return the summary as it is published."""
    # The runner brings aiohttp and more: a third of a second that --help need not wait for.
    from pipeline.runner import Run  # noqa: PLC0415

    gc.freeze()  # what is loaded stays: it need not be looked through again and again
    shown = execution.shown
    run = Run(execution.loaded, execution.earlier, stdout=STDOUT)
    display = Display.on_stderr(shown)
    log = Log(display.say, _now, least=shown.least, style=shown.style, stamped=shown.stamped or not on_terminal())
    run.observers.add(log, *log.kinds)
    run.observers.add(trouble := Trouble(), AttemptEnded)
    showing = asyncio.create_task(_show(run, display, trouble))
    last: list[str] = []
    try:
        with signals_to(run, _silent if shown.quiet else display.say, partial(_tell, run, display, trouble)):
            summary: Json = (await run.execute()).as_dict()
        if display.lost:
            summary["notices"] = [*summary["notices"], f"{display.lost} lines of the log could not be written"]
        last = last_words(summary, execution.commands, shown, block=shown.bar)
        return summary
    finally:
        showing.cancel()
        display.close(*last)


def _tell(run: Run, display: Display, trouble: Trouble) -> None:
    """Say how the run stands, on stderr and in its log."""
    display.tell(trouble.noted(run.snapshot()))
    run.log_progress()


async def _show(run: Run, display: Display, trouble: Trouble) -> None:
    while display.period is not None:
        await asyncio.sleep(display.period)
        display.show(trouble.noted(run.snapshot()))


def last_words(summary: Json, commands: Mapping[str, str], shown: Shown, *, block: bool) -> list[str]:
    """Return how it ended: a block for people, else one line; nothing where nothing was done or nobody asked."""
    if shown.style == "json":
        return [summary_json(summary)]
    if summary["exit_code"] == ReaderGone.exit_code:
        return []  # it had enough, as `head` does: no tool says more about that than its exit code
    stamp = f"{datetime.fromisoformat(summary['ended_at']):%Y-%m-%dT%H:%M:%SZ} " if shown.stamped else ""
    return [stamp + text for text in _last_texts(summary, commands, shown, block=block)]


def _last_texts(summary: Json, commands: Mapping[str, str], shown: Shown, *, block: bool) -> list[str]:
    code = summary["exit_code"]
    if was_refused(summary):
        # That another run is at it is no news to a scheduler, which asks for silence.
        return [] if shown.quiet and code == Locked.exit_code else [f"pipeline: {redact_patterns(summary['message'])}"]
    if shown.quiet or shown.as_json:
        return [] if code == 0 else [f"pipeline: {headline(summary)}"]
    if block:
        return [summary_block(summary, commands)]
    return [] if nothing_to_do(summary) and code == 0 else [summary_line(summary, commands)]


def _silent(_line: str) -> None:
    """Nobody wants to hear it."""


def _now() -> datetime:
    return datetime.now(UTC)
