"""The token bucket: how long a charge must wait, and what the provider's headers say about it.

Providers quote limits a minute and enforce them over about one second: 60,000 requests a minute may mean 1,000 a
second. A provider with a bucket of one second refuses nothing as long as ours never lets more through in any stretch of
time than its own would, the network's jitter included. Hence three choices; `tests/middleware/test_throttle.py` tries
them on a provider with up to 100 ms of jitter:

* our bucket starts with one unit, enough for a first request: its first second is not a burst plus a refill;
* it holds `BURST` seconds, less than the provider's one: arrivals may bunch by the rest of the second;
* a charge that needs all of it leaves the provider no slack for jitter, so it costs a little more (`SURCHARGE`).

A process that was stopped finds a full bucket, no more: the capacity bounds every refill. What a bucket holds may be
negative: a charge above the capacity goes when the bucket is full and leaves a debt.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

WINDOW = 60.0
"""Seconds that a limit is quoted for."""
BURST = 0.75
"""Seconds' worth of the limit that may go at once."""
DRIFT = 0.001
"""Share of the limit left unused: clocks differ by up to 500 ppm."""
SURCHARGE, JITTER = 0.015, 0.1
"""What a charge that fills the bucket costs more: this share of it, and at most these seconds' worth. A refusal doubles
the share; it comes back by a thousandth of the difference with each such charge."""
MARGIN = 0.5
"""Seconds' worth that the provider should hold beyond ours; attempts that overtake each other then find it filled."""
_EXACT = 1e-9
"""Rounding of a charge's share that counts as nothing."""


@dataclass(frozen=True, slots=True)
class Rate:
    """A limit, described: refill per second and capacity, both in units of the charge."""

    per_minute: float
    share: float = 1.0
    """Part of the limit in use: below 1 after a refusal."""

    @property
    def per_second(self) -> float:
        return self.per_minute / WINDOW * self.share * (1 - DRIFT)

    @property
    def capacity(self) -> float:
        return max(1.0, self.per_second * BURST)


class Taken(NamedTuple):
    """What one attempt took from a bucket, and how the bucket stood."""

    charge: float
    cost: float
    """The charge with its surcharge."""
    before: float
    """The bucket's level before; 0 where it had no limit."""
    corrected: float
    """Corrections made so far: two looks at the same shortfall are one correction."""


class BucketState(NamedTuple):
    """All that a bucket knows, as numbers; NaN stands for what is not known."""

    limit: float
    configured: float
    share: float
    refill: float
    size: float
    level: float
    at: float
    held_until: float
    ceiling: float
    corrected: float
    largest: float
    most_seen: float
    surcharge: float


