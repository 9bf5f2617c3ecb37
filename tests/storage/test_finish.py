from __future__ import annotations

import random
from pathlib import Path

import orjson
import pytest
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.earlier import Where
from pipeline.errors import StateMismatch, UsageError
from pipeline.storage.checkpoint import open_ledger, open_output
from pipeline.storage.entries import Bury
from pipeline.storage.finish import finish, set_aside, write_dead_letters
from pipeline.storage.state import Places
from tests.storage.outputs import answered, close_both, dead, intent, open_both, places_in, sealed


def settled(directory: Path, order: list[int]) -> Places:
    """An output whose records were answered in this order, not finished yet."""
    places = places_in(directory)
    ledger, log, _ = open_both(places)
    for attempt, line in enumerate(order, 1):
        ledger.commit([], [intent(attempt, [line])], log)
        ledger.commit([answered(ledger, attempt, [line])], [], log)
    close_both(ledger, log)
    return places


def finished(places: Places, lines: int) -> list[int]:
    ledger, log, _ = open_both(places)
    try:
        finish(ledger, log, places, "input", lines)
    finally:
        ledger.close()
    return output_lines(places)


def output_lines(places: Places) -> list[int]:
    return [int(orjson.loads(line)["custom_id"]) for line in places.output.read_bytes().splitlines()]


@settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(lines=st.sets(st.integers(1, 40), max_size=12), seed=st.integers(0, 1000))
def test_the_finished_output_is_in_input_order_whatever_the_order_of_answers(
    tmp_path_factory: pytest.TempPathFactory, lines: set[int], seed: int
) -> None:
    order = list(lines)
    random.Random(seed).shuffle(order)
    places = settled(tmp_path_factory.mktemp("o"), order)

    assert finished(places, 40) == sorted(lines)
    assert not places.partial.exists()
    assert not places.ordered.exists()
    assert sealed(places.output)


def test_order_done_keeps_the_order_of_the_answers(tmp_path: Path) -> None:
    places = settled(tmp_path, [3, 1, 2])
    ledger, log, _ = open_both(places)
    finish(ledger, log, places, "done", 3)
    ledger.close()

    assert output_lines(places) == [3, 1, 2]


def test_somebody_elses_file_is_not_replaced(tmp_path: Path) -> None:
    places = settled(tmp_path, [1])
    places.output.write_text("mine\n")

    with pytest.raises(UsageError, match="is not ours"):
        finished(places, 1)
    assert places.output.read_text() == "mine\n"
    places.output.unlink()
    assert finished(places, 1) == [1]


def test_a_finish_that_died_before_the_rename_is_done_again(tmp_path: Path) -> None:
    places = settled(tmp_path, [2, 1])
    ledger, log, _ = open_both(places)
    with ledger.transaction():
        ledger.set_meta(phase="finishing", finish=b"of a file that never got its name")
    close_both(ledger, log)

    assert finished(places, 2) == [1, 2]


def test_a_finish_that_died_after_the_rename_is_complete(tmp_path: Path) -> None:
    places = settled(tmp_path, [2, 1])
    finished(places, 2)
    ledger = open_ledger(places, "f")
    with ledger.transaction():
        ledger.set_meta(phase="finishing")
    ledger.close()
    places.partial.write_bytes(b"left over")
    ledger = open_ledger(places, "f")

    assert ledger.meta["phase"] == "complete"
    assert not places.partial.exists()
    ledger.close()


def test_a_finished_output_stays_until_the_longer_one_replaces_it(tmp_path: Path) -> None:
    places = settled(tmp_path, [2, 1])
    finished(places, 2)
    ledger, log, _ = open_output(open_ledger(places, "f"), places)
    ledger.commit([], [intent(3, [3])], log)
    ledger.commit([answered(ledger, 3, [3])], [], log)
    meanwhile = output_lines(places)
    finish(ledger, log, places, "input", 3)
    ledger.close()

    assert meanwhile == [1, 2]
    assert output_lines(places) == [1, 2, 3]


def test_a_finished_output_that_was_edited_is_not_continued(tmp_path: Path) -> None:
    places = settled(tmp_path, [1])
    finished(places, 1)
    places.output.write_bytes(places.output.read_bytes().replace(b"text 1", b"text 2"))

    ledger = open_ledger(places, "f")
    with pytest.raises(StateMismatch, match="was changed"):
        open_output(ledger, places)
    ledger.close()


def test_dead_letters_are_written_in_input_order_with_their_records(tmp_path: Path) -> None:
    places = places_in(tmp_path)
    ledger, log, _ = open_both(places)
    broken = dead(7)._replace(record=b'{"text": ')
    ledger.commit([Bury([broken, dead(3, "timeout")])], [], log)
    write_dead_letters(ledger, places)
    letters = [orjson.loads(line) for line in places.errors.read_bytes().splitlines()]

    assert [(letter["line"], letter["code"], letter["record"]) for letter in letters] == [
        (3, "timeout", {"text": "x"}),
        (7, "rejected", '{"text": '),
    ]
    assert sealed(places.errors)
    close_both(ledger, log)


def test_dead_letters_that_were_retried_are_kept_in_one_file(tmp_path: Path) -> None:
    places = places_in(tmp_path)
    ledger, log, _ = open_both(places)
    written = []
    for line in (7, 3, 5):
        ledger.commit([Bury([dead(line)])], [], log)
        write_dead_letters(ledger, places)
        written.append(places.errors.read_bytes())
        with ledger.transaction():
            ledger.revive(Where())
        write_dead_letters(ledger, places)
        assert not places.errors.exists()
    with places.old_errors.open("rb") as file:
        kept = zstandard.ZstdDecompressor().stream_reader(file, read_across_frames=True).read()

    assert kept == b"".join(written)
    assert sealed(places.old_errors)
    assert list(places.state.glob("errors-*")) == [places.old_errors]
    close_both(ledger, log)


def test_starting_afresh_keeps_every_byte(tmp_path: Path) -> None:
    places = settled(tmp_path, [1])
    content = places.partial.read_bytes()
    set_aside(places)

    assert not places.partial.exists()
    assert [path.read_bytes() for path in places.state.glob("old-out.jsonl.partial-*")] == [content]
    ledger, log, _ = open_both(places, "another config")
    assert ledger.ok == 0
    close_both(ledger, log)


def test_a_finished_output_without_any_result_is_replaced_by_one_with_some(tmp_path: Path) -> None:
    places = settled(tmp_path, [])
    assert finished(places, 1) == []
    ledger, log, _ = open_both(places)
    ledger.commit([], [intent(1, [1])], log)
    ledger.commit([answered(ledger, 1, [1])], [], log)
    close_both(ledger, log)

    assert finished(places, 1) == [1]
