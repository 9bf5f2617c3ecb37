"""How far the reading of an input is: a bar where stderr is a terminal, elsewhere a line each period."""

from __future__ import annotations

import time
from contextlib import suppress
from datetime import UTC, datetime
from types import TracebackType
from typing import TYPE_CHECKING, Self

from pipeline.cli.display import on_terminal
from pipeline.cli.streams import say
from pipeline.observers.progress import duration, rate

if TYPE_CHECKING:
    from rich.live import Live

_BAR_PERIOD = 0.25
_WIDTH = 20


def reading_line(records: int, share: float | None, seconds: float) -> str:
    """Return one moment: the share of the file, records, their rate, and the time left."""
    parts = [] if share is None else [f"{int(share * 1000) / 10:.1f}%"]
    parts += [f"{records:,} records", rate(records / seconds if seconds else 0.0)]
    if share and seconds:
        parts.append(f"{duration(seconds * (1 - share) / share)} left")
    return " · ".join(parts)


class Reading:
    """Shows the progress that it hears of; a context manager.

    Args:
        period: Seconds between two lines, where there is no bar.
    """

    def __init__(self, period: float) -> None:
        self._bar = on_terminal()
        self._period = _BAR_PERIOD if self._bar else period
        self._began = self._shown = time.monotonic()
        self._live: Live | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._live is not None:
            with suppress(OSError):
                self._live.stop()

    def see(self, records: int, share: float | None) -> None:
        """Take note of how many records have been read, and of what share of the input that is."""
        now = time.monotonic()
        if now - self._shown < self._period:
            return
        self._shown = now
        line = reading_line(records, share, now - self._began)
        if self._bar:
            with suppress(OSError):
                self._draw(line, share)
        else:
            say(f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ} planning: {line}")

    def _draw(self, line: str, share: float | None) -> None:
        # rich takes a tenth of a second that only a bar is worth.
        from rich.console import Console  # noqa: PLC0415
        from rich.live import Live  # noqa: PLC0415
        from rich.progress_bar import ProgressBar  # noqa: PLC0415
        from rich.table import Table  # noqa: PLC0415

        if self._live is None:
            console = Console(stderr=True, highlight=False)
            self._live = Live(console=console, auto_refresh=False, transient=True, redirect_stdout=False)
            self._live.start()
        row = Table.grid(padding=(0, 1))
        row.add_row(ProgressBar(completed=(share or 0.0) * 100, width=_WIDTH, pulse=share is None), line)
        self._live.update(row, refresh=True)
