"""Whose turn it is among the runs that share a lane: whoever has had least of it, of those that wait.

What a run has had is counted in seconds' worth of the limit, so that large requests and small ones weigh what they
cost. A run that does not wait holds nobody up, and one that had little for a while may catch up only so far.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

LEAD = 0.05
"""Seconds' worth by which a run may be ahead of another that waits: neither must see the other's every step."""
CREDIT = 5.0
"""Seconds' worth that a run may catch up at most."""
PATIENCE = 0.25
"""Seconds for which a run that waits is believed to do so: less than a bucket holds, so that nothing is lost by it."""


class Member(NamedTuple):
    """What the other runs know of one."""

    had: float
    """Seconds' worth of the limit that it has had."""
    waits_until: float
    """The time from which on it counts as gone elsewhere, unless it says again that it waits."""


def credited(had: float, others: Sequence[Member], now: float) -> float:
    """Return what a run that `had` so much is taken to have had, beside `others`."""
    return max([had, *(other.had - CREDIT for other in others if other.waits_until > now)])


def is_ahead(had: float, others: Sequence[Member], now: float) -> bool:
    """Whether a run that `had` so much must let one of `others` go first."""
    return any(other.waits_until > now and had > other.had + LEAD for other in others)
