from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.identity import LineIdentity, line_identity
from pipeline.earlier import Where
from pipeline.errors import BudgetReached, StateMismatch, UsageError
from pipeline.storage.bitmap import Bitmap
from pipeline.storage.checkpoint import open_ledger
from pipeline.storage.entries import Bury, Read, Release
from pipeline.storage.ledger import Ledger
from pipeline.storage.lines import CHUNK_LINES, Chunk
from pipeline.types import Usage
from tests.storage.outputs import DAY, answered, close_both, dead, intent, lost, open_both, places_in, sealed


def test_what_was_committed_is_there_after_opening_again(tmp_path: Path) -> None:
    places = places_in(tmp_path)
    ledger, log, _ = open_both(places)
    ledger.commit([], [intent(1, [1, 2]), intent(2, [3])], log)
    ledger.commit([answered(ledger, 1, [1, 2]), Bury([dead(9)])], [], log)
    close_both(ledger, log)

    again = Ledger.open(places.ledger)

    assert (again.ok, again.failed, again.budget.spent, again.budget.unknown) == (2, 1, 200, 0)
    assert list(again.inflight) == [2]
    assert again.inflight[2].lines == (3,)
    assert [line for line in range(1, 12) if line in again.done] == [1, 2, 9]
    assert again.next_attempt == 3
    again.check()
    again.close()


def test_an_intent_that_exceeds_the_budget_is_not_admitted(tmp_path: Path) -> None:
    ledger, log, _ = open_both(places_in(tmp_path))
    ledger.budget.cap = 1_500

    admitted = ledger.commit([], [intent(1, [1]), intent(2, [2])], log)

    assert admitted == 1
    assert list(ledger.inflight) == [1]
    assert ledger.budget.reserved == 1_000
    close_both(ledger, log)


def test_a_settled_attempt_makes_room_for_an_intent_of_the_same_commit(tmp_path: Path) -> None:
    ledger, log, _ = open_both(places_in(tmp_path))
    ledger.budget.cap = 1_500
    ledger.commit([], [intent(1, [1])], log)

    assert ledger.commit([answered(ledger, 1, [1], cost=400)], [intent(2, [2])], log) == 1
    assert ledger.commit([], [intent(3, [3])], log) == 0
    close_both(ledger, log)


def test_an_unbilled_attempt_gives_its_reservation_back(tmp_path: Path) -> None:
    ledger, log, _ = open_both(places_in(tmp_path))
    ledger.commit([], [intent(1, [1])], log)
    ledger.commit([Release(1, billed=False, ambiguous=False)], [], log)

    assert (ledger.budget.spent, ledger.budget.unknown, ledger.budget.reserved) == (0, 0, 0)
    close_both(ledger, log)


def test_an_attempt_of_unknown_outcome_is_charged_its_reservation_and_its_records_are_counted(tmp_path: Path) -> None:
    places = places_in(tmp_path)
    ledger, log, _ = open_both(places)
    ledger.commit([], [intent(1, [1, 2])], log)
    ledger.commit([lost(1)], [intent(2, [1, 2])], log)
    ledger.commit([answered(ledger, 2, [1, 2])], [], log)
    close_both(ledger, log)

    again = Ledger.open(places.ledger)

    assert (again.budget.spent, again.budget.unknown) == (200, 1_000)
    assert again.ambiguous == {1: 1, 2: 1}
    assert {(spend.kind, spend.requests, spend.cost) for spend in again.spends} == {
        ("unknown", 1, 1_000),
        ("retried", 1, 200),
    }
    again.close()


def test_a_record_cannot_have_two_outcomes(tmp_path: Path) -> None:
    ledger, log, _ = open_both(places_in(tmp_path))
    ledger.commit([], [intent(1, [1]), intent(2, [1])], log)
    ledger.commit([answered(ledger, 1, [1])], [], log)

    with pytest.raises(ValueError, match="line 1 already has an outcome"):
        ledger.commit([answered(ledger, 2, [1])], [], log)
    close_both(ledger, log)


def test_a_chunk_is_complete_when_every_record_of_it_is_settled(tmp_path: Path) -> None:
    ledger, log, _ = open_both(places_in(tmp_path))
    chunk = Chunk(0, 0, 99, CHUNK_LINES, CHUNK_LINES - 2, b"d")
    ledger.commit([Read([chunk]), Bury([dead(1)])], [], log)
    before = ledger.complete_chunk(0)
    ledger.commit([Bury([dead(2)])], [], log)

    assert (before, ledger.complete_chunk(0)) == (False, True)
    assert ledger.records_read == 2
    close_both(ledger, log)


