"""Whether an input still is what earlier runs recorded of it."""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.errors import StateMismatch
from pipeline.storage.lines import Chunk, Page


class Replay:
    """Holds the lines of a pipe back until their chunk has proved to be the one that was recorded.

    For a file `known` is empty, and every page passes at once.
    """

    def __init__(self, name: str, known: Sequence[Chunk]) -> None:
        self._name = name
        self._known = known
        self._held: list[Page] = []
        self._checked = 0

    @property
    def holding(self) -> bool:
        return bool(self._held)

    def admit(self, page: Page) -> list[Page]:
        """Return the pages that may go on now.

        Raises:
            StateMismatch: The chunk is not the recorded one.
        """
        number, lines, digest = page.chunk.number, page.chunk.lines, page.chunk.digest
        if number >= len(self._known) or lines > self._known[number].lines:
            return [page]
        self._held.append(page)
        if lines < self._known[number].lines:
            return []
        if digest != self._known[number].digest:
            raise StateMismatch(
                f"{self._name} differs from what an earlier run read in lines "
                f"{page.chunk.first_line:,} to {page.last_line:,}: give it the same input, or another output"
            )
        self._checked += 1
        admitted, self._held = self._held, []
        return admitted

    def finish(self) -> None:
        """Raise StateMismatch where the pipe ended before all that was recorded had come."""
        if self._checked < len(self._known):
            lines = self._known[-1].last_line
            raise StateMismatch(f"{self._name} ended early: an earlier run read {lines:,} lines of it")


def changed_lines(known: Sequence[Chunk], found: Sequence[Chunk]) -> list[tuple[int, int]]:
    """Return the line ranges of the chunks of `known` that `found` does not repeat; adjacent ranges are joined."""
    ranges: list[tuple[int, int]] = []
    same = {(chunk.number, chunk.lines, chunk.digest) for chunk in found}
    for chunk in known:
        if (chunk.number, chunk.lines, chunk.digest) in same:
            continue
        first = chunk.first_line
        if ranges and ranges[-1][1] == first - 1:
            first = ranges.pop()[0]
        ranges.append((first, chunk.last_line))
    return ranges
