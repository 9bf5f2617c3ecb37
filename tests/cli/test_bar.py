from __future__ import annotations

import io
import re

import pytest

from pipeline.cli.bar import Bar
from tests.observers.snapshots import HALFWAY, START

ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


@pytest.fixture(autouse=True)
def _terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)


def drawn() -> str:
    stream = io.StringIO()
    bar = Bar(stream)
    bar.show(HALFWAY)
    bar.say("warning: [not markup] " + "long " * 30)
    bar.show(HALFWAY._replace(total=None))
    bar.close()
    bar.say("the end")
    return stream.getvalue()


def test_the_bar_says_how_far_the_run_is() -> None:
    assert "50.0% · 500/1,000 records" in ESCAPES.sub("", drawn())


def test_the_bar_says_what_it_will_have_cost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "160")
    stream = io.StringIO()
    bar = Bar(stream)
    bar.show(HALFWAY._replace(spent_nusd=1_230_000_000, projected_nusd=4_100_000_000))
    bar.close()

    assert "$1.23 of $5.00, about $4.10 in the end" in ESCAPES.sub("", stream.getvalue())


def test_a_line_that_stays_is_neither_wrapped_nor_read_as_markup() -> None:
    assert "warning: [not markup] " + "long " * 30 in ESCAPES.sub("", drawn())


def test_no_drawn_line_is_wider_than_the_terminal() -> None:
    lines = [line for line in re.split(r"[\r\n]+", ESCAPES.sub("", drawn())) if "·" in line]

    assert lines
    assert max(map(len, lines)) <= 60


def test_the_bar_leaves_the_cursor_as_it_was() -> None:
    assert drawn().rfind("\x1b[?25h") > drawn().rfind("\x1b[?25l")


def test_no_color_means_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")

    assert not re.search(r"\x1b\[(38|3\d)[;m]", drawn())


def test_a_bar_that_was_never_shown_closes_too() -> None:
    stream = io.StringIO()
    Bar(stream).close()

    assert ESCAPES.sub("", stream.getvalue()).strip() == ""


def test_a_bar_at_the_start_is_empty() -> None:
    stream = io.StringIO()
    bar = Bar(stream)
    bar.show(START)
    bar.close()

    assert "0.0% · 0/1,000 records" in ESCAPES.sub("", stream.getvalue())
