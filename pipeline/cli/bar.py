"""The progress bar: two lines at the foot of the terminal, by rich."""

from __future__ import annotations

from typing import TextIO

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from pipeline.observers.progress import Pace, details, headline, share
from pipeline.observers.snapshot import Snapshot

_WIDTH = 20
_COLOUR = "cyan"


class Bar:
    """A Screen that keeps the bar below the lines that stay. `NO_COLOR` is respected."""

    def __init__(self, stream: TextIO) -> None:
        self._console = Console(file=stream, force_terminal=True, highlight=False, soft_wrap=True)
        self._live = Live(console=self._console, auto_refresh=False, transient=True, redirect_stdout=False)
        self._pace = Pace()

    def show(self, snapshot: Snapshot) -> None:
        if not self._live.is_started:
            self._live.start()
            # A process that is killed could not show the cursor again.
            self._console.show_cursor()
        self._live.update(_picture(snapshot, self._pace.see(snapshot)), refresh=True)

    def say(self, line: str) -> None:
        self._console.print(Text(line), soft_wrap=True)

    def close(self) -> None:
        self._live.stop()


def _picture(snapshot: Snapshot, per_second: float) -> Group:
    done = share(snapshot)
    # Without a known length there is nothing to fill: the bar pulses.
    bar = ProgressBar(
        completed=(done or 0.0) * 100, width=_WIDTH, pulse=done is None, complete_style=_COLOUR, pulse_style=_COLOUR
    )
    first = Table.grid(padding=(0, 1))
    first.add_row(bar, _cropped(" · ".join(headline(snapshot, per_second)), "bold"))
    return Group(first, _cropped(" · ".join(details(snapshot)), "yellow" if snapshot.paused else "dim"))


def _cropped(text: str, style: str) -> Text:
    return Text(text, style=style, no_wrap=True, overflow="ellipsis")
