from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.history import MOST_STARTS, History
from pipeline.core.timeline import SENT


def run(*moments: float) -> History:
    """A run that sent something at these moments, each of which was refused and waited as long as the moment is."""
    history = History(starts=((0.0, "2026-11-21T02:00:00+00:00"),), runs=1, attempts={"rate_limit_exceeded": 1})
    for at in moments:
        history.timeline.row(at)[SENT] += 1
        history.timeline.reach(at)
        history.waiting.note(at)
    return history


@given(st.lists(st.lists(st.floats(0, 1e5), max_size=5), max_size=6))
def test_runs_add_up(runs: list[list[float]]) -> None:
    whole = History()
    for moments in runs:
        whole.add(run(*sorted(moments)))

    assert whole.timeline.total(SENT) == sum(map(len, runs))
    assert sum(each.durations for each in whole.waiting.bins(6)) == sum(map(len, runs))
    assert whole.runs == len(runs)
    assert sum(whole.attempts.values()) == len(runs)
    assert [at for at, _ in whole.starts] == sorted(at for at, _ in whole.starts)


def test_the_second_run_begins_where_the_first_ended() -> None:
    whole = run(0.5, 9.5)
    whole.add(run(1.5))

    assert [at for at, _ in whole.starts] == [0.0, 10.0]
    assert whole.timeline.rows[11][SENT] == 1


def test_of_many_runs_the_last_starts_are_kept_and_all_are_counted() -> None:
    whole = History()
    for _ in range(MOST_STARTS + 5):
        whole.add(run(1.0))

    assert (len(whole.starts), whole.runs) == (MOST_STARTS, MOST_STARTS + 5)


def test_it_is_read_as_it_was_written() -> None:
    whole = run(0.5, 9.5)
    whole.add(run(1.5, 300.25))
    read = History.of(json.loads(json.dumps(whole.as_dict())))

    assert read.as_dict() == whole.as_dict()
