"""One model's way to the endpoint: its two buckets, its pause, and how its rate recovers after a refusal."""

from __future__ import annotations

from typing import Literal, NamedTuple

from pipeline.core.bucket import BucketState, Taken, TokenBucket
from pipeline.core.meter import Meter
from pipeline.types import RateLimits

CUT = 0.7
"""A refusal leaves this share of the rate."""
LEAST_SHARE = 0.1
FEWEST_TOKENS = 2
"""Tokens of the smallest request. Where the limit of tokens a minute leaves fewer for each request of the other limit,
that one is not about the minute: Groq's header for requests is about the day."""
GROWTH = 0.05
"""Share of the limit that comes back with each step."""
STEP = 2.0
"""Seconds between two steps."""
RAMP = 1.5 ** (1 / 60)
RAMP_STEP = 15.0
"""After `slow_down` traffic may rise by half in 15 minutes: sixty steps of `RAMP`, one each 15 s."""
PAUSE_BASE, PAUSE_CAP = 0.5, 60.0
"""Seconds of the first and of the longest pause where the provider names none."""

Bound = Literal["requests", "tokens", "pause"]


class Charge(NamedTuple):
    """What one attempt took, and when."""

    at: float
    requests: Taken
    tokens: Taken


class LaneState(NamedTuple):
    """All that a lane knows but what went through it, as numbers."""

    requests: BucketState
    tokens: BucketState
    paused_until: float
    episode_at: float
    refusals: float
    probes: float
    share: float
    ramp: float
    next_step: float


