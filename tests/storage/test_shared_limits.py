from __future__ import annotations

import math
import os
from pathlib import Path

from pipeline.core.lane import Lane
from pipeline.core.limits import Limits
from pipeline.storage.lane_file import LaneFile
from pipeline.storage.shared_limits import SharedLane, SharedLimits

MODEL = "m"


class Runs:
    """Runs of one user, each with a lane for the same model."""

    def __init__(self, state: Path) -> None:
        self._state = state
        self.said: list[str] = []

    def lane(self, rpm: int | None, now: float = 0.0, key: str = "key") -> SharedLane:
        account = ("http://localhost/v1", key, None, None)
        shared = SharedLimits({"PIPELINE_STATE": str(self._state)}, account, self.said.append)
        lane = shared.lane(MODEL, Limits(8, rpm=rpm), now)
        assert isinstance(lane, SharedLane)
        return lane

    def two(self, *rpm: int | None) -> tuple[SharedLane, SharedLane]:
        """Two lanes that are in step, at time 0."""
        one, other = (self.lane(each) for each in rpm)
        one.refresh(0.0)
        other.refresh(0.0)
        return one, other

    def files(self) -> list[Path]:
        return list((self._state / "limits").iterdir())


def die(lane: SharedLane) -> None:
    """Free the lock by which a run is known to live, as its death does."""
    assert lane._file is not None
    assert lane._file._own is not None
    os.close(lane._file._own)


def refuse_twice(lane: Lane) -> float:
    """Have two attempts refused, and return the time from which on one at a time may go."""
    now = 1.0
    for _ in range(2):
        charge = lane.take(1, now)
        lane.refused(charge, None, now)
        lane.pause(charge, 1.0, 0.0, now)
        now += 2.0
    return now


def test_of_two_runs_that_see_the_last_free_place_one_has_it(tmp_path: Path) -> None:
    one, other = Runs(tmp_path).two(60, 60)
    waits = one.wait(1, 0.0), other.wait(1, 0.0)
    charges = one.claim(1, 0.0), other.claim(1, 0.0)

    assert waits == (0.0, 0.0)
    assert [charge is None for charge in charges] == [False, True]
    assert other.wait(1, 0.0) > 0


def test_a_run_that_could_go_and_does_not_holds_nobody_up(tmp_path: Path) -> None:
    idle, other = Runs(tmp_path).two(6_000, 6_000)
    charges = [other.claim(1, 2.0) for _ in range(10)]
    could = idle.wait(1, 2.0)

    assert None not in charges
    assert could == 0
    assert other.wait(1, 2.0) == 0


def test_a_run_that_had_more_lets_the_one_that_waits_go_first(tmp_path: Path) -> None:
    waiting, ahead = Runs(tmp_path).two(6_000, 6_000)
    now = 2.0
    while ahead.claim(1, now) is not None:
        pass
    short = waiting.wait(1, now)
    now += 0.05
    refused = ahead.wait(1, now)

    assert short > 0
    assert refused > 0
    assert waiting.claim(1, now) is not None
    assert ahead.wait(1, now + 0.25) == 0, "the one that waited has not come back"


def test_what_a_run_gives_back_is_there_for_the_other(tmp_path: Path) -> None:
    one, other = Runs(tmp_path).two(60, 60)
    charge = one.claim(1, 0.0)
    assert charge is not None
    before = other.wait(1, 0.0)
    one.unsent(charge, 0.0)

    assert before > 0
    assert other.wait(1, 0.0) == 0


def test_a_run_that_is_alone_again_has_its_own_limit_and_no_more(tmp_path: Path) -> None:
    gentle, other = Runs(tmp_path).two(120, 1_200)
    gentle.wait(1, 0.0)
    together = gentle.requests.limit
    other.close()
    gentle.wait(1, 1.0)

    assert (together, gentle.requests.limit) == (1_200, 120)


def test_a_run_looks_again_soon_even_where_only_an_answer_to_another_can_help(tmp_path: Path) -> None:
    one, other = Runs(tmp_path).two(6_000, 6_000)
    now = refuse_twice(one)
    probe = one.claim(1, now)

    assert probe is not None
    assert 0 < other.wait(1, now) <= 0.1


def test_a_killed_runs_probe_is_not_waited_for(tmp_path: Path) -> None:
    runs = Runs(tmp_path)
    survivor, killed = runs.two(6_000, 6_000)
    third = runs.lane(6_000)
    third.refresh(0.0)
    now = refuse_twice(killed)
    assert killed.claim(1, now) is not None
    before = survivor.wait(1, now + 1)
    die(killed)
    survivor.refresh(now + 1)

    assert before > 0
    assert third.wait(1, now + 1.5) == 0
    assert math.isclose(survivor.share, 0.7, abs_tol=0.06)


def test_a_run_that_comes_while_nobody_answers_waits_a_second(tmp_path: Path) -> None:
    runs = Runs(tmp_path)
    runs.lane(60)
    later = runs.lane(60, now=5.0)

    assert later.wait(1, 5.9) > 0
    assert later.wait(1, 6.0) == 0


def test_a_run_that_comes_when_the_first_has_died_waits_for_nobody(tmp_path: Path) -> None:
    runs = Runs(tmp_path)
    first, later = runs.lane(60), runs.lane(60, now=5.0)
    die(first)

    assert later.wait(1, 5.0) == 0


def test_runs_with_other_keys_have_other_files_and_no_name_shows_a_key(tmp_path: Path) -> None:
    runs = Runs(tmp_path)
    lanes = [runs.lane(60, key=key) for key in ("sk-one", "sk-other")]

    assert [lane.wait(1, 0.0) for lane in lanes] == [0.0, 0.0]
    assert len(runs.files()) == 4
    assert not any("sk-" in path.name for path in runs.files())


def test_where_the_lock_is_never_free_a_run_goes_on_alone_and_says_so(tmp_path: Path) -> None:
    runs = Runs(tmp_path)
    one, other = runs.two(60, 600)
    path = min(runs.files(), key=lambda path: len(path.name))
    stopped = LaneFile(path)
    stopped.lock()
    charge = one.claim(1, 0.0)
    stopped.unlock()

    assert charge is not None
    assert len(runs.said) == 1
    assert one.requests.limit == 60
    assert one.wait(1, 0.5) > 0
    assert other.wait(1, 1.0) == 0


def test_a_run_whose_files_were_removed_counts_itself(tmp_path: Path) -> None:
    runs = Runs(tmp_path)
    one, other = runs.two(60, 60)
    assert (one.runs, other.runs) == (2, 2)

    for path in runs.files():
        path.unlink()
    other.close()
    assert one.runs == 1
