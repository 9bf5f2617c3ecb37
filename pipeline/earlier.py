"""How a run treats what earlier runs of its output left."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple


class Where(NamedTuple):
    """Which dead letters are meant: of each kind of condition that is given, one must hold. Without any: all."""

    codes: Sequence[str] = ()
    """Codes; `*` stands for any text."""
    lines: Sequence[range] = ()
    """Lines of the input, from 1."""
    ids: Sequence[str] = ()
    """custom_ids; `*` stands for any text."""

    def means(self, line: int, code: str, custom_id: str) -> bool:
        """Whether a dead letter is meant."""
        return (
            (not self.codes or any(_like(pattern, code) for pattern in self.codes))
            and (not self.lines or any(line in lines for lines in self.lines))
            and (not self.ids or any(_like(pattern, custom_id) for pattern in self.ids))
        )


def _like(pattern: str, text: str) -> bool:
    return re.fullmatch(".*".join(map(re.escape, pattern.split("*"))), text, re.DOTALL) is not None


class Earlier(NamedTuple):
    """The ordinary run carries on where the last one stopped; each of these is an exception to that."""

    fresh: bool = False
    """Begin anew. Everything of an earlier run is kept in the state directory."""
    retry: Where | None = None
    """Send these dead letters again. None: leave them all."""
    repair: bool = False
    """Rebuild the ledger from the output first."""
    accept_changes: bool = False
    """Where the input was edited, send the records of the changed stretches again."""
    allow_rebill: bool = False
    """Send records again however often their outcome stayed unknown."""


CARRY_ON = Earlier()
