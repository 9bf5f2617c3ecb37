from __future__ import annotations

import random
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.errors import StateMismatch
from pipeline.storage.offsets import Near, Offsets
from pipeline.storage.sequence import AsTheyCome, InOrder


def answer(line: int) -> bytes:
    return b'{"attempt":"abcdefgh-1-%d-0","text":"%s"}\n' % (line, b"x" * (line * 7 % 50))


def append(log: Path, lines: list[int]) -> int:
    with log.open("ab") as file:
        file.write(b"".join(map(answer, lines)))
    return log.stat().st_size


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    count=st.integers(1, 60),
    without=st.sets(st.integers(1, 60)),
    groups=st.lists(st.integers(1, 9), min_size=1, max_size=30),
    seed=st.integers(0, 1000),
)
def test_a_line_goes_as_soon_as_all_before_it_went_or_have_no_result(
    tmp_path_factory: pytest.TempPathFactory, count: int, without: set[int], groups: list[int], seed: int
) -> None:
    directory = tmp_path_factory.mktemp("s")
    log = directory / "log"
    log.touch()
    sequence = InOrder(log, directory)
    settled: list[int] = random.Random(seed).sample(range(1, count + 1), count)
    gone, at = b"", 0
    for size in [*groups, count]:
        group = settled[at : at + size]
        at += size
        sequence.pass_over(line for line in group if line in without)
        goal = append(log, [line for line in group if line not in without])
        gone += b"".join(sequence.pieces(goal))
        reached = next(line for line in range(1, count + 2) if line not in settled[:at])

        assert gone == b"".join(answer(line) for line in range(1, reached) if line not in without)
        assert sequence.taken == goal
    sequence.close()


def test_the_rest_goes_over_lines_that_never_said_that_they_have_no_result(tmp_path: Path) -> None:
    log = tmp_path / "log"
    goal = append(log, [2, 5, 9])
    sequence = InOrder(log, tmp_path)

    assert list(sequence.pieces(goal)) == []
    assert list(sequence.rest(9)) == [answer(2), answer(5), answer(9)]
    sequence.close()


@pytest.mark.parametrize("in_order", [True, False])
def test_a_sequence_begins_again_with_its_first_line(tmp_path: Path, in_order: bool) -> None:
    log = tmp_path / "log"
    goal = append(log, [2, 1, 3])
    sequence = InOrder(log, tmp_path) if in_order else AsTheyCome(log)
    first = b"".join(sequence.pieces(goal))
    sequence.restart()

    assert b"".join(sequence.pieces(goal)) == first
    assert first == b"".join(map(answer, [1, 2, 3] if in_order else [2, 1, 3]))
    sequence.close()


def test_pieces_are_whole_lines_however_long_they_are(tmp_path: Path) -> None:
    log = tmp_path / "log"
    lines = [b"x" * size + b"\n" for size in (10, 700_000, 3, 250_000, 250_000)]
    log.write_bytes(b"".join(lines))
    sequence = AsTheyCome(log)
    pieces = list(sequence.pieces(log.stat().st_size))

    assert b"".join(pieces) == b"".join(lines)
    assert all(piece.endswith(b"\n") for piece in pieces)
    sequence.close()


def test_a_log_that_became_shorter_is_noticed(tmp_path: Path) -> None:
    log = tmp_path / "log"
    goal = append(log, [1, 2])
    log.write_bytes(answer(1)[:-1])
    sequence = AsTheyCome(log)

    with pytest.raises(StateMismatch, match="became shorter"):
        list(sequence.pieces(goal))
    sequence.close()


def test_a_log_that_holds_somebody_elses_line_is_noticed(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_bytes(b"mine\n")
    sequence = InOrder(log, tmp_path)

    with pytest.raises(StateMismatch, match="is not an answer"):
        list(sequence.pieces(5))
    sequence.close()


@given(numbers=st.dictionaries(st.integers(1, 500_000), st.integers(1, 1 << 63), max_size=20))
@settings(deadline=None, max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_offsets_grow_as_needed_and_are_0_until_set(
    tmp_path_factory: pytest.TempPathFactory, numbers: dict[int, int]
) -> None:
    offsets = Offsets(tmp_path_factory.mktemp("o"))
    for line, number in numbers.items():
        offsets[line] = number

    assert {line: offsets[line] for line in numbers} == numbers
    assert [offsets[line + 1] for line in numbers if line + 1 not in numbers] == [0] * sum(
        line + 1 not in numbers for line in numbers
    )
    offsets.close()


def test_a_line_is_read_whole_wherever_the_last_read_ended(tmp_path: Path) -> None:
    log = tmp_path / "log"
    lines = [bytes([65 + n % 26]) * (n * 977 % 90_000) + b"\n" for n in range(40)]
    log.write_bytes(b"".join(lines))
    places = [sum(map(len, lines[:n])) for n in range(40)]
    with log.open("rb") as file:
        near = Near(file.fileno())

        for n in random.Random(1).sample(range(40), 40):
            assert near.line(places[n]) == lines[n]
