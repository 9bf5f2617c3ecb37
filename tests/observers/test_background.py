from __future__ import annotations

import errno
import threading
from collections.abc import Sequence

import pytest

from pipeline.observers import background
from pipeline.observers.background import Background


def test_items_arrive_in_their_order_and_the_end_waits_for_them() -> None:
    seen: list[int] = []
    place = Background[int]("test", seen.extend, lambda _: None, lambda: seen.append(-1))
    for number in range(1000):
        place.put(number)
    place.end()

    assert seen == [*range(1000), -1]
    assert place.lost == 0


def test_a_place_that_takes_nothing_holds_nothing_up_in_bounded_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(background, "_PERIOD", 0.001)
    monkeypatch.setattr(background, "PATIENCE", 0.01)
    free, stuck = threading.Event(), threading.Event()

    def write(_group: Sequence[int]) -> None:
        stuck.set()
        free.wait()

    place = Background[int]("test", write, lambda _: None)
    place.put(0)
    stuck.wait()
    for number in range(25_000):
        place.put(number)
    place.end()
    lost = place.lost
    free.set()

    assert lost == 25_000, "10,000 that waited, and what there was no room for"


def test_a_full_disk_loses_lines_says_so_once_and_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(background, "_PERIOD", 0.001)
    said: list[str | None] = []
    seen: list[int] = []
    told = threading.Event()

    def write(group: Sequence[int]) -> None:
        if not seen and group[0] < 2:
            told.set()
            raise OSError(errno.ENOSPC, "No space left on device")
        seen.extend(group)

    place = Background[int]("test", write, lambda error: said.append(error.strerror))
    for number in range(3):
        told.clear()
        place.put(number)
        told.wait(0.5 if number == 2 else 10)
    place.end()

    assert (seen, place.lost, said) == ([2], 2, ["No space left on device"])
