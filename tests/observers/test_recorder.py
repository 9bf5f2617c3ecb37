from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.core.monthly import MonthlyCap
from pipeline.core.timeline import ANSWERED, DEAD, FAILED, INPUT, ITEMS, OK, PAUSED, REFUSED, SENT
from pipeline.errors import StateMismatch
from pipeline.events import AttemptEnded, AttemptSent, Event, Notice, Paused, RecordFailed, RecordsSettled
from pipeline.observers.recorded import MOST_BYTES, MOST_SUMS, OTHERS, About, Setting, read_history, sums
from pipeline.observers.recorder import Recorder
from pipeline.observers.tally import Tally
from pipeline.storage.entries import Bury, Kind, Spend, SpendKey
from pipeline.storage.ledger import Ledger
from pipeline.storage.state import Places
from pipeline.types import DeadLetter, Usage
from tests.storage.outputs import close_both, open_both, places_in

ABOUT = About("m", "simulator", 600, None, 16, 20, None, [Setting("model", '"m"', "a.yaml:3")])
ANSWER = AttemptEnded(0.25, 20, 300, 40, None, None, 200)
REFUSAL = AttemptEnded(0.01, 20, 0, 0, "Throttled", "rate_limit_exceeded", 429)
TIMEOUT = AttemptEnded(5.0, 20, 0, 0, "Ambiguous", "timeout", None)


class HandClock:
    """Time is what the test says."""

    def __init__(self, seconds: float = 0.0) -> None:
        self.seconds = seconds

    def monotonic(self) -> float:
        return self.seconds

    def now(self) -> float:
        return 1_800_000_000 + self.seconds

    async def sleep(self, seconds: float) -> None:
        self.seconds += seconds


class Seen:
    """One run on a ledger of its own directory."""

    def __init__(self, places: Places, ledger: Ledger) -> None:
        self.clock = HandClock(50.0)
        self.tally = Tally(self.clock.monotonic)
        self.recorder = Recorder(places.history, ABOUT, ledger, self.tally, self.clock)

    def at(self, seconds: float, *events: Event) -> Seen:
        """Let events happen so many seconds after the start."""
        self.clock.seconds = 50.0 + seconds
        for event in events:
            self.tally.see(event)
            if isinstance(event, Recorder.KINDS):
                self.recorder.see(event)
        self.recorder.look()
        return self


@pytest.fixture
def places(tmp_path: Path) -> Places:
    return places_in(tmp_path)


@pytest.fixture
def ledger(places: Places) -> Iterator[Ledger]:
    ledger, log, _ = open_both(places)
    yield ledger
    close_both(ledger, log)


def test_what_happened_from_look_to_look_is_in_the_row_of_that_second(places: Places, ledger: Ledger) -> None:
    seen = Seen(places, ledger).at(1.0, AttemptSent(0.0), AttemptSent(0.1)).at(2.0)
    seen.at(3.0, ANSWER, TIMEOUT, RecordsSettled(19, 1)).at(3.5, REFUSAL)
    rows = seen.recorder.recorded().last.timeline.rows

    assert [row[SENT] for row in rows] == [2, 0, 0, 0]
    assert [row[ANSWERED] for row in rows] == [0, 0, 1, 0]
    assert [row[FAILED] for row in rows] == [0, 0, 1, 0]
    assert [row[REFUSED] for row in rows] == [0, 0, 0, 1]
    assert (rows[2][OK], rows[2][DEAD], rows[2][INPUT], rows[2][ITEMS]) == (19, 1, 300, 40)


def test_pauses_that_overlap_count_once_and_only_as_far_as_they_have_come(places: Places, ledger: Ledger) -> None:
    seen = Seen(places, ledger).at(1.0, Paused(4.0, "rate_limit_exceeded"))
    seen.at(2.5, Paused(3.0, "rate_limit_exceeded")).at(20.0, Paused(60.0, "rate_limit_exceeded")).at(21.5)
    timeline = seen.recorder.recorded().last.timeline

    assert timeline.total(PAUSED) == 4.5 + 1.5
    assert [row[PAUSED] for row in timeline.rows[:7]] == [0, 1, 1, 1, 1, 0.5, 0]


def test_a_short_pause_within_a_long_one_does_not_end_it(places: Places, ledger: Ledger) -> None:
    seen = Seen(places, ledger).at(1.0, Paused(10.0, "slow_down")).at(2.0, Paused(1.0, "slow_down")).at(30.0)

    assert seen.recorder.recorded().last.timeline.total(PAUSED) == 10


async def test_a_further_run_carries_on_what_earlier_ones_recorded(places: Places, ledger: Ledger) -> None:
    first = Seen(places, ledger).at(1.0, AttemptSent(0.0), ANSWER, REFUSAL)
    await first.recorder.end()
    second = Seen(places, ledger).at(2.0, AttemptSent(0.0), ANSWER)
    await second.recorder.end()
    third = Seen(places, ledger).at(0.0, REFUSAL)
    await third.recorder.end()
    recorded = read_history(places.history)

    assert recorded is not None
    assert recorded.last.timeline.total(REFUSED) == 1
    assert recorded.whole.timeline.total(ANSWERED) == 2
    assert recorded.whole.attempts == {"rate_limit_exceeded": 2}
    assert (recorded.whole.runs, len(recorded.whole.starts)) == (3, 3)
    assert recorded.whole.executing.percentiles().max == 0.25


