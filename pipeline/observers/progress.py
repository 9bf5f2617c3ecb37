"""Progress as text. The functions are pure; `Lines` writes them, one line a period."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from decimal import ROUND_HALF_UP, Decimal
from typing import Protocol, TextIO

from pipeline.events import AttemptEnded, Event
from pipeline.observers.snapshot import Snapshot

_UNITS = ((1_000_000_000, "G"), (1_000_000, "M"), (1_000, "k"))
_ENOUGH_FAILURES = 3
_WINDOW = 60.0
"""Seconds over which the rate is taken: long enough to be steady, short enough to follow a pause."""


def short(number: float) -> str:
    """Return a count in at most five characters: 999, 1.2k, 123k, 1.2M."""
    for unit, letter in _UNITS:
        # What would round to a thousand of the smaller unit is one of this.
        if number >= unit * 0.9995:
            scaled = number / unit
            return f"{scaled:.0f}{letter}" if scaled >= 99.95 else f"{scaled:.1f}".removesuffix(".0") + letter
    return f"{number:.0f}"


def money(nusd: int) -> str:
    """Return nano-USD as dollars: two decimals from $1, four from $0.0001, two figures below."""
    dollars = Decimal(nusd) / 1_000_000_000
    if dollars == 0:
        return "$0"
    if dollars >= 1:
        places = Decimal("0.01")
    elif dollars >= Decimal("0.0001"):
        places = Decimal("0.0001")
    else:
        places = Decimal(1).scaleb(dollars.adjusted() - 1)
    return f"${dollars.quantize(places, ROUND_HALF_UP):,f}"


def duration(seconds: float) -> str:
    """Return a time span in its two largest units: 0.4s, 42s, 2m05s, 1h02m, 3d04h."""
    if seconds < 9.95:
        return f"{seconds:.1f}s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02}s"
    if whole < 86_400:
        return f"{whole // 3600}h{whole % 3600 // 60:02}m"
    return f"{whole // 86_400}d{whole % 86_400 // 3600:02}h"


def rate(per_second: float) -> str:
    """Return records a second, or a minute where that is below one a second."""
    if per_second >= 0.95:
        return f"{per_second:.1f}/s" if per_second < 9.95 else f"{short(per_second)}/s"
    return f"{short(per_second * 60)}/min"


class Pace:
    """Records a second over the last minute of a run."""

    def __init__(self) -> None:
        self._seen: deque[tuple[float, int]] = deque([(0.0, 0)])

    def see(self, snapshot: Snapshot) -> float:
        """Take note of `snapshot` and return the rate."""
        self._seen.append((snapshot.elapsed, snapshot.this_run_ok + snapshot.this_run_failed))
        while len(self._seen) > 2 and self._seen[1][0] <= snapshot.elapsed - _WINDOW:
            self._seen.popleft()
        (began, before), (now, settled) = self._seen[0], self._seen[-1]
        return (settled - before) / (now - began) if now > began else 0.0


def share(snapshot: Snapshot) -> float | None:
    """Return how much of the input is settled, from 0 to 1; None where nobody knows how long it is."""
    if snapshot.total:
        return min(1.0, (snapshot.ok + snapshot.failed) / snapshot.total)
    return snapshot.fraction


def seconds_left(snapshot: Snapshot, per_second: float) -> float | None:
    """Return how long the rest takes at this rate, or None where that cannot be said."""
    done = share(snapshot)
    settled = snapshot.ok + snapshot.failed
    if not done or not settled or per_second <= 0:
        return None
    return settled * (1 - done) / done / per_second


def headline(snapshot: Snapshot, per_second: float) -> list[str]:
    """Return how far the run is: share, records, rate and time left."""
    done, settled = share(snapshot), snapshot.ok + snapshot.failed
    # Rounded down, because 100% means that nothing is left.
    parts = [] if done is None else [f"{int(done * 1000) / 10:.1f}%"]
    parts.append(f"{settled:,}/{snapshot.total:,} records" if snapshot.total else f"{settled:,} records")
    parts.append(rate(per_second))
    left = seconds_left(snapshot, per_second)
    if left is not None and snapshot.state == "running":
        parts.append(f"{duration(left)} left")
    return parts


def details(snapshot: Snapshot) -> list[str]:
    """Return what the run is made of: outcomes, requests, tokens and money against their limits."""
    parts = [f"{snapshot.ok:,} ok", f"{snapshot.failed:,} failed", f"{snapshot.in_flight} in flight"]
    if snapshot.throttled:
        parts.append(f"{snapshot.throttled:,} throttled")
    parts.append(_per_minute(snapshot.requests_per_minute, snapshot.rpm_limit, "req"))
    parts.append(_per_minute(snapshot.tokens_per_minute, snapshot.tpm_limit, "tok"))
    parts.append(_cost(snapshot))
    if snapshot.paused:
        parts.append(snapshot.paused)
    return parts


def progress_line(snapshot: Snapshot, per_second: float) -> str:
    """Return one moment of a run as one line."""
    return " · ".join(headline(snapshot, per_second) + details(snapshot))


class Trouble:
    """Notices that nothing but failures comes back, which is worth more than a bar that stands still."""

    def __init__(self) -> None:
        self._failures = 0
        self._code = ""

    def see(self, event: Event) -> None:
        if isinstance(event, AttemptEnded):
            self._failures = self._failures + 1 if event.error else 0
            self._code = event.code or event.error or ""

    def noted(self, snapshot: Snapshot) -> Snapshot:
        """Return `snapshot` with the failures as the reason why nothing moves, where there is no better one."""
        if snapshot.paused or self._failures < _ENOUGH_FAILURES:
            return snapshot
        return snapshot._replace(paused=f"{self._failures:,} attempts in a row failed: {self._code}")


def _per_minute(now: float, limit: int | None, unit: str) -> str:
    return f"{_against(short(max(0.0, now)), short(limit) if limit else None)} {unit}/min"


def _against(value: str, limit: str | None) -> str:
    return f"{value} of {limit}" if limit else value


def _cost(snapshot: Snapshot) -> str:
    cap = None if snapshot.cap_nusd is None else money(snapshot.cap_nusd)
    unknown = f" (+ at most {money(snapshot.unknown_nusd)} unknown)" if snapshot.unknown_nusd else ""
    return _against(money(snapshot.spent_nusd), cap) + unknown + _projected(snapshot)


def _projected(snapshot: Snapshot) -> str:
    if not snapshot.projected_nusd or share(snapshot) == 1:
        return ""
    return f", about {money(snapshot.projected_nusd)} in the end"


class Screen(Protocol):
    """Where a run shows itself. Only one thread calls it."""

    def show(self, snapshot: Snapshot) -> None:
        """Show how far the run is."""

    def say(self, line: str) -> None:
        """Write a line that stays."""

    def close(self) -> None:
        """Leave the terminal as it was."""


class Lines:
    """One line for each snapshot: for files, pipes and cron.

    Args:
        stream: Where the lines go.
        line: Turns a snapshot and its rate into a line.
    """

    def __init__(self, stream: TextIO, line: Callable[[Snapshot, float], str] = progress_line) -> None:
        self._stream = stream
        self._line = line
        self._pace = Pace()

    def show(self, snapshot: Snapshot) -> None:
        self.say(self._line(snapshot, self._pace.see(snapshot)))

    def say(self, line: str) -> None:
        self._stream.write(f"{line}\n")
        self._stream.flush()

    def close(self) -> None:
        self._stream.flush()
