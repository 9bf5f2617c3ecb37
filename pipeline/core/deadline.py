"""How a run ends by its deadline. Pure."""

from __future__ import annotations


def drain_within(left: float, drain: float) -> float:
    """Return how many of the last seconds before a deadline belong to what is in flight: nothing is sent in them.

    Args:
        left: Seconds until the deadline.
        drain: Seconds that what is in flight may take; never more than half of what is left.
    """
    return min(drain, left / 2)
