"""What a run says while it runs. One thread writes it, so that a terminal that stalls never stalls the run."""

from __future__ import annotations

import contextlib
import os
import queue
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal, Self, TextIO

from pipeline.observers.log import Level, progress_json
from pipeline.observers.progress import Lines, Pace, Screen, progress_line
from pipeline.observers.snapshot import Snapshot

_MOST_WAITING = 1000
_PATIENCE = 2.0
"""Seconds that the end of a run waits for a terminal that takes nothing."""
_BAR_PERIOD = 0.25
_UNSHOWN = (OSError, ValueError)
"""The reader is gone, the disk full or the stream closed: a line is lost and nothing else."""
_LEAST: tuple[Level, ...] = ("info", "debug", "trace")


@dataclass(frozen=True, slots=True)
class Shown:
    """What is shown of a run."""

    quiet: bool = False
    verbose: int = 0
    as_json: bool = False
    """The summary is wanted as JSON."""
    period: float = 30.0
    """Seconds between two lines of progress, where there is no bar."""
    style: Literal["text", "json"] = "text"
    stamped: bool = False
    """Whether every line begins with the time."""

    @property
    def least(self) -> Level:
        """The lowest level that is logged."""
        return "error" if self.quiet else _LEAST[min(self.verbose, 2)]

    @property
    def bar(self) -> bool:
        """Whether there is a bar."""
        return self.style == "text" and not self.quiet and on_terminal()


class Display:
    """Takes snapshots and lines from the run and hands them to a screen; drops what there is no room for.

    Args:
        screen: Where they go.
        period: Seconds from one snapshot to the next; None where none is wanted.
        line: Makes a line of a snapshot.

    Attributes:
        lost: How many could not be shown.
    """

    def __init__(
        self, screen: Screen, period: float | None, line: Callable[[Snapshot, float], str] = progress_line
    ) -> None:
        self.period = period
        self.lost = 0
        self._line, self._pace = line, Pace()
        self._screen = screen
        self._waiting: queue.Queue[Snapshot | str | None] = queue.Queue(_MOST_WAITING)
        self._last: tuple[str, ...] = ()
        self._thread = threading.Thread(target=self._write, name="display", daemon=True)
        self._thread.start()

    @classmethod
    def on_stderr(cls, shown: Shown) -> Self:
        """Return a bar where stderr is a terminal, else lines."""
        if shown.bar:
            from pipeline.cli.bar import Bar  # noqa: PLC0415 - rich takes a tenth of a second that only a bar is worth

            return cls(Bar(_stderr()), _BAR_PERIOD)
        line = _line_json if shown.style == "json" else _line_text
        return cls(Lines(_stderr(), line), None if shown.quiet else shown.period, line)

    def show(self, snapshot: Snapshot) -> None:
        """Show how far the run is."""
        self._put(snapshot)

    def tell(self, snapshot: Snapshot) -> None:
        """Say how far the run is in a line that stays."""
        self._put(self._line(snapshot, self._pace.see(snapshot)))

    def say(self, line: str) -> None:
        """Write a line that stays."""
        self._put(line)

    def close(self, *last: str) -> None:
        """Write what is waiting, leave the terminal as it was, and write the last lines."""
        self._last = last
        with contextlib.suppress(queue.Full):
            self._waiting.put(None, timeout=_PATIENCE)
        self._thread.join(_PATIENCE)

    def _put(self, what: Snapshot | str) -> None:
        try:
            self._waiting.put_nowait(what)
        except queue.Full:
            self.lost += 1

    def _write(self) -> None:
        while (what := self._waiting.get()) is not None:
            self._write_one(what)
        with contextlib.suppress(*_UNSHOWN):
            self._screen.close()
        for line in self._last:
            self._write_one(line)

    def _write_one(self, what: Snapshot | str) -> None:
        try:
            if isinstance(what, Snapshot):
                self._screen.show(what)
            else:
                self._screen.say(what)
        except _UNSHOWN:
            self.lost += 1


def on_terminal() -> bool:
    """Whether stderr is a terminal that can show a bar."""
    return sys.stderr is not None and sys.stderr.isatty() and os.environ.get("TERM") != "dumb"


def _stderr() -> TextIO:
    """Return a stream to stderr that shares no lock with `sys.stderr`: a writer stuck in it cannot hold up the exit."""
    return open(2, "w", buffering=1, encoding="utf-8", errors="backslashreplace", closefd=False)


def _line_text(snapshot: Snapshot, per_second: float) -> str:
    return f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ} {progress_line(snapshot, per_second)}"


def _line_json(snapshot: Snapshot, per_second: float) -> str:
    return progress_json(datetime.now(UTC), snapshot, per_second)