def test_revived_dead_letters_are_open_again(tmp_path: Path) -> None:
    ledger, log, _ = open_both(places_in(tmp_path))
    ledger.commit([Bury([dead(1, "timeout"), dead(2, "rejected"), dead(3, "timeout")])], [], log)
    with ledger.transaction():
        revived = ledger.revive(Where(codes=["timeout"]))

    assert revived == 2
    assert [line for line in (1, 2, 3) if line in ledger.done] == [2]
    assert [letter.line for letter in ledger.dead_letters()] == [2]
    ledger.check()
    close_both(ledger, log)


def test_a_config_that_answers_depend_on_must_not_change(tmp_path: Path) -> None:
    places = places_in(tmp_path)
    close_both(*open_both(places, "model a")[:2])

    with pytest.raises(StateMismatch, match="--fresh"):
        open_ledger(places, "model b")


def test_a_ledger_of_a_newer_version_is_refused(tmp_path: Path) -> None:
    places = places_in(tmp_path)
    close_both(*open_both(places)[:2])
    with sqlite3.connect(places.ledger) as connection:
        connection.execute("PRAGMA user_version = 99")
    connection.close()

    with pytest.raises(UsageError, match="newer version"):
        open_ledger(places, "f")


@pytest.mark.parametrize("content", [b"", b"not a database at all, but long enough to be one" * 100])
def test_a_file_that_is_no_ledger_is_refused(tmp_path: Path, content: bytes) -> None:
    places = places_in(tmp_path)
    places.ledger.write_bytes(content)

    with pytest.raises(StateMismatch):
        open_ledger(places, "f")


def test_an_output_without_state_is_not_touched(tmp_path: Path) -> None:
    places = places_in(tmp_path)
    places.output.write_text("mine\n")

    with pytest.raises(UsageError, match="--fresh"):
        open_ledger(places, "f")
    assert places.output.read_text() == "mine\n"


def test_a_partial_output_without_ledger_is_not_touched(tmp_path: Path) -> None:
    places = places_in(tmp_path)
    places.partial.write_text("mine\n")

    with pytest.raises(StateMismatch, match="its ledger"):
        open_ledger(places, "f")
    assert places.partial.read_text() == "mine\n"


def test_files_are_for_their_owner_only(tmp_path: Path) -> None:
    places = places_in(tmp_path)
    ledger, log, _ = open_both(places)
    assert all(sealed(path) for path in (places.state, places.ledger, places.partial))
    close_both(ledger, log)


def test_the_budget_error_names_the_figures(tmp_path: Path) -> None:
    ledger, log, _ = open_both(places_in(tmp_path))
    ledger.budget.cap = 2_000_000_000
    error = ledger.refusal(intent(2, [2], 3_000_000_000))

    assert isinstance(error, BudgetReached)
    assert "$2.000000" in error.message.replace("of 2", "of $2")
    close_both(ledger, log)


@given(st.sets(st.integers(1, 3 * CHUNK_LINES)), st.sets(st.integers(1, 3 * CHUNK_LINES)))
def test_the_bitmap_is_a_set_of_lines(lines: set[int], cleared: set[int]) -> None:
    bitmap = Bitmap()
    for line in lines:
        bitmap.set(line)
    for line in cleared & lines:
        bitmap.clear(line)
    again = Bitmap(dict(bitmap.take_changed()))

    assert again.total == bitmap.total == len(lines - cleared)
    assert all((line in again) == (line in lines - cleared) for line in lines | cleared)


@given(st.integers(1, 10**17), st.integers(1, 10**17), st.integers(0, 10**17))
def test_the_identity_of_a_line_is_read_back(attempt: int, line: int, cost: int) -> None:
    expected = LineIdentity("abcdefg1", attempt, line, cost)
    name = f"abcdefg1-{attempt}-{line}-{cost}"

    assert line_identity(f'{{"attempt":"{name}","custom_id":"1"}}'.encode()) == expected
    assert line_identity(f'{{"id":"batch_req_{name}","custom_id":"1"}}'.encode()) == expected
    assert line_identity(f'{{"other":"{name}"}}'.encode()) is None


def test_forgotten_lines_are_open_again_and_the_others_are_not(tmp_path: Path) -> None:
    places = places_in(tmp_path)
    ledger, log, _ = open_both(places)
    ledger.commit([], [intent(1, [1, 2, 3]), intent(2, [4]), intent(3, [9])], log)
    ledger.commit([answered(ledger, 1, [1, 2, 3]), lost(2), lost(3), Bury([dead(5), dead(6)])], [], log)
    with ledger.transaction():
        ledger.forget(2, 5)
    remembered = ledger.ambiguous
    close_both(ledger, log)
    again = Ledger.open(places.ledger)

    assert [line for line in range(1, 12) if line in again.done] == [1, 6]
    assert (again.ok, again.failed) == (1, 1)
    assert again.ambiguous == remembered == {9: 1}
    assert [letter.line for letter in again.dead_letters()] == [6]
    assert again.budget.spent == 300, "money stays spent"
    again.check()
    again.close()


