"""A slice of each storm; the full figures are commands, see `tests/faults/storms/__init__.py`.

Each is a claim about every moment of a run, so what is tried here is spread over all of it.
"""

from __future__ import annotations

import pytest

from tests.faults.injectors import no_disks, skip_if
from tests.faults.storms import errors, kills, pages, power, syscalls, tails
from tests.faults.storms.interposer import missing


@pytest.mark.row(1, 14)
def test_random_kills_with_hundreds_in_flight_lose_nothing_and_buy_nothing_twice() -> None:
    storm = kills.storm(seed=3, cycles=3)
    print(storm.figures())

    assert storm.kills == 3
    assert max(storm.inflight) >= 200
    assert storm.lines == storm.outputs * 8_000


@pytest.mark.row(2, 3, 4)
@pytest.mark.parametrize(
    ("plot", "every"), [("first", 50), ("torn", 60), ("grown", 70), ("packed", 40), ("mended", 90)]
)
def test_a_kill_at_a_durability_syscall_loses_nothing(plot: str, every: int) -> None:
    skip_if(missing())
    tally = syscalls.storm(plot, seed=7, every=every)
    print(tally)

    assert tally.broken == []
    assert tally.runs >= 2
    assert tally.again >= 1


@pytest.mark.row(18, 19, 20, 21)
def test_a_disk_that_refuses_stops_the_run_at_once_and_nothing_is_lost() -> None:
    skip_if(missing())
    tally = errors.storm("first", every=50, offset=30)
    print(tally)

    assert tally.broken == []
    assert tally.stopped >= 4
    assert tally.most_calls < 100, "a run whose disk refuses for good does not go on trying"


@pytest.mark.row(26, 27, 28, 29)
def test_a_damaged_tail_is_cut_at_the_damage_and_kept() -> None:
    skip_if(missing())
    tally = tails.storm(5, cuts=60, garbage=40, every=50)
    print(tally)

    assert tally.broken == []
    assert (tally.cuts, tally.garbage) == (60, 40)
    assert tally.recovered > 60
    assert tally.refused > 0


@pytest.mark.row(32, 33)
def test_a_damaged_ledger_is_refused_or_the_damage_changes_nothing() -> None:
    skip_if(missing())
    tallies = pages.storm(5, trials=30, every=20)
    print(*tallies, sep="\n")

    assert [tally.broken for tally in tallies] == [[], [], []]
    assert all(tally.refused for tally in tallies)


@pytest.mark.row(17)
def test_a_power_cut_loses_no_synced_line() -> None:
    skip_if(missing() or no_disks())
    tally = power.storm(seed=2, cuts=4)
    print(tally)

    assert tally.broken == []
    assert tally.cuts == 4
    assert tally.lines > 0


@pytest.mark.row(2)
def test_nothing_is_sent_before_its_intent_is_durable() -> None:
    """Killed at the last write of a commit that makes intents durable, when the server has had time to answer."""
    skip_if(missing())
    tally = syscalls.storm_commits(seed=1, commits=4)
    print(tally)

    assert tally.broken == []
    assert tally.points >= 4
