"""The signals that end a command."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Callable, Iterator
from typing import Protocol

from pipeline.cli.process import ignore_questions

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interruptible(Protocol):
    """What a signal ends."""

    def interrupt(self, signal_number: int) -> None:
        """The first call drains, the second ends at once."""


@contextlib.contextmanager
def signals_to(run: Interruptible, say: Callable[[str], None], tell: Callable[[], None]) -> Iterator[None]:
    """Hand SIGINT, SIGTERM and SIGHUP (as SIGTERM) to `run`; the third one ends the process on the spot.

    One of them that was ignored when the process started (nohup, a background job) stays ignored. SIGUSR1 asks how the
    run stands, and is ignored before and after.

    Args:
        run: What a signal ends.
        say: Tells the user that the first one was heard.
        tell: Says how the run stands.
    """
    loop = asyncio.get_running_loop()
    received: list[int] = []

    def receive(number: int) -> None:
        received.append(number)
        if len(received) > 2:
            os._exit(128 + number)
        if len(received) == 1:
            say("pipeline: stopping; what is in flight may still come back. Once more, and it may not.")
        run.interrupt(signal.SIGTERM if number == signal.SIGHUP else number)

    heeded = [number for number in _SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]
    for number in heeded:
        loop.add_signal_handler(number, receive, number)
    loop.add_signal_handler(signal.SIGUSR1, tell)
    try:
        yield
    finally:
        for number in heeded:
            loop.remove_signal_handler(number)
        loop.remove_signal_handler(signal.SIGUSR1)
        ignore_questions()