class Lane:
    """Decides when an attempt may go. Pure: time and jitter are arguments, times are seconds.

    A refusal (429) begins an *episode*: a pause, then a lower rate that grows back. Attempts that were on their way
    when it began are part of it: they may prolong the pause, but they neither cut the rate again nor lengthen the next.
    After a second refusal with no success between, one attempt at a time is let through until one succeeds.
    """

    __slots__ = (
        "_episode_at",
        "_next_step",
        "_probes",
        "_ramp",
        "_refusals",
        "_requests_meter",
        "_share",
        "_tokens_meter",
        "paused_until",
        "requests",
        "tokens",
    )

    def __init__(self, rpm: int | None, tpm: int | None, now: float) -> None:
        self.requests = TokenBucket(rpm, now)
        self.tokens = TokenBucket(tpm, now)
        self._requests_meter = Meter(now)
        self._tokens_meter = Meter(now)
        self.paused_until = now
        """Nothing goes before it."""
        self._episode_at = now - 1
        self._refusals = 0
        self._probes = 0
        self._share = 1.0
        self._ramp = False
        self._next_step = now

    def __repr__(self) -> str:
        return f"<Lane at {self._share:.0%}, requests {self.requests!r}, tokens {self.tokens!r}>"

    def state(self) -> LaneState:
        """Return all that another lane needs to go on as this one would; see `restore`."""
        return LaneState(
            self.requests.state(),
            self.tokens.state(),
            self.paused_until,
            self._episode_at,
            self._refusals,
            self._probes,
            self._share,
            self._ramp,
            self._next_step,
        )

    def restore(self, state: LaneState) -> None:
        """Go on from `state`."""
        requests, tokens, self.paused_until, self._episode_at, refusals, probes, self._share, ramp, next_step = state
        self.requests.restore(requests)
        self.tokens.restore(tokens)
        self._refusals, self._probes, self._ramp, self._next_step = int(refusals), int(probes), bool(ramp), next_step

    def seconds(self, tokens: int) -> float:
        """Return how many seconds of the tighter limit a request of `tokens` uses up; 0 where none is known."""
        return max(self.requests.seconds(1), self.tokens.seconds(tokens))

    def forget_probes(self) -> None:
        """Wait no longer for the answers to attempts under way: whoever sent them may be gone."""
        self._probes = 0

    @property
    def runs(self) -> int:
        """How many runs use the same limits, this one included."""
        return 1

    @property
    def share(self) -> float:
        """Part of the limits in use: below 1 while the rate recovers."""
        return self._share

    def fits(self, tokens: int) -> bool:
        """Whether a charge of `tokens` can ever succeed."""
        return self.tokens.limit is None or tokens <= self.tokens.limit

    def wait(self, tokens: int, now: float) -> float:
        """Return the seconds until a request of `tokens` may go; ask again then, or when the lane has changed.

        0 when it may go now; infinity while the answer to another attempt decides.
        """
        if self._share < 1:
            self._recover(now)
        if self._refusals > 1 and self._probes:
            return float("inf")
        wait = max(self.requests.wait(1, now), self.tokens.wait(tokens, now))
        if self._share < 1 and now + wait > self._next_step:
            return self._next_step - now
        return wait

    def bound(self, tokens: int, now: float) -> Bound:
        """Return what a request of `tokens` waits for."""
        if now < self.paused_until or (self._refusals > 1 and self._probes):
            return "pause"
        return "tokens" if self.tokens.wait(tokens, now) > self.requests.wait(1, now) else "requests"

    def claim(self, tokens: int, now: float) -> Charge | None:
        """Charge a request that `wait` has just let through; None where another run has been quicker."""
        return self.take(tokens, now)

    def take(self, tokens: int, now: float) -> Charge:
        """Charge a request of `tokens` to both buckets."""
        self._requests_meter.add(1, now)
        self._tokens_meter.add(tokens, now)
        if self._refusals:
            self._probes += 1
        return Charge(now, self.requests.take(1, now), self.tokens.take(tokens, now))

    def served(self, charge: Charge, used: int | None, limits: RateLimits | None, now: float) -> None:
        """The attempt succeeded with `used` tokens; None where the response does not say."""
        if charge.at > self._episode_at:
            self._refusals = self._probes = 0
        if used is not None:
            self._settle_tokens(charge, used, now)
        self._learn(charge, limits, now)

    def failed(self, charge: Charge, limits: RateLimits | None, now: float) -> None:
        """The attempt failed at the provider, which may have counted all of it."""
        self._end_probe(charge)
        self._learn(charge, limits, now)

    def unsent(self, charge: Charge, now: float) -> None:
        """The attempt never left: all of its charge is given back."""
        self._end_probe(charge)
        self.requests.settle(charge.requests, 0, now)
        self._settle_tokens(charge, 0, now)

    def refused(self, charge: Charge, limits: RateLimits | None, now: float) -> None:
        """The provider refused the attempt: it counted the request (OpenAI does) and not the tokens."""
        self._end_probe(charge)
        self._settle_tokens(charge, 0, now)
        nothing = charge._replace(requests=charge.requests._replace(charge=0), tokens=charge.tokens._replace(charge=0))
        self._learn(nothing, limits, now)

    def pause(self, charge: Charge, hint: float | None, jitter: float, now: float, *, ramp: bool = False) -> float:
        """Let nothing through for `hint` seconds, or for 0.5·2^k s where there is none; a pause only moves later.

        Args:
            charge: The charge of the refused attempt, of this or another lane; as much may go when the pause ends.
            jitter: From 0 to 1; lengthens a pause without a hint by up to its half.
            ramp: The provider asked to slow down: the rate grows back by at most half in 15 minutes.

        Returns:
            The seconds that were added to the pause.
        """
        fresh = charge.at > self._episode_at
        if fresh:
            self._begin_episode(now, ramp=ramp)
        if hint is None:
            hint = min(PAUSE_CAP, PAUSE_BASE * 2 ** max(0, self._refusals - 1)) * (1 + jitter / 2)
            hint = hint if fresh else 0.0
        added = now + hint - max(now, self.paused_until)
        self._hold(now + hint, charge.tokens.charge, now)
        return max(0.0, added)

    def hold(self, until: float, tokens: float, now: float) -> None:
        """Let nothing through before `until`, then at most one request of `tokens` at once."""
        self._hold(until, tokens, now)

    def used(self, now: float) -> tuple[float, float]:
        """Return the requests and the tokens a minute that went through lately."""
        return self._requests_meter.per_minute(now), self._tokens_meter.per_minute(now)

    def utilisation(self, now: float) -> float:
        """Return the part of the tighter limit that was used lately; 0 where no limit is known."""
        used = zip(self.used(now), (self.requests.limit, self.tokens.limit), strict=True)
        return max((amount / limit for amount, limit in used if limit is not None), default=0.0)

    def _hold(self, until: float, tokens: float, now: float) -> None:
        if until <= max(now, self.paused_until):
            return
        self.paused_until = until
        self._next_step = self.paused_until + (RAMP_STEP if self._ramp else STEP)
        self.requests.hold(until, 1, now)
        self.tokens.hold(until, tokens, now)

    def _begin_episode(self, now: float, *, ramp: bool) -> None:
        self._episode_at = now
        self._refusals = min(self._refusals + 1, 16)
        self._probes = 0
        self.requests.loosen()
        self.tokens.loosen()
        self._ramp = ramp or (self._ramp and self._share < 1)
        if self._refusals == 1:
            share = min(self._share, self.utilisation(now) or 1.0) if ramp else self._share
            self._rescale(max(LEAST_SHARE, share * CUT), now)

    def _recover(self, now: float) -> None:
        while self._share < 1 and now >= self._next_step:
            share = self._share * RAMP if self._ramp else self._share + GROWTH
            self._rescale(min(1.0, share), now)
            self._next_step += RAMP_STEP if self._ramp else STEP

    def _rescale(self, share: float, now: float) -> None:
        self._share = share
        self.requests.scale(share, now)
        self.tokens.scale(share, now)

    def _end_probe(self, charge: Charge) -> None:
        if self._probes and charge.at > self._episode_at:
            self._probes -= 1

    def _settle_tokens(self, charge: Charge, used: int, now: float) -> None:
        self._tokens_meter.add(used - charge.tokens.charge, now)
        self.tokens.settle(charge.tokens, used, now)

    def _learn(self, charge: Charge, limits: RateLimits | None, now: float) -> None:
        if limits is None:
            return
        requests, tokens = limits.limit_requests, limits.limit_tokens
        if requests is not None and tokens is not None and tokens < FEWEST_TOKENS * requests:
            requests = None
        self.requests.learn(requests, limits.remaining_requests, now, charge.requests)
        self.tokens.learn(tokens, limits.remaining_tokens, now, charge.tokens)
