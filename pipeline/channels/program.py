"""A program of the user's own: the event is JSON on its standard input."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import tempfile
from asyncio.subprocess import DEVNULL, Process
from collections.abc import Mapping, Sequence

from pipeline.channels.base import Undelivered
from pipeline.core.notification import Notification

_LAST_WORDS = 1.0
"""Seconds for the system to clear away a program that was killed."""


class Program:
    """Starts a program for each event, in a process group of its own and without a shell.

    What it writes goes nowhere: stdout is for data.

    Args:
        arguments: The program and its arguments.
        environ: Its variables, to which `PIPELINE_EVENT…` are added.
    """

    place = "command"

    def __init__(self, arguments: Sequence[str], environ: Mapping[str, str]) -> None:
        self._arguments = arguments
        self._environ = environ

    async def deliver(self, notification: Notification) -> None:
        try:
            process = await self._start(notification)
        except OSError as error:
            raise Undelivered(f"cannot be started ({(error.strerror or 'no reason').lower()})", again=False) from None
        try:
            exit_code = await process.wait()
        finally:
            await _clear_away(process)
        if exit_code:
            raise Undelivered(f"it ended with {exit_code}", again=False)

    async def _start(self, notification: Notification) -> Process:
        # A file and no pipe: a program that does not read it all is then no special case.
        with tempfile.TemporaryFile() as event:
            event.write(notification.as_json())
            event.seek(0)
            return await asyncio.create_subprocess_exec(
                *self._arguments,
                stdin=event,
                stdout=DEVNULL,
                stderr=DEVNULL,
                env={**self._environ, **_variables(notification)},
                start_new_session=True,
            )


async def _clear_away(process: Process) -> None:
    """Kill a program that has not ended, with all that it started."""
    if process.returncode is not None:
        return
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_LAST_WORDS):
            await process.wait()


def _variables(notification: Notification) -> dict[str, str]:
    content = notification.content
    exit_code = content["exit_code"]
    values = {
        "": notification.event,
        "_NAME": content["name"],
        "_TEXT": notification.text,
        "_EXIT_CODE": "" if exit_code is None else str(exit_code),
        "_OUTPUT": content["output"],
    }
    return {f"PIPELINE_EVENT{name}": value.replace("\0", "") for name, value in values.items()}
