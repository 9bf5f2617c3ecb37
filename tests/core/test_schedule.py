"""Cron schedules against an oracle that tries every minute, and against systemd's own reading of what is derived."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta, tzinfo
from itertools import islice
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.core.schedule import for_kubernetes, in_words, next_times, on_calendar, parse_schedule

BOUNDS = ((0, 59), (0, 23), (1, 31), (1, 12), (0, 7))
BERLIN = ZoneInfo("Europe/Berlin")
MINUTE = timedelta(minutes=1)


@st.composite
def terms(draw: st.DrawFn, bounds: tuple[int, int]) -> str:
    first = draw(st.integers(*bounds))
    last = draw(st.integers(first, bounds[1]))
    step = draw(st.sampled_from(["", "/1", "/2", "/3", "/7"]))
    return draw(st.sampled_from([str(first), f"{first}-{last}{step}", f"*{step}"]))


@st.composite
def expressions(draw: st.DrawFn) -> str:
    def field(bounds: tuple[int, int]) -> str:
        return ",".join(draw(st.lists(terms(bounds), min_size=1, max_size=2)))

    return " ".join("*" if draw(st.booleans()) else field(bounds) for bounds in BOUNDS)


def allows(text: str, value: int, bounds: tuple[int, int]) -> bool:
    """Whether a field holds for a value, read term by term and number by number."""
    for term in text.split(","):
        span, _, step = term.partition("/")
        low, _, high = span.partition("-")
        first = bounds[0] if span == "*" else int(low)
        last = bounds[1] if span == "*" else int(high or low)
        if first <= value <= last and (value - first) % int(step or 1) == 0:
            return True
    return False


def holds(expression: str, at: datetime) -> bool:
    """Whether a schedule holds in a minute of the wall clock: cron(5), word by word."""
    minute, hour, day, month, weekday = expression.split()
    dom = allows(day, at.day, BOUNDS[2])
    dow = any(allows(weekday, number, BOUNDS[4]) for number in {at.isoweekday() % 7, at.isoweekday()})
    days = dom and dow if day[0] == "*" or weekday[0] == "*" else dom or dow
    return (
        days
        and allows(minute, at.minute, BOUNDS[0])
        and allows(hour, at.hour, BOUNDS[1])
        and allows(month, at.month, BOUNDS[3])
    )


def every_minute(expression: str, after: datetime) -> Iterator[datetime]:
    """All times of the next two years, found by trying each minute of the days that can have any."""
    day, end = after.replace(hour=0, minute=0), after + timedelta(days=732)
    days = expression.split()[2:]
    while day < end:
        if holds(" ".join(["*", "*", *days]), day):
            yield from (at for number in range(1440) if (at := day + number * MINUTE) > after and holds(expression, at))
        day += timedelta(days=1)


@settings(max_examples=150, deadline=None)
@given(expression=expressions(), days=st.integers(0, 2_000), minutes=st.integers(0, 1439))
def test_the_next_times_are_those_that_trying_every_minute_finds(expression: str, days: int, minutes: int) -> None:
    after = datetime(2024, 1, 1, tzinfo=UTC) + timedelta(days=days, minutes=minutes)
    expected = list(islice(every_minute(expression, after), 3))
    try:
        found = next_times(parse_schedule(expression), after, 3)
    except ValueError:
        found = []

    assert [at for at in found if at < after + timedelta(days=732)] == expected


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        # 2026-03-29, 02:00 → 03:00: what falls into the gap comes right behind it
        ("30 2 * * *", ["2026-03-28T02:30+01:00", "2026-03-29T03:00+02:00", "2026-03-30T02:30+02:00"]),
        ("0 * 29 3 *", ["2026-03-29T00:00+01:00", "2026-03-29T01:00+01:00", "2026-03-29T03:00+02:00"]),
    ],
)
def test_a_time_that_the_clock_leaves_out_comes_behind_the_gap(expression: str, expected: list[str]) -> None:
    times = next_times(parse_schedule(expression), datetime(2026, 3, 28, tzinfo=BERLIN), 3)

    assert [at.isoformat(timespec="minutes") for at in times] == expected


def test_a_fixed_time_that_comes_twice_is_taken_once_and_a_wildcard_every_time() -> None:
    before = datetime(2026, 10, 25, 1, 50, tzinfo=BERLIN)
    fixed = next_times(parse_schedule("30 2 * * *"), before, 2)
    every_half_hour = next_times(parse_schedule("*/30 * * * *"), before, 5)

    assert [at.isoformat(timespec="minutes") for at in fixed] == ["2026-10-25T02:30+02:00", "2026-10-26T02:30+01:00"]
    assert [at.astimezone(UTC).strftime("%H:%M") for at in every_half_hour] == [
        "00:00", "00:30", "01:00", "01:30", "02:00",
    ]  # fmt: skip


@pytest.mark.parametrize("zone", [UTC, BERLIN, ZoneInfo("America/New_York"), ZoneInfo("Australia/Lord_Howe")])
@settings(max_examples=40, deadline=None)
@given(expression=expressions(), day=st.dates(date(2026, 1, 1), date(2027, 12, 1)))
def test_in_every_zone_times_go_forward_and_exist(expression: str, day: date, zone: tzinfo) -> None:
    after = datetime(day.year, day.month, day.day, tzinfo=zone)
    try:
        times = next_times(parse_schedule(expression), after, 4)
    except ValueError:
        return
    instants = [at.astimezone(UTC) for at in times]

    assert instants == sorted(set(instants))
    assert all(at > after.astimezone(UTC) for at in instants)
    assert [at.astimezone(zone).replace(tzinfo=None) for at in instants] == [at.replace(tzinfo=None) for at in times]


@pytest.mark.parametrize(
    ("text", "same"),
    [
        ("02:30", "30 2 * * *"),
        ("2:05", "5 2 * * *"),
        ("@daily", "0 0 * * *"),
        ("@weekly", "0 0 * * sun"),
        ("0 3 * * MON-FRI", "0 3 * * 1-5"),
        ("0 0 1 jan,jul *", "0 0 1 1,7 *"),
        ("0 0 * * 7", "0 0 * * 0"),
    ],
)
def test_the_same_time_can_be_said_in_several_ways(text: str, same: str) -> None:
    assert parse_schedule(text)[2:] == parse_schedule(same)[2:]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("60 * * * *", "minute: '60' is not one of 0 to 59"),
        ("0 24 * * *", "hour: '24' is not one of 0 to 23"),
        ("0 0 0 * *", "day of month: '0' is not one of 1 to 31"),
        ("0 0 * foo *", "month: 'foo' is not one of 1 to 12, or jan to dec"),
        ("0 0 * * 8", "day of week: '8' is not one of 0 to 7, or sun to sat"),
        ("0 0 * * fri-mon", "day of week: 'fri-mon' ends before it begins"),
        ("*/0 * * * *", "minute: the step '0' is no number from 1"),
        ("5/15 * * * *", "minute: '5/15': a step follows [*] or a range"),
        ("0 0 31 2 *", "day of month: no month of '2' has a day '31'"),
        ("0 0 L * *", "day of month: 'l' is not one of"),
        ("0 0 * * fri#2", "day of week: 'fri#2' is not one of"),
        ("1,,2 * * * *", "minute: '' is not one of"),
        ("²  * * * *", "minute: '²' is not one of"),
        ("* * * *", "write 02:30, or the five fields minute, hour"),
        ("* * * * * *", "write 02:30, or the five fields"),
        ("25:00", "write 02:30"),
        ("", "write 02:30"),
        ("@reboot", "'@reboot' is no time: write one of @hourly"),
        ("* * * * *\n* * * * * rm", "write 02:30|is not one of"),
    ],
)
def test_a_bad_schedule_names_the_field_and_what_it_takes(text: str, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        parse_schedule(text)


def test_a_schedule_is_said_in_words() -> None:
    assert in_words(parse_schedule("02:30")) == "at 02:30 every day"
    assert in_words(parse_schedule("0 3 * * mon-fri")) == "at 03:00 on Monday through Friday"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("30 2 * * *", ["*-*-* 02:30:00"]),
        ("*/15 * * * *", ["*-*-* *:00,15,30,45:00"]),
        ("0 3 * * mon-fri", ["Mon..Fri *-*-* 03:00:00"]),
        ("0 3 * * 5-7", ["Fri..Sun *-*-* 03:00:00"]),
        ("0 3 13 * 5", ["*-*-13 03:00:00", "Fri *-*-* 03:00:00"]),
        ("0 3 */2 * 1", ["Mon *-*-01,03,05,07,09,11,13,15,17,19,21,23,25,27,29,31 03:00:00"]),
    ],
)
def test_systemd_says_either_day_in_two_lines(text: str, expected: list[str]) -> None:
    assert on_calendar(parse_schedule(text)) == expected


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="no systemd-analyze")
@settings(max_examples=25, deadline=None)
@given(expression=expressions())
def test_systemd_reads_the_same_next_times(expression: str) -> None:
    after = datetime(2026, 11, 26, 12, 0, tzinfo=UTC)
    try:
        schedule = parse_schedule(expression)
    except ValueError:
        return
    found = sorted({at for line in on_calendar(schedule) for at in systemd_times(line, after)})[:3]

    assert found == next_times(schedule, after, 3)


def systemd_times(calendar: str, after: datetime) -> list[datetime]:
    command = ["systemd-analyze", "calendar", "--iterations=3", f"--base-time={after:%Y-%m-%d %H:%M:%S} UTC", calendar]
    shown = subprocess.run(command, capture_output=True, text=True, check=True, env={"TZ": "UTC", "PATH": "/usr/bin"})
    found = re.findall(r"(?:Next elapse|Iter. #\d): \w{3} (\S+ \S+) UTC", shown.stdout)
    return [datetime.fromisoformat(text).replace(tzinfo=UTC) for text in found]


def test_kubernetes_has_no_seventh_day_and_refuses_days_that_it_would_read_otherwise() -> None:
    assert for_kubernetes(parse_schedule("0 3 * * 5-7")) == "0 3 * * 0,5,6"
    assert for_kubernetes(parse_schedule("0 3 */2 * *")) == "0 3 */2 * *"
    with pytest.raises(ValueError, match="Kubernetes where either does; write"):
        for_kubernetes(parse_schedule("0 3 */2 * 1"))
