"""What happened when, in a fixed number of rows however long it takes: when they are full, each two become one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import ceil, floor
from typing import NamedTuple

from pipeline.types import Json

MOST_ROWS = 240
"""Enough for a chart as wide as a page; the resolution is never coarser than the 120th part of the whole."""
WIDTH = 1.0
"""Seconds of a row at first. Twice as many each time the rows are full."""

COLUMNS = ("sent", "answered", "refused", "failed", "input", "output", "items", "ok", "dead", "paused")
SENT, ANSWERED, REFUSED, FAILED, INPUT, OUTPUT, ITEMS, OK, DEAD, PAUSED = range(len(COLUMNS))
"""Attempts sent, answered, refused by a limit and failed otherwise; tokens; records sent, with a result and without;
seconds for which the endpoint was paused."""

_WIDTHS = frozenset(WIDTH * 2**merges for merges in range(40))

Row = list[float]


class Step(NamedTuple):
    """What happened from one moment to another, by column."""

    start: float
    end: float
    sums: Sequence[float]

    def per_minute(self, *columns: int) -> float:
        """Return the sum of some columns, as a rate."""
        return sum(self.sums[column] for column in columns) * 60 / (self.end - self.start)


class Timeline:
    """Sums by time. Moments are seconds since its start.

    Attributes:
        width: Seconds of a row: `WIDTH` times a power of 2.
        rows: The sums of each, by column.
        seconds: How far it reaches.
    """

    __slots__ = ("rows", "seconds", "width")

    def __init__(self) -> None:
        self.width = WIDTH
        self.rows: list[Row] = []
        self.seconds = 0.0

    def row(self, at: float) -> Row:
        """Return the row of a moment, to be added to at once: it may be another's part after the next call."""
        try:
            return self.rows[int(at / self.width)]
        except IndexError:
            return self._new_row(at)

    def reach(self, at: float) -> None:
        """Let it reach to a moment at which nothing needs to have happened."""
        self.row(at)
        self.seconds = max(self.seconds, at)

    def spread(self, column: int, start: float, end: float) -> None:
        """Add the seconds from `start` to `end`, each to the row that it lies in."""
        self.reach(end)
        for number in range(int(start / self.width), int(end / self.width) + 1):
            within = min(end, (number + 1) * self.width) - max(start, number * self.width)
            self.rows[number][column] += max(0.0, within)

    def total(self, column: int) -> float:
        """Return the sum of a column."""
        return sum(row[column] for row in self.rows)

    def extend(self, later: Timeline) -> float:
        """Let `later` follow, from the next row on, and return the moment at which it begins here."""
        while self.width < later.width:
            self._merge_pairs()
        begins = max(len(self.rows), ceil(self.seconds / self.width)) * self.width
        # A row of `later` lies within one of ours, also where ours become wider on the way: all are powers of 2.
        for number, row in enumerate(later.rows):
            mine = self.row(begins + number * later.width)
            for column, amount in enumerate(row):
                mine[column] += amount
        self.seconds = begins + later.seconds
        return begins

    def steps(self, most: int, shortest: float) -> list[Step]:
        """Return the time in at most `most` parts, each of at least `shortest` seconds or a twelfth of the whole."""
        rows = len(self.rows)
        shortest = min(shortest, self.seconds / 12)
        together = max(1, ceil(rows / most), ceil(shortest / self.width))
        length = together * self.width
        # What is left at the end is a part of its own only where it is long enough for a rate.
        parts = max(1, floor(self.seconds / length + 0.5))
        return [
            self._step(part * together, (part + 1) * together if part + 1 < parts else rows) for part in range(parts)
        ]

    def _step(self, first: int, beyond: int) -> Step:
        sums = tuple(map(sum, zip(*self.rows[first:beyond], strict=True)))
        return Step(first * self.width, min(beyond * self.width, max(self.seconds, WIDTH)), sums or (0,) * len(COLUMNS))

    def as_dict(self) -> dict[str, Json]:
        """Return what `of` reads."""
        columns = {name: [_short(row[column]) for row in self.rows] for column, name in enumerate(COLUMNS)}
        return {"width": self.width, "seconds": round(self.seconds, 3), "columns": columns}

    @classmethod
    def of(cls, data: Mapping[str, Json]) -> Timeline:
        """Return the timeline that `as_dict` described.

        Raises:
            KeyError, TypeError, ValueError: Something else is described.
        """
        read = cls()
        read.width, read.seconds = float(data["width"]), float(data["seconds"])
        columns = [[_number(value) for value in data["columns"][name]] for name in COLUMNS]
        read.rows = [list(row) for row in zip(*columns, strict=True)]
        if read.width not in _WIDTHS or not 0 <= read.seconds < read.width * MOST_ROWS or len(read.rows) > MOST_ROWS:
            raise ValueError("a timeline has one of its widths, and no more rows than it may")
        return read

    def _new_row(self, at: float) -> Row:
        while at >= self.width * MOST_ROWS:
            self._merge_pairs()
        number = int(at / self.width)
        self.rows += [[0] * len(COLUMNS) for _ in range(number + 1 - len(self.rows))]
        return self.rows[number]

    def _merge_pairs(self) -> None:
        self.width *= 2
        if len(self.rows) % 2:
            self.rows.append([0] * len(COLUMNS))
        pairs = zip(self.rows[::2], self.rows[1::2], strict=True)
        self.rows = [[one + other for one, other in zip(*pair, strict=True)] for pair in pairs]


def _short(amount: float) -> float:
    return amount if isinstance(amount, int) else round(amount, 3)


def _number(value: Json) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise TypeError("a timeline holds numbers")
    return value
