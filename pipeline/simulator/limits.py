"""Rate limits as a provider enforces them: a limit per minute, counted over a shorter quantum.

A bucket holds `burst_seconds` worth of its limit (providers enforce 60,000 a minute as 1,000 a second) and refills
continuously. The arithmetic is the simulator's own: it judges the client's limiter and shares nothing with it.
"""

from __future__ import annotations

import math

from pipeline.simulator.refusal import Refusal

_ROUNDING = 1e-6
"""Share of a capacity that float sums may be wrong by."""


class Bucket:
    """One refilling limit. Times are seconds on one monotonic clock.

    Args:
        per_minute: The limit.
        burst_seconds: How many seconds' worth may be taken at once; at least one unit.
        now: When the bucket is full.
    """

    __slots__ = ("_level", "_rate", "_then", "capacity", "limit")

    def __init__(self, per_minute: float, burst_seconds: float, now: float) -> None:
        self.limit = per_minute
        self._rate = per_minute / 60
        self.capacity = max(1.0, self._rate * burst_seconds)
        self._level = self.capacity
        self._then = now

    def wait(self, charge: float, now: float) -> float:
        """Return the seconds until `charge` may be taken; a charge above the capacity needs a full bucket."""
        self._refill(now)
        lack = min(charge, self.capacity) - self._level
        return lack / self._rate if lack > _ROUNDING * self.capacity else 0.0

    def take(self, charge: float) -> None:
        """Take `charge`, going into debt where it is more than the level."""
        self._level -= charge

    def remaining(self, now: float) -> int:
        """What the headers show: the limit less what has not been refilled."""
        self._refill(now)
        return max(0, math.floor(self.limit - (self.capacity - self._level) + _ROUNDING))

    def reset(self, now: float) -> float:
        """Seconds until the bucket is full."""
        self._refill(now)
        return (self.capacity - self._level) / self._rate

    def _refill(self, now: float) -> None:
        self._level = min(self.capacity, self._level + (now - self._then) * self._rate)
        self._then = now


class Limits:
    """The requests and tokens that an endpoint admits per minute; None is no limit.

    Refused requests count as requests too, as they do at OpenAI, but never take more than half of what refills,
    so that a client which keeps trying is slowed down and not locked out.
    """

    def __init__(
        self, rpm: int | None, tpm: int | None, *, burst_seconds: float, count_refused: bool, now: float
    ) -> None:
        limits = {"requests": rpm, "tokens": tpm}
        self._buckets = {kind: Bucket(limit, burst_seconds, now) for kind, limit in limits.items() if limit}
        self._penalties = Bucket(rpm / 2, burst_seconds, now) if rpm and count_refused else None

    def admit(self, tokens: int, now: float) -> None:
        """Charge one request and `tokens`.

        Raises:
            Refusal: 429, because a bucket holds too little or `tokens` are more than a whole minute allows.
        """
        charges = {"requests": 1, "tokens": tokens}
        for kind, bucket in self._buckets.items():
            if charges[kind] > bucket.limit:
                self._penalise(now)
                raise _too_large(tokens, bucket.limit)
        if any(bucket.wait(charges[kind], now) for kind, bucket in self._buckets.items()):
            self._penalise(now)
            raise self._exceeded(charges, now)
        for kind, bucket in self._buckets.items():
            bucket.take(charges[kind])

    def headers(self, now: float) -> dict[str, str]:
        """Return the `x-ratelimit-*` headers; a reset says when the bucket will be full."""
        headers: dict[str, str] = {}
        for kind, bucket in self._buckets.items():
            headers[f"x-ratelimit-limit-{kind}"] = f"{bucket.limit:.0f}"
            headers[f"x-ratelimit-remaining-{kind}"] = str(bucket.remaining(now))
            headers[f"x-ratelimit-reset-{kind}"] = go_duration(bucket.reset(now))
        return headers

    def _penalise(self, now: float) -> None:
        if self._penalties and not self._penalties.wait(1, now):
            self._penalties.take(1)
            self._buckets["requests"].take(1)

    def _exceeded(self, charges: dict[str, int], now: float) -> Refusal:
        waits = {kind: bucket.wait(charges[kind], now) for kind, bucket in self._buckets.items()}
        kind = max(waits, key=waits.__getitem__)
        return Refusal(
            429,
            kind,
            "rate_limit_exceeded",
            f"Rate limit reached on {kind} per min. Limit: {self._buckets[kind].limit:.0f}. "
            f"Requested: {charges[kind]}. Try again in {go_duration(waits[kind])}.",
            headers={
                "Retry-After": str(max(1, math.ceil(waits[kind]))),
                "retry-after-ms": str(max(1, math.ceil(waits[kind] * 1000))),
                f"x-ratelimit-remaining-{kind}": "0",
            },
        )


def _too_large(tokens: int, limit: float) -> Refusal:
    message = f"Request too large on tokens per min. Limit: {limit:.0f}. Requested: {tokens}."
    return Refusal(429, "tokens", "rate_limit_exceeded", message)


def go_duration(seconds: float) -> str:
    """Return `seconds` as Go prints durations, rounded up to milliseconds: `0s`, `120ms`, `1.5s`, `6m0s`, `2h0m1s`."""
    total = math.ceil(max(0.0, seconds) * 1000)
    if 0 < total < 1000:
        return f"{total}ms"
    minutes, rest = divmod(total, 60_000)
    hours, minutes = divmod(minutes, 60)
    tail = f"{rest / 1000:g}s"
    return f"{hours}h{minutes}m{tail}" if hours else f"{minutes}m{tail}" if minutes else tail
