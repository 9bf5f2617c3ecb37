"""What the rest of a run will cost, from what its settled share has cost."""

from __future__ import annotations

_LEAST_SHARE = 0.01
_LEAST_RECORDS = 20
"""Fewer say little of the rest: they may all have come in one request."""


def projected(spent: int, unknown: int, settled: int, share: float | None) -> int | None:
    """Return the nano-USD that will have been spent at the end; None until enough is settled to say.

    Args:
        spent: What the settled records cost; the rest is taken to cost as much a record.
        unknown: What lost answers may have cost. It is added as it is: losing answers is no habit.
        settled: Records with a result or a dead letter.
        share: How much of the input they are, from 0 to 1; None where nobody knows.
    """
    if share is None or (share < 1 and (settled < _LEAST_RECORDS or share < _LEAST_SHARE)):
        return None
    return round(spent / share) + unknown


def expected(spent: int, settled: int, left: int) -> int | None:
    """Return the nano-USD that `left` records cost at the average of the settled ones; None where these say little."""
    return spent * left // settled if spent and settled >= _LEAST_RECORDS else None
