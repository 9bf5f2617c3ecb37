"""When to try again: a decision made of numbers, and a budget that keeps retries from multiplying the load."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import NamedTuple

from pipeline.errors import EndpointUnavailable, Malformed, PipelineError, Rejected, Retryable

_HINT_SPREAD = 0.1
_LARGEST_SPREAD = 5.0
_LARGEST_EXPONENT = 32
_MALFORMED_ATTEMPTS = 2


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How long to keep trying.

    Args:
        attempts: The most attempts of one request that count; those that were throttled or never left do not.
        base: The most that the first wait can be, in seconds; it doubles with every further one.
        cap: The most that a wait without a hint can be, in seconds.
        max_wait: A server that asks for a longer wait than this many seconds ends the run.
        wall: A request is given up on after this many seconds, however few of its attempts count.
    """

    attempts: int = 6
    base: float = 0.5
    cap: float = 60.0
    max_wait: float = 900.0
    wall: float = 86_400.0


class Tries(NamedTuple):
    """What was tried for one request so far, the attempt that just failed included."""

    sent: int
    """Attempts of this request."""
    counted: int
    """Those of them that count."""
    before: int
    """Attempts of the larger requests that its records were in before."""
    elapsed: float
    """Seconds since the first attempt of this request."""
    items: int


class RetryAfter(NamedTuple):
    """Try again."""

    seconds: float


class GiveUp(NamedTuple):
    """The error is final; `error` says so."""

    error: PipelineError


def delay(policy: RetryPolicy, retry: int, hint: float | None, jitter: float) -> float:
    """Return the seconds to wait before a retry: `jitter · min(cap, base · 2^retry)`, or with a hint h
    `h + jitter · min(5, h / 10)`, which is never earlier than the server asked.

    Args:
        policy: Supplies `base` and `cap`.
        retry: 0 for the first retry.
        hint: The shortest wait that the server asked for, in seconds.
        jitter: A uniform random number in [0, 1).
    """
    if hint is not None:
        return hint + jitter * min(_LARGEST_SPREAD, _HINT_SPREAD * hint)
    return jitter * min(policy.cap, policy.base * 2.0 ** min(retry, _LARGEST_EXPONENT))


def decide(error: Retryable, tries: Tries, policy: RetryPolicy, *, now: float, jitter: float) -> RetryAfter | GiveUp:
    """Return whether and when a failed request is tried again.

    Args:
        error: Why the last attempt failed.
        tries: What was tried, that attempt included.
        policy: The limits.
        now: Seconds since the epoch; only for the message.
        jitter: A uniform random number in [0, 1).
    """
    if error.hint is not None and error.hint > policy.max_wait:
        return GiveUp(_too_long(error, error.hint, policy, now))
    if isinstance(error, Malformed) and tries.items > 1:
        return GiveUp(error)
    seconds = delay(policy, tries.sent - 1, error.hint, jitter)
    if _exhausted(error, tries, policy) or tries.elapsed + seconds > policy.wall:
        return GiveUp(_given_up(error, tries))
    return RetryAfter(seconds)


def _exhausted(error: Retryable, tries: Tries, policy: RetryPolicy) -> bool:
    if isinstance(error, Malformed):
        return tries.before + tries.sent >= _MALFORMED_ATTEMPTS
    return error.counted and tries.counted >= policy.attempts


def _given_up(error: Retryable, tries: Tries) -> Rejected:
    final = Rejected(f"gave up after {tries.sent} attempts: {error.message}", code=error.code, status=error.status)
    final.halve = False
    return final


def _too_long(error: Retryable, hint: float, policy: RetryPolicy, now: float) -> EndpointUnavailable:
    return EndpointUnavailable(
        f"the endpoint asks to wait {_until(now + hint)}, longer than retry.max_wait ({policy.max_wait:g} s): "
        f"run again then, or raise it; {error.message}",
        code=error.code,
        status=error.status,
    )


def _until(moment: float) -> str:
    """Return a point in time as text; a hint may name one beyond any calendar."""
    try:
        return f"until {datetime.fromtimestamp(moment, UTC):%Y-%m-%d %H:%M:%S} UTC"
    except (ValueError, OverflowError, OSError):
        return "for ever"


class RetryBudget:
    """A token bucket for retries, so that a failing endpoint gets few more requests than a healthy one.

    A retry takes one from a bucket of 100, and a request that succeeds at first gives 0.2 back: in the long run one
    retry to five requests. Beyond that, a floor of ten retries in ten seconds is always open; who finds it empty
    waits in turn.
    """

    CAPACITY = 100.0
    EARNED = 0.2
    FLOOR = 10.0
    FLOOR_RATE = 1.0

    __slots__ = ("_floor", "_floor_at", "_level")

    def __init__(self) -> None:
        self._level = self.CAPACITY
        self._floor = self.FLOOR
        self._floor_at = 0.0

    def earn(self) -> None:
        """Note that a request succeeded at its first attempt."""
        if self._level < self.CAPACITY:
            self._level = min(self.CAPACITY, self._level + self.EARNED)

    def spend(self, now: float) -> float:
        """Take one retry and return the seconds after which it may go; the turn of the caller is kept.

        Args:
            now: Seconds on a clock that never goes back.
        """
        if self._level >= 1:
            self._level -= 1
            return 0.0
        self._floor = min(self.FLOOR, self._floor + (now - self._floor_at) * self.FLOOR_RATE) - 1
        self._floor_at = now
        return max(0.0, -self._floor / self.FLOOR_RATE)