async def test_what_another_ledger_left_is_not_carried_on(places: Places, ledger: Ledger, tmp_path: Path) -> None:
    await Seen(places, ledger).at(1.0, ANSWER).recorder.end()
    other_ledger, log, _ = open_both(places_in(tmp_path / "other"))
    seen = Seen(places, other_ledger).at(1.0, ANSWER)
    close_both(other_ledger, log)

    assert seen.recorder.recorded().whole.timeline.total(ANSWERED) == 1


def test_failed_records_are_those_of_the_ledger_and_those_seen_since(places: Places, ledger: Ledger) -> None:
    with ledger.transaction():
        ledger._end([Bury([DeadLetter(3, "a", "timeout", "took too long", 6, None, None, b"{}")])])
    seen = Seen(places, ledger).at(1.0, RecordFailed(7, "b", "timeout"), RecordFailed(9, "c", "too_long"))
    timeout, too_long = seen.recorder.recorded().failures.kinds

    assert (timeout.count, timeout.message, timeout.examples) == (2, "took too long", [(3, "a"), (7, "b")])
    assert (too_long.count, too_long.message, too_long.examples) == (1, "", [(9, "c")])


async def test_at_the_end_the_ledger_says_what_failed(places: Places, ledger: Ledger) -> None:
    seen = Seen(places, ledger).at(1.0, RecordFailed(7, "b", "timeout"))
    with ledger.transaction():
        ledger._end([Bury([DeadLetter(7, "b", "timeout", "took too long", 6, None, None, b"{}")])])
    await seen.recorder.end()
    recorded = read_history(places.history)

    assert recorded is not None
    assert [(kind.count, kind.message) for kind in recorded.failures.kinds] == [(1, "took too long")]


async def test_the_file_is_for_the_owner_only_and_is_read_as_it_was_written(places: Places, ledger: Ledger) -> None:
    seen = Seen(places, ledger).at(1.0, ANSWER)
    await seen.recorder.end()
    recorded = read_history(places.history)

    assert places.history.stat().st_mode & 0o777 == 0o600
    assert recorded is not None
    assert recorded.as_json() == places.history.read_bytes()
    assert (recorded.about, recorded.ledger) == (ABOUT._replace(caps=[], cap_keys=[]), ledger.name)


@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b'{"schema_version":2}', b"\xff", b'{"schema_version":1}'])
def test_a_damaged_file_is_refused_by_name_and_a_run_begins_it_anew(
    places: Places, ledger: Ledger, content: bytes
) -> None:
    places.history.write_bytes(content)

    with pytest.raises(StateMismatch, match=r"history\.json"):
        read_history(places.history)
    assert Seen(places, ledger).at(1.0, ANSWER).recorder.recorded().whole.timeline.total(ANSWERED) == 1


@pytest.mark.parametrize("cut", range(0, 2000, 97))
def test_no_damage_raises_anything_else(places: Places, ledger: Ledger, cut: int) -> None:
    whole = Seen(places, ledger).at(1.0, ANSWER).recorder.recorded().as_json()
    places.history.write_bytes(whole[:cut] + whole[cut + 1 :])

    try:
        read_history(places.history)
    except StateMismatch:
        return


def test_no_history_is_none(places: Places) -> None:
    assert read_history(places.history) is None


async def test_whatever_happens_the_file_stays_below_its_bound(places: Places, ledger: Ledger) -> None:
    huge = 10**15
    kinds: tuple[Kind, ...] = ("ok", "retried", "unknown")
    for model in (f"\0{number}" * 400 for number in range(500)):
        for kind in kinds:
            key = SpendKey(1, "2026-11-21", "m", model, kind)
            ledger._rollup.add(key, Usage(huge, huge, huge, huge, huge), huge, huge)
    text = "\0" * 5000
    caps = [MonthlyCap(text, huge, text, text)] * 500
    about = ABOUT._replace(settings=[Setting(text, text, text)] * 500, caps=caps, cap_keys=[text] * 500)
    for _ in range(40):
        seen = Seen(places, ledger)
        seen.recorder._about = about
        for number in range(600):
            code = f"\0{number}" * 400
            refused = AttemptEnded(number / 7, 10**15, 10**15, 10**15, "Throttled", code, 429)
            failed = RecordFailed(number * 10**15, "\0" * 1_000_000, code)
            seen.at(number * 1000.7, refused, AttemptSent(number / 3), failed, RecordsSettled(10**15, 10**15))
            seen.at(number * 1000.7, Paused(0.333, code), Notice("info", "x"))
        await seen.recorder.end()
    size = places.history.stat().st_size
    print(f"\n{size} bytes of at most {MOST_BYTES}")

    assert size < MOST_BYTES


def test_the_largest_sums_are_kept_and_the_rest_adds_up() -> None:
    days = ("2026-11-20", "2026-11-21")
    spends = [
        Spend(SpendKey(1, day, "m", f"m{n}", "ok"), 1, Usage(n, 1), n) for n in range(MOST_SUMS + 10) for day in days
    ]
    kept = sums(spends)

    assert len(kept) == MOST_SUMS + 1
    assert (kept[0].model, kept[0].cost, kept[0].requests) == ("m39", 39 + 39, 2)
    assert (kept[-1].model, kept[-1].requests) == (OTHERS, 20)
    assert sum(each.cost for each in kept) == sum(spend.cost for spend in spends)
    assert sum(each.input for each in kept) == sum(spend.usage.input for spend in spends)


async def test_what_is_kept_up_is_written_while_it_runs(places: Places, ledger: Ledger) -> None:
    seen = Seen(places, ledger).at(1.0, ANSWER)
    await seen.recorder._write()

    assert places.history.exists()
