"""What is known of the runs of an output, read from its state directory alone."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from typing import NamedTuple

from pipeline.errors import StateMismatch, UsageError
from pipeline.observers.look import Seen, look
from pipeline.observers.recorded import Recorded, read_history
from pipeline.storage.state import Places


class Facts(NamedTuple):
    """The state of an output and its history."""

    seen: Seen
    recorded: Recorded | None
    """None where nothing was ever sent, or the record is damaged."""
    at: datetime
    """When this was read, in UTC."""


def gather_facts(places: Places) -> Facts:
    """Read the state of an output, whoever runs it.

    Raises:
        UsageError: No run has begun.
        StateMismatch: The status file is none.
    """
    seen = look(places)
    if seen.summary is None:
        what = f"is just starting ({seen.holder})" if seen.holder else "has not begun"
        raise UsageError(f"{os.fspath(places.output)}: its first run {what}; there is nothing to report yet")
    try:
        recorded = read_history(places.history)
    except StateMismatch:
        recorded = None
    return Facts(seen, recorded, datetime.now(UTC))
