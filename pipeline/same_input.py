"""Whether the input still is the one that earlier runs of its output read."""

from __future__ import annotations

from typing import NamedTuple

from pipeline.errors import StateMismatch
from pipeline.events import Notice, Observer
from pipeline.storage.changes import accept_changes
from pipeline.storage.checkpoint import open_output
from pipeline.storage.file_list import read_list
from pipeline.storage.ledger import Ledger
from pipeline.storage.lines import Chunk
from pipeline.storage.source import Source
from pipeline.storage.state import Places

_SHOWN_RANGES = 10


class Known(NamedTuple):
    """An input, and what is known of it."""

    source: Source
    ledger: Ledger
    places: Places
    limit: int | None

    async def is_unchanged(self, observers: Observer, *, accept: bool) -> bool:
        """Return whether the input is the very one that was read before; where it is not, it may only have grown.

        Args:
            observers: See what is sent again.
            accept: Send the lines again that have changed.

        Raises:
            StateMismatch: Lines that were read before have changed.
        """
        if not self.source.live and self.ledger.meta.get("input") == input_mark(self.source, self.limit):
            return True
        known = [self.ledger.chunks[number] for number in sorted(self.ledger.chunks)]
        changed = await self.source.verify(known)
        if changed:
            ranges = ", ".join(f"{first}-{last}" for first, last in changed[:_SHOWN_RANGES])
            if not accept:
                raise StateMismatch(
                    f"{self.source.path} was changed since it was read: lines {ranges}; put them back, "
                    "use --accept-changes, which sends those again, or --fresh, which starts anew"
                )
            await self._accept(changed, known)
            observers.see(Notice("warning", f"{self.source.path} was changed: lines {ranges} are sent again"))
        return False

    async def _accept(self, changed: list[tuple[int, int]], known: list[Chunk]) -> None:
        open_output(self.ledger, self.places).log.close()
        accept_changes(self.ledger, self.places, changed, await self.source.rescan(known))


def input_mark(source: Source, limit: int | None) -> str:
    """Return what the ledger keeps of an input, to tell without reading whether it may have changed."""
    return repr((source.mark, limit))


def refuse_lost_list(ledger: Ledger, places: Places) -> None:
    """Refuse to read several files in an order that may not be the one in which their lines were numbered.

    Raises:
        StateMismatch: The list of the files does not reach as far as the ledger.
    """
    listed = sum(stretch.holds.lines for stretch in read_list(places.files))
    if listed < max(ledger.lines_read, ledger.done.total):
        raise StateMismatch(
            f"{places.output} was begun with another input, or {places.files}, which says in what order its files "
            "were read, is lost; put it back, choose another output, or use --fresh"
        )
