"""Cron schedules: what is allowed, when they come next, and how other schedulers say them. Pure: time is an argument.

The arithmetic is cronsim's, which follows Debian's cron where clocks change: a fixed time that an hour set forward
leaves out comes right after it, and one that an hour set back repeats comes once.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Set
from datetime import UTC, datetime
from itertools import islice
from typing import NamedTuple

from cronsim import CronSim, CronSimError

_CLOCK = re.compile(r"([01]?\d|2[0-3]):([0-5]\d)", re.ASCII)
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_DAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_SYSTEMD_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")


class _Field(NamedTuple):
    """One of the five fields: its name, its numbers, and the names that stand for the first of them."""

    name: str
    first: int
    last: int
    names: tuple[str, ...] = ()

    @property
    def allowed(self) -> str:
        names = f", or {self.names[0]} to {self.names[-1]}" if self.names else ""
        return f"{self.first} to {self.last}{names}; also lists 1,2, ranges 1-5, and steps */2 or 1-5/2"


_FIELDS = (
    _Field("minute", 0, 59),
    _Field("hour", 0, 23),
    _Field("day of month", 1, 31),
    _Field("month", 1, 12, _MONTHS),
    _Field("day of week", 0, 7, _DAYS),
)
_NICKNAMES = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
}


class Schedule(NamedTuple):
    """A schedule in cron's language, found to be right."""

    text: str
    """As it was given."""
    fields: tuple[str, ...]
    """Minute, hour, day of month, month, day of week."""
    minutes: Set[int]
    hours: Set[int]
    days: Set[int]
    months: Set[int]
    weekdays: Set[int]
    """From 0, Sunday, to 6."""

    @property
    def either_day(self) -> bool:
        """Whether a day of the month or one of the week is enough; both must be where one of the two begins with *."""
        return not self.fields[2].startswith("*") and not self.fields[4].startswith("*")


def parse_schedule(text: str) -> Schedule:
    """Return the schedule that `text` says: five fields of cron, a nickname such as @daily, or a time such as 02:30.

    Raises:
        ValueError: It says none; the message names the field and what it takes.
    """
    clock = _CLOCK.fullmatch(text)
    said = f"{int(clock[2])} {int(clock[1])} * * *" if clock else " ".join(text.lower().split(" "))
    fields = tuple(_NICKNAMES.get(said, said).split())
    if said.startswith("@") and said not in _NICKNAMES:
        raise ValueError(f"{text!r} is no time: write one of {', '.join(_NICKNAMES)}")
    if len(fields) != len(_FIELDS):
        names = ", ".join(field.name for field in _FIELDS)
        raise ValueError(f"{text!r}: write 02:30, or the five fields {names}, such as '*/15 * * * *'")
    sets = [_values(field, part) for field, part in zip(_FIELDS, fields, strict=True)]
    sets[4] = frozenset(day % 7 for day in sets[4])
    schedule = Schedule(said, fields, *sets)
    if not _ever(schedule):
        raise ValueError(f"day of month: no month of {fields[3]!r} has a day {fields[2]!r}")
    return schedule


def next_times(schedule: Schedule, after: datetime, count: int) -> list[datetime]:
    """Return the next times after a moment, in its time zone."""
    fields = [_spelled_out(field, text) for field, text in zip(_FIELDS, schedule.fields, strict=True)]
    return list(islice(CronSim(" ".join(fields), after), count))


def in_words(schedule: Schedule) -> str:
    """Return what the schedule says, such as `at 02:00 every day`."""
    said: str = CronSim(" ".join(schedule.fields), datetime(2000, 1, 1, tzinfo=UTC)).explain()
    return said[0].lower() + said[1:]


