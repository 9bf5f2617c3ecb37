"""An input that was edited: the records of the changed stretches are sent again (`--accept-changes`)."""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.storage.ledger import Ledger
from pipeline.storage.lines import Chunk
from pipeline.storage.rewrite import complete_rewrite, write_draft
from pipeline.storage.state import Places


def accept_changes(ledger: Ledger, places: Places, changed: Sequence[tuple[int, int]], chunks: Sequence[Chunk]) -> None:
    """Forget what became of the lines in `changed`. Their old answers are kept in the state directory.

    Args:
        ledger: The open ledger, recovered; its output is in OUT.partial, closed.
        places: Where everything lies.
        changed: First and last line of each changed stretch.
        chunks: The input's chunks as they are today.

    Raises:
        StorageFailed: The disk refused.
    """

    def unchanged(line: int) -> bool:
        return not any(first <= line <= last for first, last in changed)

    draft = write_draft(places, places.partial, lambda identity, _: unchanged(identity.line))
    with ledger.transaction():
        for first, last in changed:
            ledger.forget(first, last)
        ledger.replace_chunks(chunks)
        ledger.out_off, ledger.tail = draft.size, draft.tail
        ledger.set_meta(phase="rewriting")
    complete_rewrite(ledger, places)
