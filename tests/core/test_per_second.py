from __future__ import annotations

from pipeline.core.per_second import Part, PerSecond


def test_a_run_alone_has_all_of_it_at_once() -> None:
    assert PerSecond(10).part(1, 0.0) == Part(10, 1.0, 0.0)


def test_one_who_comes_later_lets_a_second_pass_once() -> None:
    limit = PerSecond(10)
    assert [limit.part(2, now) for now in (5.0, 6.0)] == [Part(5, 1.0, 1.0), Part(5, 1.0, 0.0)]


def test_the_part_is_smaller_as_soon_as_another_comes_and_larger_a_second_after_it_is_gone() -> None:
    limit = PerSecond(10)
    seen = [(1, 0.0), (2, 0.5), (2, 3.0), (1, 3.5), (1, 4.0), (1, 4.1), (3, 4.2)]
    assert [limit.part(*each).requests for each in seen] == [10, 5, 5, 5, 5, 10, 3]


def test_more_runs_than_requests_send_one_each_in_several_seconds() -> None:
    assert PerSecond(2).part(3, 0.0)[:2] == (1, 1.5)
