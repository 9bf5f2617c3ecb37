"""The limit of any one second, in equal parts for the runs that share it."""

from __future__ import annotations

from typing import NamedTuple

_WINDOW = 1.0
"""Seconds that the limit is about."""


class Part(NamedTuple):
    """What one run may send."""

    requests: int
    """The most in any `seconds`."""
    seconds: float
    after: float
    """Seconds to wait first: those who were there before may have had all of the last second."""


class PerSecond:
    """One run's part. One that grows does so a second later: what the others sent before still counts.

    More runs than the limit has requests send one each in several seconds, on average no more than the limit.

    Args:
        limit: The most requests in any one second, of all runs together.
    """

    __slots__ = ("_limit", "_runs", "_seen_at")

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._runs = 0
        self._seen_at = 0.0

    def part(self, runs: int, now: float) -> Part:
        """Return the part of this run, of `runs` in all, at `now` in seconds of a monotonic clock."""
        after = _WINDOW if runs > 1 and not self._runs else 0.0
        if runs >= self._runs or now - self._seen_at > _WINDOW:
            self._runs, self._seen_at = runs, now
        requests = max(1, self._limit // self._runs)
        return Part(requests, max(_WINDOW, requests * self._runs / self._limit), after)
