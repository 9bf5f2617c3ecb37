"""What the dashboard shows, read from the usage log and from the state directories of the runs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import NamedTuple, Protocol

from pipeline.core.reconcile import Recorded
from pipeline.dashboard.caps import Cap, caps_of
from pipeline.errors import StateMismatch
from pipeline.observers.look import Seen, look
from pipeline.storage.state import Places
from pipeline.storage.usage import Grouping, RunRow, UsageTotal
from pipeline.types import Json

DAYS = 30
_RECENT = 20
_LOOKED_AT = 200
"""Runs among which those that are under way are looked for."""


class Log(Protocol):
    """What is asked of the usage log. Raises UsageLogError where it cannot be read."""

    def runs(self, limit: int = 100) -> Sequence[RunRow]: ...
    def totals(self, by: Grouping, since: date | None = None) -> Sequence[UsageTotal]: ...
    def recorded(self, first: date, last: date, endpoints: Sequence[str] = ()) -> Sequence[Recorded]: ...


class Live(NamedTuple):
    """A run that is under way."""

    run: RunRow
    status: Json
    """As in `status.json`; None where it has said nothing yet."""

    @property
    def now(self) -> Json:
        """How it moves; None where that is not known yet."""
        return self.status.get("now") if self.status is not None else None


class Use(NamedTuple):
    """How much of the limits of a model at an endpoint the runs under way use."""

    endpoint: str
    model: str
    requests: float
    """A minute."""
    rpm: int | None
    tokens: float
    tpm: int | None


class Day(NamedTuple):
    """What a day cost, in nano-USD."""

    day: date
    spent: int
    unknown: int


class Figures(NamedTuple):
    """Everything that the dashboard shows."""

    at: datetime
    live: Sequence[Live]
    uses: Sequence[Use]
    days: Sequence[Day]
    models: Sequence[UsageTotal]
    """Of this month (UTC), as `names`."""
    names: Sequence[UsageTotal]
    caps: Sequence[Cap]
    recent: Sequence[RunRow]

    @classmethod
    def none(cls, at: datetime) -> Figures:
        """Return what is shown where nothing can be read."""
        return cls(at, [], [], _days([], at.date()), [], [], [], [])

    @property
    def today(self) -> int:
        return self.days[-1].spent

    @property
    def month(self) -> int:
        """Nano-USD spent in this month."""
        return sum(spent(total) for total in self.models)


def gather(log: Log, at: datetime) -> Figures:
    """Read what there is.

    Raises:
        UsageLogError: The usage log is there and cannot be read.
    """
    today = at.date()
    month = today.replace(day=1)
    runs = log.runs(_LOOKED_AT)
    live = [Live(run, _status(run)) for run in runs if run.state == "running"]
    return Figures(
        at=at,
        live=live,
        uses=_uses(live),
        days=_days(log.totals("day", today - timedelta(days=DAYS - 1)), today),
        models=_dearest(log.totals("model", month)),
        names=_dearest(log.totals("name", month)),
        caps=caps_of(runs, lambda endpoints: log.recorded(month, today, endpoints)),
        recent=runs[:_RECENT],
    )


def places_of_run(run: RunRow) -> Places:
    return Places(Path(run.output), Path(run.state_dir))


def spent(total: UsageTotal) -> int:
    """Nano-USD that are known to be spent."""
    return total.ok_nusd + total.retried_nusd


def _status(run: RunRow) -> Json:
    try:
        seen: Seen = look(places_of_run(run))
    except StateMismatch:
        return None
    # Until a run has said something, the file is of the run before it.
    return seen.summary if seen.summary is not None and seen.summary["state"] == "running" else None


def _uses(live: Iterable[Live]) -> list[Use]:
    """Add up the runs that share limits. Where their limits differ, the highest is the account's."""
    uses: dict[tuple[str, str], Use] = {}
    for each in live:
        now = each.now
        if now is None:
            continue
        key = (each.run.endpoint, each.run.model)
        before = uses.get(key, Use(*key, 0.0, None, 0.0, None))
        uses[key] = before._replace(
            requests=before.requests + now["requests_per_minute"],
            rpm=_highest(before.rpm, now["rpm"]),
            tokens=before.tokens + now["tokens_per_minute"],
            tpm=_highest(before.tpm, now["tpm"]),
        )
    return [uses[key] for key in sorted(uses)]


def _highest(one: int | None, other: int | None) -> int | None:
    return max((limit for limit in (one, other) if limit is not None), default=None)


def _days(totals: Iterable[UsageTotal], today: date) -> list[Day]:
    """Return the last days, those without spend too."""
    known: Mapping[str, UsageTotal] = {total.key: total for total in totals}
    days = [today - timedelta(days=back) for back in reversed(range(DAYS))]
    return [
        Day(day, spent(total), total.unknown_nusd) if (total := known.get(day.isoformat())) else Day(day, 0, 0)
        for day in days
    ]


def _dearest(totals: Iterable[UsageTotal]) -> list[UsageTotal]:
    return sorted(totals, key=lambda total: (-spent(total), total.key))
