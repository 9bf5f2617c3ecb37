"""Work on an event loop of its own in a thread of its own: the same in a script, a notebook and a thread.

Signals need no handler there: Python delivers them to the main thread, where they interrupt the wait for the work. What
interrupts the wait, be it Ctrl-C or whatever a handler raises, lets the work come to an orderly end first.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future, wait
from typing import Any, Generic, TypeVar

from pipeline.loop import run_loop

_T = TypeVar("_T")
_PATIENCE = 2
"""How often the wait may be interrupted until the work is left to itself."""


class Background(Generic[_T]):
    """Work that goes on in a thread; it begins at once.

    Args:
        work: What is to be done.
        stop: Asks it for its end, on its own loop; the second time, for an end at once. By default it is cancelled.
    """

    def __init__(self, work: Coroutine[Any, Any, _T], stop: Callable[[], object] | None = None) -> None:
        self._work, self._stop = work, stop
        self._result: Future[_T] = Future()
        self._task: Future[asyncio.Task[_T]] = Future()
        # A daemon: a work that was left to itself must not keep the process alive.
        threading.Thread(target=self._run, name="pipeline", daemon=True).start()

    def stop(self) -> None:
        """Ask it for its end and return at once."""
        with contextlib.suppress(RuntimeError):  # its loop is closed: it has ended
            task = self._task.result()
            task.get_loop().call_soon_threadsafe(self._stop or task.cancel)

    def result(self) -> _T:
        """Wait for the end. What interrupts the wait is raised when that has come, or once it interrupts too often."""
        interruptions: list[BaseException] = []
        while not self._result.done() and len(interruptions) <= _PATIENCE:
            try:
                wait([self._result])  # a `join` that a signal interrupts takes the thread for ended
            except BaseException as error:  # noqa: BLE001 - of a signal, so anything; raised below
                interruptions.append(error)
                self.stop()
        if interruptions:
            raise interruptions[0]
        return self._result.result()

    def _run(self) -> None:
        try:
            self._result.set_result(run_loop(self._on_loop()))
        except BaseException as error:  # noqa: BLE001 - the thread's boundary: raised where its result is asked for
            self._result.set_exception(error)

    async def _on_loop(self) -> _T:
        task = asyncio.create_task(self._work)
        self._task.set_result(task)
        return await task
