"""Runs and plans from a program."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable
from functools import partial
from typing import Unpack

from pipeline import planning
from pipeline.api.background import Background
from pipeline.api.configs import ConfigLike, Keys, load
from pipeline.earlier import CARRY_ON, Earlier
from pipeline.errors import Locked, StateMismatch, UsageError
from pipeline.observers.summary import Summary
from pipeline.planning import Plan
from pipeline.runner import Run

_REFUSED = (UsageError, StateMismatch, Locked)


def run(config: ConfigLike | None = None, /, *, earlier: Earlier = CARRY_ON, **keys: Unpack[Keys]) -> Summary:
    """Run a config and return how that went. The same call again carries on where it stopped.

    It works in scripts and, beside the loop that runs there already, in notebooks. Ctrl-C lets what is in flight come
    back and commits it before KeyboardInterrupt is raised; a second one does not wait.

    Args:
        config: As for `load`.
        earlier: How what earlier runs left is treated.
        keys: As for `load`.

    Raises:
        UsageError, StateMismatch, Locked: The run was refused; nothing was sent. What stops a run that has begun, such
            as its budget, is in the summary: `raise_for_state` raises it.
    """
    execution = Run(load(config, **keys), earlier)
    return begun(Background(execution.execute(), partial(execution.interrupt, signal.SIGINT)).result())


async def arun(config: ConfigLike | None = None, /, *, earlier: Earlier = CARRY_ON, **keys: Unpack[Keys]) -> Summary:
    """Run a config on the running event loop; otherwise as `run`.

    A task that is cancelled meanwhile drains and commits as `run` does at Ctrl-C, and is cancelled then.
    """
    execution = Run(load(config, **keys), earlier)
    task = asyncio.create_task(execution.execute())
    return begun(await to_the_end(task, partial(execution.interrupt, signal.SIGINT)))


def plan(config: ConfigLike | None = None, /, **keys: Unpack[Keys]) -> Plan:
    """Return what running a config would send and cost. Reads the whole input and sends nothing.

    Raises:
        UsageError: The config or its input is refused.
    """
    return Background(planning.plan(load(config, **keys))).result()


async def aplan(config: ConfigLike | None = None, /, **keys: Unpack[Keys]) -> Plan:
    """As `plan`, on the running event loop."""
    return await planning.plan(load(config, **keys))


def begun(summary: Summary) -> Summary:
    """Return the summary of a run that had begun. Raises what refused it, where that is so."""
    if isinstance(summary.stopped, _REFUSED):
        raise summary.stopped
    return summary


async def to_the_end(task: asyncio.Task[Summary], stop: Callable[[], object]) -> Summary:
    """Wait for a run that goes on in `task`. A cancellation asks it to stop, and is raised when it has ended."""
    cancelled: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.wait([task])
        except asyncio.CancelledError as error:
            cancelled = error
            stop()
    if cancelled is not None:
        raise cancelled
    return task.result()
