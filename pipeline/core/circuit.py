"""The state of a circuit: whether an endpoint that fails may be asked again, decided from counts and times alone.

    unproven ──(the first request is answered, or has not come back for a while)──▶ closed

    closed ──(20 failures in a row, or nearly all in two minutes)──▶ open ──(5 s, doubled each time, up to 300 s)──▶
    half-open ──(the probe is answered)──▶ ramping ──(2, 4, 8 … at once, doubling every 5 s)──▶ closed

While unproven, one request is under way: a wrong key or model shows before more is sent.
A probe that fails opens the circuit again. The share of failures is judged by (requests - 2·ok) / (requests + 1), the
rejection probability of client-side throttling in Google's SRE book, chapter 21.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from enum import Enum, auto


@dataclass(frozen=True, slots=True)
class CircuitPolicy:
    """When a circuit opens and how it closes. Times are seconds.

    Args:
        failures: So many failures in a row open it; it is also the least number of requests of which a share is judged.
        share: Opens where (requests - 2·ok) / (requests + 1) within `window` is above it.
        window: How far back requests are counted.
        open_first: How long it stays open at first; doubled each time that the probe fails.
        open_most: The longest that it stays open.
        step: While ramping, the requests allowed at once double after each step.
        max_outage: An endpoint that answered nothing for so long is unavailable.
        proof: How long the very first request goes alone; 0 for not at all.
    """

    failures: int = 20
    share: float = 0.8
    window: float = 120.0
    open_first: float = 5.0
    open_most: float = 300.0
    step: float = 5.0
    max_outage: float = 1_800.0
    proof: float = 0.0


class State(Enum):
    """Where a circuit stands."""

    UNPROVEN = auto()
    CLOSED = auto()
    OPEN = auto()
    HALF_OPEN = auto()
    RAMPING = auto()


_RAMP_STEPS = 9
"""After so many doublings, 1,024 requests may be under way at once: the ramp is over."""


class Breaker:
    """One endpoint's circuit. Every time is an argument: seconds on a clock that never goes back.

    A request asks `admit` for a permit and hands it back with its outcome: `answered`, `failed` or `released`.
    Outcomes of requests that were admitted before the circuit last changed its state are not counted.
    """

    __slots__ = ("_began", "_counts", "_in_flight", "_open_for", "_policy", "_row", "_since", "generation", "state")

    def __init__(self, policy: CircuitPolicy) -> None:
        self._policy = policy
        self.state = State.UNPROVEN if policy.proof else State.CLOSED
        self.generation = 0
        self._counts = _Counts(policy.window)
        self._row = 0
        self._in_flight = 0
        self._since = 0.0
        self._open_for = 0.0
        self._began: float | None = None

    def admit(self, now: float) -> int | None:
        """Return a permit to send now, or None where the request must wait."""
        if self.state is State.CLOSED:
            return self.generation
        if self.state is State.OPEN and now >= self._since + self._open_for:
            self._enter(State.HALF_OPEN, now)
        elif self._is_over(now):
            self._close()
            return self.generation
        if self._in_flight >= self._allowed(now):
            return None
        if self.state is State.UNPROVEN:
            self._since = now
        self._in_flight += 1
        return self.generation

    def next_at(self, now: float) -> float | None:
        """Return when time alone will admit more; None where only an outcome can."""
        if self.state is State.OPEN:
            return self._since + self._open_for
        if self.state is State.UNPROVEN:
            return self._since + self._policy.proof
        if self.state is State.RAMPING:
            return self._since + (self._steps(now) + 1) * self._policy.step
        return None

    def answered(self, permit: int, now: float) -> None:
        """Note that the endpoint answered, be it with a refusal."""
        if permit != self.generation:
            return
        self._row = 0
        self._began = None
        if self.state is State.HALF_OPEN:
            self._enter(State.RAMPING, now)
            return
        if self.state is State.UNPROVEN:
            self._close()
        self._counts.add(now, ok=True)
        self._leave()

    def failed(self, permit: int, now: float) -> None:
        """Note that the endpoint did not answer, or failed."""
        if permit != self.generation:
            return
        self._began = now if self._began is None else self._began
        if self.state is State.HALF_OPEN:
            self._open(now)
            return
        if self.state is State.UNPROVEN:
            self._close()
        self._row += 1
        self._counts.add(now, ok=False)
        self._leave()
        if self._row >= self._policy.failures or self._mostly_failing():
            self._open(now)

    def released(self, permit: int) -> None:
        """Note that the request says nothing about the endpoint: it was not sent, or was cancelled."""
        if permit == self.generation:
            self._leave()

    def unavailable(self, now: float) -> float | None:
        """Return for how many seconds nothing was answered, where that is too long, else None."""
        if self._began is None or now - self._began < self._policy.max_outage:
            return None
        return now - self._began

    def _allowed(self, now: float) -> int:
        if self.state is State.OPEN:
            return 0
        if self.state in (State.HALF_OPEN, State.UNPROVEN):
            return 1
        return 2 << self._steps(now)

    def _steps(self, now: float) -> int:
        return int((now - self._since) / self._policy.step)

    def _is_over(self, now: float) -> bool:
        """Whether time has ended a state in which few may go."""
        if self.state is State.UNPROVEN:
            return self._in_flight > 0 and now >= self._since + self._policy.proof
        return self.state is State.RAMPING and self._steps(now) >= _RAMP_STEPS

    def _leave(self) -> None:
        if self.state is not State.CLOSED:
            self._in_flight -= 1

    def _close(self) -> None:
        self.state = State.CLOSED
        self._open_for = 0.0

    def _open(self, now: float) -> None:
        policy = self._policy
        self._open_for = min(max(policy.open_first, 2 * self._open_for), policy.open_most)
        if self._began is not None:
            # The last probe falls on the very end of the outage that is allowed.
            self._open_for = min(self._open_for, max(0.0, self._began + policy.max_outage - now))
        self._enter(State.OPEN, now)

    def _enter(self, state: State, now: float) -> None:
        self.state = state
        self.generation += 1
        self._since = now
        self._in_flight = 0
        self._row = 0
        self._counts = _Counts(self._policy.window)

    def _mostly_failing(self) -> bool:
        requests, ok = self._counts.requests, self._counts.ok
        return requests >= self._policy.failures and (requests - 2 * ok) / (requests + 1) > self._policy.share


class _Counts:
    """Requests and answers of the last `window` seconds, counted in slots so that an outcome costs no memory."""

    _SLOTS = 12

    __slots__ = ("_slots", "_width", "ok", "requests")

    def __init__(self, window: float) -> None:
        self._width = window / self._SLOTS
        self._slots: deque[list[int]] = deque()
        self.requests = 0
        self.ok = 0

    def add(self, now: float, *, ok: bool) -> None:
        slot = int(now / self._width)
        if not self._slots or self._slots[-1][0] != slot:
            self._turn(slot)
        self._slots[-1][1] += 1
        self._slots[-1][2] += ok
        self.requests += 1
        self.ok += ok

    def _turn(self, slot: int) -> None:
        while self._slots and self._slots[0][0] <= slot - self._SLOTS:
            _, requests, ok = self._slots.popleft()
            self.requests -= requests
            self.ok -= ok
        self._slots.append([slot, 0, 0])
