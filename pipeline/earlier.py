"""How a run treats what earlier runs of its output left."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple


class Earlier(NamedTuple):
    """The ordinary run carries on where the last one stopped; each of these is an exception to that."""

    fresh: bool = False
    """Begin anew. Everything of an earlier run is kept in the state directory."""
    retry: Sequence[str] | None = None
    """Send dead letters again: those with these codes, or all where there are none. None: leave them."""
    repair: bool = False
    """Rebuild the ledger from the output first."""
    accept_changes: bool = False
    """Where the input was edited, send the records of the changed stretches again."""
    allow_rebill: bool = False
    """Send records again however often their outcome stayed unknown."""


CARRY_ON = Earlier()
