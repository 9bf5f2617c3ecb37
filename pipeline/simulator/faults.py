"""Which faults happen, and when: by chance from a seed, by script, by count, or by a marker in the text."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches

from pipeline.simulator.deliveries import DELIVERIES
from pipeline.simulator.distortions import DISTORTIONS, PAYLOADS
from pipeline.simulator.refusal import Refusal, invalid
from pipeline.simulator.refusals import REFUSALS

OK = "ok"
"""In a script: serve this request well."""
LATE = "late"
"""A good answer, `late_seconds` later than it should be."""

_EVERYWHERE = frozenset({*REFUSALS, *PAYLOADS, *DELIVERIES, LATE})
FAULTS: tuple[str, ...] = tuple(sorted(_EVERYWHERE.union(*DISTORTIONS.values())))
"""The names of all faults."""

_MARKERS = {
    "POISON": (None, "The input was not accepted."),
    "TOOLONG": ("context_length_exceeded", "The input is longer than the model's context."),
    "FORBIDDEN": ("content_filter", "The input was filtered."),
}


@dataclass(frozen=True, slots=True)
class Faults:
    """The faults of a simulator; none by default. `FAULTS` holds the names.

    Raises:
        ValueError: An unknown fault, or rates that add up to more than 1.
    """

    rates: Mapping[str, float] = field(default_factory=dict)
    """By name, the share of requests that it strikes; each request suffers one fault at most."""
    script: Sequence[str] = ()
    """The faults of the first requests, one each, `ok` for none; `rates` rule afterwards."""
    quota_after: int | None = None
    """After so many served requests, every other one gets 429 insufficient_quota."""
    revoke_after: int | None = None
    """After so many served requests, every other one gets 401 invalid_api_key."""
    hang_seconds: float = 3600
    """How long `hang` and `drip` last, where the client has more patience."""
    late_seconds: float = 30
    elsewhere: str = "http://127.0.0.1:9/"
    """Where redirects lead."""

    def __post_init__(self) -> None:
        for name in (*self.rates, *self.script):
            if name not in FAULTS and name != OK:
                near = get_close_matches(name, FAULTS, 1)
                raise ValueError(f"{name!r} is no fault" + (f" (did you mean {near[0]!r}?)" if near else ""))
        if any(rate < 0 for rate in self.rates.values()) or sum(self.rates.values()) > 1 + 1e-9:
            raise ValueError("the rates of faults must lie between 0 and 1 and add up to 1 at most")


class Fate:
    """Decides request by request which fault strikes.

    The same seed and the same order of requests bring the same faults.
    """

    def __init__(self, faults: Faults, chance: random.Random) -> None:
        self.faults = faults
        self._chance = chance
        self._script = iter(faults.script)

    def next(self, path: str) -> str | None:
        """Return the fault that strikes the next request to `path`; None for none, or one that cannot happen there."""
        name = next(self._script, None) or self._drawn()
        return name if name in _EVERYWHERE or name in DISTORTIONS[path] else None

    def _drawn(self) -> str:
        if not self.faults.rates:
            return OK
        point = self._chance.random()
        for name, rate in self.faults.rates.items():
            point -= rate
            if point < 0:
                return name
        return OK

    def refuse_late_comers(self, served: int) -> None:
        """Refuse everything once `served` requests have used up the quota or the key.

        Raises:
            Refusal: 401 or 429.
        """
        faults = self.faults
        if faults.revoke_after is not None and served >= faults.revoke_after:
            raise Refusal(401, "invalid_request_error", "invalid_api_key", "Incorrect API key provided.")
        if faults.quota_after is not None and served >= faults.quota_after:
            raise Refusal(429, "insufficient_quota", "insufficient_quota", "You exceeded your current quota.")


def refuse_markers(body: bytes) -> None:
    """Refuse a whole request one of whose texts holds `POISON`, `TOOLONG` or `FORBIDDEN`.

    Raises:
        Refusal: 400.
    """
    for marker, (code, message) in _MARKERS.items():
        if marker.encode() in body:
            raise invalid(message, code=code)
