"""Which records share a request."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

from pipeline.types import Item

Batch = tuple[Item, ...]

OPEN_GROUPS = 64
"""Groups that are filled at the same time; beyond it the one that waited longest for an item is closed."""


class Packer:
    """Packs a stream of items into batches, in order within each group.

    Args:
        max_items: The most items in a batch.
        max_tokens: The most input and output tokens in a batch; an item above it goes alone.
    """

    __slots__ = ("_held", "_max_items", "_max_tokens", "_open")

    def __init__(self, max_items: int, max_tokens: int) -> None:
        self._max_items = max_items
        self._max_tokens = max_tokens
        self._open: dict[Hashable, tuple[list[Item], int]] = {}
        self._held = 0

    def __len__(self) -> int:
        """Items in batches that are not finished."""
        return self._held

    def add(self, item: Item) -> list[Batch]:
        """Add `item` and return the batches that are finished, which often are none."""
        size = item.input_tokens + (item.output_tokens or 0)
        items, tokens = self._open.pop(item.group) if item.group in self._open else ([], 0)
        tokens += size
        finished: list[Batch] = []
        if items and tokens > self._max_tokens:
            finished.append(self._finish(items))
            items, tokens = [], size
        items.append(item)
        self._held += 1
        if len(items) >= self._max_items or tokens >= self._max_tokens:
            finished.append(self._finish(items))
        else:
            self._open[item.group] = (items, tokens)
            if len(self._open) > OPEN_GROUPS:
                finished.append(self._finish(self._open.pop(next(iter(self._open)))[0]))
        return finished

    def flush(self) -> list[Batch]:
        """Return all that is left, unfinished batches included, the group that waited longest first."""
        batches = [tuple(items) for items, _ in self._open.values()]
        self._open.clear()
        self._held = 0
        return batches

    def _finish(self, items: list[Item]) -> Batch:
        self._held -= len(items)
        return tuple(items)


def halve(items: Sequence[Item]) -> tuple[Batch, Batch]:
    """Return the two halves of a batch that was rejected as a whole.

    Raises:
        ValueError: There are fewer than two items: nothing is left to halve.
    """
    if len(items) < 2:
        raise ValueError("a batch of one item cannot be halved")
    middle = len(items) // 2
    return tuple(items[:middle]), tuple(items[middle:])
