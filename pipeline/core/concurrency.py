"""How many attempts to have in flight where no rate limit is known: a local server, or one that sends no headers.

Throughput is (attempts in flight) / (mean latency). While the server has room, more attempts leave the latency as it is
and throughput grows with them; once it queues, latency grows and throughput does not. So the limit is raised as long as
throughput follows, and taken back where it does not. Refusals and timeouts cut it at once (additive increase would find
a large server too late, so the increase is in proportion; the decrease is multiplicative).
"""

from __future__ import annotations

START = 8
"""Attempts in flight at first."""
CUT = 0.7
DOUBLE, PROBE = 2.0, 1.25
"""Steps of the limit: at the start, and once a step was taken back."""
GAIN = 0.1
"""Part of the step by which throughput must have grown for the step to stand."""
REST = 10
"""Windows between two probes."""
SAMPLES = 16
"""The fewest answers in a window; a window is two rounds of the limit."""


class AdaptiveConcurrency:
    """A limit between 1 and `cap` that follows the server. Pure: times are seconds of a monotonic clock."""

    __slots__ = ("_before", "_changed_at", "_count", "_cut_at", "_latency", "_load", "_rest", "_step", "cap", "limit")

    def __init__(self, cap: int, start: int = START) -> None:
        self.cap = cap
        self.limit = min(cap, start)
        self._step = DOUBLE
        self._rest = 0
        self._before: tuple[int, float] | None = None
        """The last limit that was worth its step, and its throughput."""
        self._changed_at = self._cut_at = float("-inf")
        self._count = self._load = 0
        self._latency = 0.0

    def __repr__(self) -> str:
        return f"<AdaptiveConcurrency {self.limit} of {self.cap}>"

    def succeeded(self, began: float, in_flight: int, now: float) -> None:
        """An attempt that began at `began`, as one of `in_flight`, was answered."""
        if began < self._changed_at:
            return
        self._count += 1
        self._load += in_flight
        self._latency += now - began
        if self._count >= max(2 * self.limit, SAMPLES):
            self._judge(now)

    def failed(self, began: float, now: float) -> None:
        """An attempt was refused or not answered in time; those sent before a cut are part of its cause."""
        if began < self._cut_at:
            return
        self._cut_at = now
        self._before = None
        self._step = PROBE
        self._rest = 0
        self._set(max(1, int(self.limit * CUT)), now)

    def _judge(self, now: float) -> None:
        load, throughput = self._load / self._count, self._load / max(self._latency, 1e-9)
        if load < 0.8 * self.limit:
            self._set(self.limit, now)
        elif self._rest > 0:
            self._rest -= 1
            self._before = (self.limit, throughput)
            self._set(self.limit, now)
        elif self._worth(throughput):
            self._before = (self.limit, throughput)
            self._raise(now)
        else:
            self._take_back(now)

    def _worth(self, throughput: float) -> bool:
        if self._before is None or self._before[0] == self.limit:
            return True
        limit, before = self._before
        return throughput / before - 1 >= GAIN * (self.limit / limit - 1)

    def _raise(self, now: float) -> None:
        self._set(min(self.cap, max(self.limit + 1, int(self.limit * self._step))), now)

    def _take_back(self, now: float) -> None:
        if self._before is not None:
            limit, self._before = self._before[0], None
            self._rest = 0 if self._step == DOUBLE else REST
            self._step = PROBE
            self._set(limit, now)

    def _set(self, limit: int, now: float) -> None:
        self.limit = limit
        self._changed_at = now
        self._count = self._load = 0
        self._latency = 0.0
