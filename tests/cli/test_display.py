from __future__ import annotations

import sys
import threading

import pytest

from pipeline.cli import display
from pipeline.cli.display import Display, Shown
from pipeline.observers.snapshot import Snapshot
from tests.observers.snapshots import HALFWAY, START


class Screen:
    """Keeps what it is shown; may be stuck, or broken."""

    def __init__(self, *, stuck: bool = False, broken: bool = False) -> None:
        self.seen: list[Snapshot | str] = []
        self.free = threading.Event()
        self._broken = broken
        if not stuck:
            self.free.set()

    def show(self, snapshot: Snapshot) -> None:
        self.seen.append(snapshot)

    def say(self, line: str) -> None:
        self.free.wait()
        self.seen.append(line)
        if self._broken:
            raise BrokenPipeError

    def close(self) -> None:
        self.seen.append("closed")


def test_lines_and_snapshots_keep_their_order_and_the_last_words_come_last() -> None:
    screen = Screen()
    shown = Display(screen, None)
    shown.show(START)
    shown.say("one")
    shown.show(HALFWAY)
    shown.close("the end")

    assert screen.seen == [START, "one", HALFWAY, "closed", "the end"]


def test_a_broken_screen_loses_lines_and_nothing_else() -> None:
    screen = Screen(broken=True)
    shown = Display(screen, None)
    shown.say("one")
    shown.close("the end")

    assert screen.seen == ["one", "closed", "the end"]


def test_a_stuck_screen_holds_up_neither_the_run_nor_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(display, "_PATIENCE", 0.01)
    screen = Screen(stuck=True)
    shown = Display(screen, None)
    for number in range(5000):
        shown.say(str(number))
    shown.close("the end")

    assert screen.seen == []
    screen.free.set()


@pytest.mark.parametrize(
    ("streams", "terminal", "bar"), [(True, True, False), (True, False, True), (False, True, True)]
)
def test_results_on_a_terminal_take_the_place_of_the_bar(
    streams: bool, terminal: bool, bar: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(display, "on_terminal", lambda: True)
    monkeypatch.setattr(sys.stdout, "isatty", lambda: terminal)

    assert Shown(streams=streams).bar is bar


@pytest.mark.parametrize(
    ("shown", "least"),
    [
        (Shown(), "info"),
        (Shown(verbose=1), "debug"),
        (Shown(verbose=7), "trace"),
        (Shown(quiet=True, verbose=1), "error"),
    ],
)
def test_what_is_logged_follows_from_the_flags(shown: Shown, least: str) -> None:
    assert shown.least == least
