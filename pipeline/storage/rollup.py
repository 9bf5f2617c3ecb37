"""What a ledger has spent, added up by run, day, model and kind."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator

from pipeline.storage.entries import Kind, Spend, SpendKey
from pipeline.types import Usage

Key = tuple[int, str, str, str, Kind]
"""A SpendKey; a plain tuple takes a third of the time to make."""
ModelMonth = tuple[str, str]
"""A month, as `2026-11`, and the model that was asked for."""


class Rollup:
    """The sums in memory, and which of them have changed.

    Args:
        rows: As the ledger's table has them.
    """

    def __init__(self, rows: Iterable[tuple[int, str, str, str, Kind, int, int, int, int, int, int, int]]) -> None:
        self._sums: dict[Key, list[int]] = {row[:5]: list(row[5:]) for row in rows}
        self._changed: set[Key] = set()
        self._before: tuple[int, Counter[ModelMonth]] | None = None

    def add(self, key: Key, usage: Usage, cost: int, requests: int) -> None:
        row = self._sums.get(key)
        if row is None:
            row = self._sums[key] = [0, 0, 0, 0, 0, 0, 0]
        row[0] += requests
        row[1] += usage.input
        row[2] += usage.output
        row[3] += usage.cached
        row[4] += usage.cache_write
        row[5] += usage.reasoning
        row[6] += cost
        self._changed.add(key)

    def take_changed(self) -> Iterator[tuple[int | str, ...]]:
        """Yield the rows that have changed since the last time, as the table has them."""
        for key in self._changed:
            yield (*key, *self._sums[key])
        self._changed.clear()

    def totals(self) -> tuple[int, int]:
        """Return what was spent, and what may have been, in nano-USD."""
        unknown = sum(row[6] for key, row in self._sums.items() if key[4] == "unknown")
        return sum(row[6] for row in self._sums.values()) - unknown, unknown

    def spends(self) -> list[Spend]:
        return [
            Spend(SpendKey(*key), row[0], Usage(row[1], row[2], row[3], row[4], row[5]), row[6])
            for key, row in list(self._sums.items())
        ]

    def by_month(self, run_no: int) -> Counter[ModelMonth]:
        """Return what was spent or may have been, by month and model; only `run_no` is still adding to it."""
        if self._before is None or self._before[0] != run_no:
            self._before = run_no, _by_month((key, row) for key, row in self._sums.items() if key[0] != run_no)
        return self._before[1] + _by_month((key, row) for key, row in self._sums.items() if key[0] == run_no)


def _by_month(rows: Iterable[tuple[Key, list[int]]]) -> Counter[ModelMonth]:
    months: Counter[ModelMonth] = Counter()
    for (_, day, asked, _, _), row in rows:
        months[day[:7], asked] += row[6]
    return months
