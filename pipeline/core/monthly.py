"""Monthly caps that several runs keep together: what one run may commit, and how much of it it takes ahead.

Each run has *claims* in a place that all runs share: for each month and model the most that it has spent, may have
spent and has reserved. A claim is raised before what it is for is reserved, and lowered after what it was for has been
settled, so that at any instant, and whoever is killed, claims are at least what was reserved; a claim is only raised
where the claims of all runs stay within the caps. To raise it rarely a run claims ahead: about a second's worth, but
only a small share of what is left, so that near the cap the others find what it does not need.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from typing import NamedTuple

from pipeline.core.limits import key_for

SHARE = 32
"""A run claims at most one part in so many of what is left ahead of its need."""
_LEAST_SECONDS = 0.25
"""A burst is no rate: growth is taken as that of this time at least."""

Key = tuple[str, str]
"""A month, as `2026-11`, and the model that is asked for."""
Want = tuple[Key, int]
"""An attempt: where it counts, and the most it can cost in nano-USD."""


class MonthlyCap(NamedTuple):
    """The most that may be spent in a calendar month (UTC)."""

    name: str
    """As the user has written it: `budget.monthly_usd` …"""
    nusd: int
    endpoint: str | None = None
    """The only one whose spend counts; None where all do."""
    key: str | None = None
    """Of the limits of the endpoint: the only models whose spend counts; None where all do."""


class Claim(NamedTuple):
    """What another ledger has claimed, or is known to have spent, in a month."""

    endpoint: str
    asked: str
    nusd: int
    giving: bool = False
    """Its run is alive and may yet give back a part of it."""


class Refusal(NamedTuple):
    """Why an attempt does not fit."""

    cap: MonthlyCap
    month: str
    claimed: int
    """By all runs, in nano-USD."""
    hopeless: bool
    """No other run could give anything back."""


class Caps:
    """The caps that hold for requests to one endpoint.

    Args:
        caps: All of them.
        keys: Of the endpoint's limits, with or without a cap: a model belongs to the most specific one.
    """

    def __init__(self, caps: Sequence[MonthlyCap] = (), keys: Iterable[str] = ()) -> None:
        self._caps = tuple(caps)
        self._keys = frozenset(keys)
        self.on = lru_cache(maxsize=1024)(self._on)

    def __bool__(self) -> bool:
        return bool(self._caps)

    @property
    def all(self) -> Sequence[MonthlyCap]:
        """Every cap."""
        return self._caps

    @property
    def keys(self) -> Sequence[str]:
        """Every key of the endpoint's limits."""
        return sorted(self._keys)

    def _on(self, asked: str) -> tuple[MonthlyCap, ...]:
        """Return the caps that a request for this model must keep."""
        key = key_for(asked, self._keys)
        return tuple(cap for cap in self._caps if cap.key in (None, key))

    def counts(self, cap: MonthlyCap, claim: Claim) -> bool:
        """Whether a claim counts against a cap."""
        if cap.endpoint not in (None, claim.endpoint):
            return False
        return cap.key is None or cap.key == key_for(claim.asked, self._keys)


class Grant(NamedTuple):
    """What a run may claim."""

    admitted: int
    """How many of the attempts fit, in order."""
    claims: Mapping[Key, int]
    """Its claims, none of them lower than before."""
    refusal: Refusal | None
    """Why the next one does not; None where all do."""
    left: int | None
    """What could still be claimed for the last one looked at; None where no cap holds for it."""


def covered(caps: Caps, claims: Mapping[Key, int], used: Mapping[Key, int], wants: Sequence[Want]) -> bool:
    """Whether attempts fit into what a run has claimed already.

    Args:
        caps: The caps that hold.
        claims: What the run has claimed.
        used: What of it is spent, may be, or is reserved.
        wants: The attempts.
    """
    needed = dict(used)
    for key, amount in wants:
        if caps.on(key[1]):
            needed[key] = needed.get(key, 0) + amount
    return all(needed[key] <= claims.get(key, 0) for key, _ in wants if caps.on(key[1]))