def on_calendar(schedule: Schedule) -> list[str]:
    """Return the schedule as systemd's `OnCalendar` says it; there it needs both days, so that either is two lines."""
    time = f"{_systemd(schedule.hours, _FIELDS[1])}:{_systemd(schedule.minutes, _FIELDS[0])}:00"
    month, day = _systemd(schedule.months, _FIELDS[3]), _systemd(schedule.days, _FIELDS[2])
    weekdays = _systemd_weekdays(schedule.weekdays)
    if schedule.either_day:
        return [f"*-{month}-{day} {time}", f"{weekdays}*-{month}-* {time}"]
    return [f"{weekdays}*-{month}-{day} {time}"]


def for_kubernetes(schedule: Schedule) -> str:
    """Return the schedule as a CronJob takes it: there Sunday is 0 alone.

    Raises:
        ValueError: It would mean other days there.
    """
    days, weekdays = schedule.fields[2], schedule.fields[4]
    stepped = [part for part in (days, weekdays) if part.startswith("*/")]
    if stepped and "*" not in (days, weekdays):
        raise ValueError(
            f"day of month {days!r} and day of week {weekdays!r}: cron runs where both hold, Kubernetes where either "
            f"does; write {stepped[0]!r} as a list, or leave one of them *"
        )
    if "7" in weekdays:
        weekdays = ",".join(map(str, sorted(schedule.weekdays)))
    return " ".join((*schedule.fields[:4], weekdays))


def _values(field: _Field, text: str) -> frozenset[int]:
    values: set[int] = set()
    for term in text.split(","):
        span, slash, step = term.partition("/")
        if slash and not (step.isascii() and step.isdigit() and int(step)):
            raise ValueError(f"{field.name}: the step {step!r} is no number from 1")
        if slash and span != "*" and "-" not in span:
            raise ValueError(f"{field.name}: {term!r}: a step follows * or a range, such as */2 or 1-5/2")
        values.update(range(*_span(field, span), int(step or 1)))
    return frozenset(values)


def _spelled_out(field: _Field, text: str) -> str:
    """A field without ranges, of which cronsim misreads some (`3-3/1`); a * stays, as it changes what days mean."""
    terms = [
        term if term.startswith("*") else ",".join(map(str, sorted(_values(field, term)))) for term in text.split(",")
    ]
    return ",".join(terms)


def _span(field: _Field, text: str) -> tuple[int, int]:
    """The first value of a range, and the one behind its last."""
    if text == "*":
        return field.first, field.last + 1
    first, dash, last = text.partition("-")
    begin = _number(field, first)
    end = _number(field, last) if dash else begin
    if end < begin:
        raise ValueError(f"{field.name}: {text!r} ends before it begins")
    return begin, end + 1


def _number(field: _Field, text: str) -> int:
    if text in field.names:
        return field.names.index(text) + (field.first if field.name == "month" else 0)
    if not (text.isascii() and text.isdigit() and field.first <= int(text) <= field.last):
        raise ValueError(f"{field.name}: {text!r} is not one of {field.allowed}")
    return int(text)


def _ever(schedule: Schedule) -> bool:
    try:
        return bool(next_times(schedule, datetime(2000, 1, 1, tzinfo=UTC), 1))
    except CronSimError:
        return False


def _systemd(values: Set[int], field: _Field) -> str:
    if len(values) == field.last - field.first + 1:
        return "*"
    return ",".join(f"{first:02}" if first == last else f"{first:02}..{last:02}" for first, last in _runs(values))


def _systemd_weekdays(values: Set[int]) -> str:
    if len(values) == len(_SYSTEMD_DAYS):
        return ""
    runs = _runs({(day - 1) % 7 for day in values})
    names = [(_SYSTEMD_DAYS[first], _SYSTEMD_DAYS[last]) for first, last in runs]
    return ",".join(first if first == last else f"{first}..{last}" for first, last in names) + " "


def _runs(values: Set[int]) -> Iterator[tuple[int, int]]:
    """Yield the first and the last of each run of successive numbers."""
    for first in sorted(value for value in values if value - 1 not in values):
        last = first
        while last + 1 in values:
            last += 1
        yield first, last