def test_replaced_chunks_are_all_that_is_known_of_the_input(tmp_path: Path) -> None:
    places = places_in(tmp_path)
    ledger, log, _ = open_both(places)
    old = [Chunk(number, 0, 9, CHUNK_LINES, 0, b"d") for number in range(3)]
    ledger.commit([Read(old)], [], log)
    with ledger.transaction():
        ledger.replace_chunks(old[:1])
    close_both(ledger, log)
    again = Ledger.open(places.ledger)

    assert again.chunks == {0: old[0]}
    again.close()


def test_all_dead_letters_come_back_whole_and_can_be_revived(tmp_path: Path) -> None:
    places = places_in(tmp_path)
    letters = [dead(line, code) for line, code in ((3, "a"), (1, "b"))]
    ledger, log, _ = open_both(places)
    ledger.commit([], [intent(1, [1])], log)
    ledger.commit([lost(1), Bury(letters)], [], log)
    found = list(ledger.dead_letters())
    with ledger.transaction():
        revived = ledger.revive(Where())
    close_both(ledger, log)
    again = Ledger.open(places.ledger)

    assert found == sorted(letters)
    assert revived == 2
    assert (again.failed, again.done.total, again.ambiguous) == (0, 0, {})
    again.close()


def test_a_chunk_is_not_complete_before_it_was_read_to_its_end(tmp_path: Path) -> None:
    ledger, log, _ = open_both(places_in(tmp_path))
    ledger.commit([Read([Chunk(0, 0, 9, 2, 0, b"d")]), Bury([dead(1), dead(2)])], [], log)

    assert not ledger.complete_chunk(0)
    assert not ledger.complete_chunk(1)
    close_both(ledger, log)


def test_unknown_spend_of_before_adds_up_with_its_requests(tmp_path: Path) -> None:
    ledger, log, _ = open_both(places_in(tmp_path))
    with ledger.transaction():
        ledger.book("m", DAY, "unknown", Usage(), 70, requests=2)
        ledger.book("m", DAY, "unknown", Usage(), 30, requests=3)

    assert ledger.budget.unknown == 100
    assert [(spend.kind, spend.requests, spend.cost) for spend in ledger.spends] == [("unknown", 5, 100)]
    ledger.check()
    close_both(ledger, log)


def test_dead_letters_of_several_commits_are_all_counted(tmp_path: Path) -> None:
    ledger, log, _ = open_both(places_in(tmp_path))
    ledger.commit([Bury([dead(1), dead(2)])], [], log)
    ledger.commit([Bury([dead(3)])], [], log)

    assert ledger.failed == 3
    close_both(ledger, log)


def test_a_revived_record_has_no_past(tmp_path: Path) -> None:
    ledger, log, _ = open_both(places_in(tmp_path))
    ledger.commit([], [intent(1, [4])], log)
    ledger.commit([lost(1)], [], log)
    ledger.commit([Bury([dead(4)])], [], log)
    with ledger.transaction():
        ledger.revive(Where())

    assert ledger.ambiguous == {}
    close_both(ledger, log)


def test_forgetting_lines_forgets_exactly_their_outcomes(tmp_path: Path) -> None:
    ledger, log, _ = open_both(places_in(tmp_path))
    ledger.commit([], [intent(1, [1, 2, 3, 4])], log)
    ledger.commit([lost(1)], [], log)
    with ledger.transaction():
        ledger.forget(2, 3)

    assert ledger.ambiguous == {1: 1, 4: 1}
    close_both(ledger, log)


def test_every_kind_of_token_adds_up_over_requests(tmp_path: Path) -> None:
    ledger, log, _ = open_both(places_in(tmp_path))
    ledger.commit([], [intent(1, [1]), intent(2, [2])], log)
    full = Usage(input=10, output=6, cached=4, cache_write=3, reasoning=2)
    settled = [answered(ledger, number, [number])._replace(usage=full) for number in (1, 2)]
    ledger.commit(settled, [], log)

    assert [(spend.requests, spend.usage, spend.cost) for spend in ledger.spends] == [
        (2, Usage(input=20, output=12, cached=8, cache_write=6, reasoning=4), 200)
    ]
    close_both(ledger, log)


def test_only_records_that_were_sent_before_are_paid_for_again(tmp_path: Path) -> None:
    ledger, log, _ = open_both(places_in(tmp_path))
    ledger.commit([], [intent(1, [5])], log)
    ledger.commit([lost(1)], [intent(2, [5]), intent(3, [6])], log)
    ledger.commit([answered(ledger, 2, [5]), answered(ledger, 3, [6])], [], log)

    assert {spend.kind: spend.requests for spend in ledger.spends} == {"unknown": 1, "retried": 1, "ok": 1}
    close_both(ledger, log)