def grant(
    caps: Caps,
    claims: Mapping[Key, int],
    used: Mapping[Key, int],
    wants: Sequence[Want],
    others: Callable[[str], Sequence[Claim]],
    ahead: int = 0,
) -> Grant:
    """Return how many attempts fit under every cap, and what the run must claim before it reserves them.

    Args:
        caps: The caps that hold.
        claims: What the run has claimed.
        used: What of it is spent, may be, or is reserved.
        wants: The attempts, in the order in which they are admitted.
        others: The claims of all other ledgers in a month.
        ahead: Nano-USD to claim beyond the need, where there is plenty.
    """
    rooms = _Rooms(caps, dict(claims), others)
    needed = dict(used)
    admitted, refusal, left = 0, None, None
    for key, amount in wants:
        needed[key] = needed.get(key, 0) + amount
        refusal = rooms.claim(key, needed[key])
        if refusal is not None:
            break
        admitted += 1
    if refusal is None:
        for key in dict.fromkeys(key for key, _ in wants):
            rooms.claim_ahead(key, needed[key] + ahead)
    if wants:
        left = rooms.left(wants[min(admitted, len(wants) - 1)][0])
    return Grant(admitted, rooms.claims, refusal, left)


def lowered(claims: Mapping[Key, int], used: Mapping[Key, int], month: str, ahead: int) -> Mapping[Key, int]:
    """Return what a run needs to claim once what it has settled is durable.

    Args:
        claims: What it has claimed.
        used: What of it is spent, may be, or is reserved; more where an attempt cost more than was reserved.
        month: The present one: nothing is claimed ahead in any other.
        ahead: Nano-USD to keep beyond that.
    """
    return {
        key: max(used.get(key, 0), min(claim, used.get(key, 0) + (ahead if key[0] == month else 0)))
        for key, claim in claims.items()
    }


def worth(growth: int, seconds: float) -> int:
    """Return what a run needs in a second that needed `growth` nano-USD in `seconds`."""
    return int(max(0, growth) / max(seconds, _LEAST_SECONDS))


class _Rooms:
    """What is left of each cap while a run claims."""

    def __init__(self, caps: Caps, claims: dict[Key, int], others: Callable[[str], Sequence[Claim]]) -> None:
        self.claims = claims
        self._caps = caps
        self._others = others
        self._rooms: dict[tuple[MonthlyCap, str], int] = {}

    def claim(self, key: Key, needed: int) -> Refusal | None:
        """Raise the claim to what is needed, or say which cap has no room for that."""
        caps = self._caps.on(key[1])
        lacking = needed - self.claims.get(key, 0)
        if not caps or lacking <= 0:
            return None
        for cap in caps:
            if self._room(cap, key[0]) < lacking:
                return self._refusal(cap, key[0])
        self._raise(key, lacking)
        return None

    def claim_ahead(self, key: Key, wanted: int) -> None:
        """Raise the claim towards what is wanted, by a small share of what is left at the most."""
        left = self.left(key)
        if left is not None:
            self._raise(key, max(0, min(wanted - self.claims.get(key, 0), left // SHARE)))

    def left(self, key: Key) -> int | None:
        return min((self._room(cap, key[0]) for cap in self._caps.on(key[1])), default=None)

    def _raise(self, key: Key, amount: int) -> None:
        for cap in self._caps.on(key[1]):
            self._rooms[cap, key[0]] = self._room(cap, key[0]) - amount
        self.claims[key] = self.claims.get(key, 0) + amount

    def _room(self, cap: MonthlyCap, month: str) -> int:
        if (cap, month) not in self._rooms:
            counting = [claim for claim in self._others(month) if self._caps.counts(cap, claim)]
            own = sum(claim for key, claim in self.claims.items() if key[0] == month and cap in self._caps.on(key[1]))
            self._rooms[cap, month] = cap.nusd - own - sum(claim.nusd for claim in counting)
        return self._rooms[cap, month]

    def _refusal(self, cap: MonthlyCap, month: str) -> Refusal:
        counting = [claim for claim in self._others(month) if self._caps.counts(cap, claim)]
        hopeless = not any(claim.giving for claim in counting)
        return Refusal(cap, month, cap.nusd - self._room(cap, month), hopeless)