class TokenBucket:
    """One limit under way. Pure: time is an argument, in seconds of a monotonic clock.

    Args:
        per_minute: The configured limit, or None to take it from the provider's headers.
        now: The time.
    """

    __slots__ = (
        "_at",
        "_ceiling",
        "_configured",
        "_corrected",
        "_held_until",
        "_largest",
        "_level",
        "_most_seen",
        "_rate",
        "_refill",
        "_size",
        "_surcharge",
        "limit",
    )

    def __init__(self, per_minute: int | None, now: float) -> None:
        self.limit = per_minute
        """The limit a minute in force: the lower of the configured one and the provider's; None where unknown."""
        self._configured = per_minute
        self._rate = Rate(per_minute or 0)
        self._refill = self._rate.per_second
        self._size = self._rate.capacity
        self._level = 1.0
        self._at = now
        self._held_until = now
        self._ceiling = 0.0
        self._corrected = 0.0
        self._largest = 0.0
        self._most_seen = 0.0
        self._surcharge = SURCHARGE

    def __repr__(self) -> str:
        if self.limit is None:
            return "<TokenBucket unlimited>"
        return f"<TokenBucket {self._level:.1f} of {self._size:.1f}, {self._refill:.2f}/s of {self.limit}/min>"

    @property
    def configured(self) -> int | None:
        """The limit a minute that the config names; of several runs' configs, the highest."""
        return self._configured

    def state(self) -> BucketState:
        """Return all that another bucket needs to go on as this one would; see `restore`."""
        return BucketState(
            math.nan if self.limit is None else self.limit,
            math.nan if self._configured is None else self._configured,
            self._rate.share,
            self._refill,
            self._size,
            self._level,
            self._at,
            self._held_until,
            self._ceiling,
            self._corrected,
            self._largest,
            self._most_seen,
            self._surcharge,
        )

    def restore(self, state: BucketState) -> None:
        """Go on from `state`."""
        limit, configured, share = state.limit, state.configured, state.share
        self.limit = None if math.isnan(limit) else int(limit)
        self._configured = None if math.isnan(configured) else int(configured)
        if self._rate.per_minute != (self.limit or 0) or self._rate.share != share:
            self._rate = Rate(self.limit or 0, share)
        (_, _, _, self._refill, self._size, self._level, self._at, self._held_until, *rest) = state
        self._ceiling, self._corrected, self._largest, self._most_seen, self._surcharge = rest

    def agree(self, configured: int | None, now: float) -> None:
        """Another run joins whose config names `configured`: the highest that is named holds, or what headers say."""
        mine = self._configured
        if configured is None or (mine is not None and configured <= mine):
            return
        self._configured = configured
        if self.limit is None or self.limit == mine:
            self._believe(configured, now)
        else:
            self._believe(min(self.limit, configured), now)

    def keep_to(self, configured: int | None, now: float) -> None:
        """The other runs are gone: no more than `configured`, where that is named, and what was learnt."""
        self._configured = configured
        if configured is not None:
            self._believe(configured if self.limit is None else min(self.limit, configured), now)

    def seconds(self, charge: float) -> float:
        """Return how many seconds' refill `charge` is; 0 where there is no limit."""
        return 0.0 if self.limit is None else charge / self._refill

    def wait(self, charge: float, now: float) -> float:
        """Return the seconds until `charge` may go: 0 when it may go now."""
        start = max(now, self._held_until)
        if self.limit is None:
            return start - now
        needed = min(charge, self._size)
        missing = needed - self._level_at(start)
        if missing > needed * _EXACT:
            return start - now + missing / self._refill
        return start - now

    def take(self, charge: float, now: float) -> Taken:
        """Take `charge`, whether or not it is there."""
        if self.limit is None:
            return Taken(charge, charge, 0.0, self._corrected)
        self._advance(now)
        before = self._level
        cost = charge
        if charge >= self._size:
            cost += min(charge * self._surcharge, self._refill * JITTER)
            self._surcharge += (SURCHARGE - self._surcharge) / 1000
        self._level = before - cost
        self._largest = max(self._largest, charge)
        return Taken(charge, cost, before, self._corrected)

    def settle(self, taken: Taken, used: float, now: float) -> None:
        """Give back what `taken` charged above `used`, or owe what it charged too little."""
        if self.limit is None or used == taken.charge:
            return
        self._advance(now)
        spent = used * taken.cost / taken.charge if taken.charge else used
        self._level = min(self._level + taken.cost - spent, self._size)

    def learn(self, limit: int | None, remaining: int | None, now: float, taken: Taken) -> None:
        """Believe the headers of the response to the attempt that took `taken`, where they allow less than we do.

        `limit` is read as a limit a minute. It replaces the configured one where it is lower, and stands where none is
        configured. A limit below the charge it came back for is something else (that attempt would have been refused).

        `remaining` is compared with our own level before the *same* attempt, so that neither the age of the response
        nor what has been sent since counts twice.
        """
        if limit is not None and limit >= max(1.0, taken.charge):
            self._believe(limit if self._configured is None else min(limit, self._configured), now)
        if remaining is not None and self.limit is not None:
            self._correct(remaining, now, taken)

    def hold(self, until: float, ceiling: float, now: float) -> None:
        """Let nothing through before `until`, and no more than `ceiling` at once then."""
        self._advance(now)
        self._held_until = until
        self._ceiling = min(ceiling, self._size)
        self._level = min(self._level, self._ceiling)

    def loosen(self) -> None:
        """Keep charges that fill the bucket further apart: one was refused, perhaps because it came too early."""
        self._surcharge = min(self._surcharge * 2, 1.0)

    def scale(self, share: float, now: float) -> None:
        """Use only `share` of the limit from `now` on."""
        self._set_rate(Rate(self._rate.per_minute, share), now)

    def _level_at(self, when: float) -> float:
        level, since = self._level, self._at
        if since < self._held_until:
            end = min(when, self._held_until)
            level = min(level + (end - since) * self._refill, self._ceiling)
            since = self._held_until
        if when <= since:
            return level
        return min(level + (when - since) * self._refill, self._size)

    def _advance(self, now: float) -> None:
        if now > self._at:
            self._level = self._level_at(now)
            self._at = now

    def _believe(self, limit: int, now: float) -> None:
        if limit == self.limit:
            return
        self._advance(now)
        if self.limit is None:
            self._level = 0.0
        self.limit = limit
        self._most_seen = 0.0
        self._set_rate(Rate(limit, self._rate.share), now)

    def _set_rate(self, rate: Rate, now: float) -> None:
        self._advance(now)
        self._rate = rate
        self._refill = rate.per_second
        self._size = rate.capacity
        self._level = min(self._level, self._size)

    def _correct(self, remaining: int, now: float, taken: Taken) -> None:
        """Lower our level by what the provider held less than it should have when the attempt came.

        It should hold more than we do, by a margin and by what the largest charge exceeds our capacity. Of that we ask
        no more than its bucket can give, as far as we have seen: 60 % of what it holds when full beyond our capacity,
        and 1 less, for it is rounded down. A provider that counts more than we do, gives nothing back, or serves others
        under the same limit is thus followed before it refuses.
        """
        if remaining > 0:
            self._most_seen = max(self._most_seen, remaining + taken.charge)
        ours = taken.before - (self._corrected - taken.corrected)
        lead = self._refill * MARGIN + max(0.0, self._largest - self._size)
        lead = min(lead, 0.6 * (self._most_seen - self._size))
        lack = ours + max(0.0, lead - 1) - (remaining + taken.charge)
        if lack > 0:
            self._advance(now)
            self._level -= lack
            self._corrected += lack
