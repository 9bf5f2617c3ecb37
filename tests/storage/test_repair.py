from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.errors import StateMismatch
from pipeline.storage.changes import accept_changes
from pipeline.storage.checkpoint import open_ledger, open_output
from pipeline.storage.entries import Bury, Read
from pipeline.storage.finish import finish
from pipeline.storage.ledger import Ledger
from pipeline.storage.lines import Chunk
from pipeline.storage.repair import repair
from pipeline.storage.rewrite import draft_of, write_draft
from pipeline.storage.state import Places
from tests.storage.outputs import answered, close_both, dead, intent, lost, open_both, places_in


def begun(directory: Path) -> Places:
    """Lines 1 to 6 answered, 7 a dead letter, 8 in flight, and one attempt of unknown outcome."""
    places = places_in(directory)
    ledger, log, _ = open_both(places)
    for attempt, line in enumerate(range(1, 7), 1):
        ledger.commit([], [intent(attempt, [line])], log)
        ledger.commit([answered(ledger, attempt, [line])], [], log)
    ledger.commit([Bury([dead(7)]), Read([Chunk(0, 0, 80, 8, 0, b"d")])], [intent(7, [8])], log)
    ledger.commit([lost(7)], [intent(8, [8])], log)
    close_both(ledger, log)
    return places


def done(ledger: Ledger) -> list[int]:
    return [line for line in range(1, 20) if line in ledger.done]


def opened(places: Places) -> Ledger:
    ledger, log, _ = open_both(places)
    log.close()
    ledger.check()
    return ledger


def kept(places: Places, name: str) -> int:
    return len(list(places.state.glob(f"{name}-*")))


def test_an_output_that_was_cut_keeps_what_is_whole(tmp_path: Path) -> None:
    places = begun(tmp_path)
    content = places.partial.read_bytes()
    places.partial.write_bytes(content[: content.index(b"\n", 900) - 5])
    whole = places.partial.read_bytes().count(b"\n")
    ledger = open_ledger(places, "f")
    with pytest.raises(StateMismatch, match="--repair"):
        open_output(ledger, places)
    ledger.close()

    repaired = repair(places, "f")
    ledger = opened(places)

    assert repaired.records == whole
    assert done(ledger) == list(range(1, whole + 1))
    assert (ledger.budget.spent, ledger.budget.unknown) == (600, 2_000), "no money is forgotten"
    assert kept(places, "old-output") == kept(places, "old-ledger.db") == 1
    ledger.close()


def test_a_lost_ledger_is_rebuilt_from_the_output(tmp_path: Path) -> None:
    places = begun(tmp_path)
    places.ledger.unlink()
    repaired = repair(places, "f")
    ledger = opened(places)

    assert not repaired.ledger_was_readable
    assert done(ledger) == [1, 2, 3, 4, 5, 6], "the dead letter and what was in flight are sent again"
    assert (ledger.ok, ledger.failed, ledger.budget.spent, ledger.budget.unknown) == (6, 0, 600, 0)
    assert ledger.next_attempt == 7
    ledger.close()


def test_a_damaged_ledger_is_rebuilt_from_a_finished_output(tmp_path: Path) -> None:
    places = begun(tmp_path)
    ledger, log, _ = open_both(places)
    finish(ledger, log, places, "input", 8)
    ledger.close()
    places.ledger.write_bytes(b"\0" * 5000)
    repaired = repair(places, "f")
    ledger, log, _ = open_output(open_ledger(places, "f"), places)
    ledger.commit([], [intent(9, [8])], log)
    ledger.commit([answered(ledger, 9, [8])], [], log)
    finish(ledger, log, places, "input", 8)
    ledger.close()

    assert repaired.records == 6
    assert places.output.read_bytes().count(b"\n") == 7


def test_lines_that_are_damaged_or_doubled_are_not_counted(tmp_path: Path) -> None:
    places = begun(tmp_path)
    first, *rest = places.partial.read_bytes().splitlines(keepends=True)
    places.partial.write_bytes(b"".join([first, first, b"noise\n", rest[0][:40] + b"\n", *rest[1:]]))
    repaired = repair(places, "f")
    ledger = opened(places)

    assert repaired.records == 5
    assert done(ledger) == [1, 3, 4, 5, 6]
    ledger.close()


def test_without_any_result_there_is_nothing_to_repair_from(tmp_path: Path) -> None:
    places = places_in(tmp_path)
    with pytest.raises(StateMismatch, match="neither"):
        repair(places, "f")
    places.partial.write_bytes(b"somebody's notes\n")
    with pytest.raises(StateMismatch, match="no result of ours"):
        repair(places, "f")

    assert places.partial.read_bytes() == b"somebody's notes\n"


@pytest.mark.parametrize("died_at", ["draft written", "ledger committed", "old output aside"])
def test_changes_that_died_half_way_are_accepted_once(tmp_path: Path, died_at: str) -> None:
    places = begun(tmp_path)
    ledger, log, _ = open_both(places)
    log.close()
    today = [Chunk(0, 0, 90, 8, 0, b"e")]
    changed = [(2, 3), (7, 7)]
    if died_at == "draft written":
        write_draft(places, places.partial, lambda identity, _: identity.line not in (2, 3, 7))
    else:
        before = places.partial.read_bytes()
        accept_changes(ledger, places, changed, today)
        after = places.partial.read_bytes()
        with ledger.transaction():
            ledger.set_meta(phase="rewriting")
        draft_of(places).write_bytes(after)
        if died_at == "ledger committed":
            places.partial.write_bytes(before)
        else:
            places.partial.unlink()
    ledger.close()
    ledger, log, _ = open_both(places)
    if died_at == "draft written":
        assert done(ledger) == [1, 2, 3, 4, 5, 6, 7]
        log.close()
        accept_changes(ledger, places, changed, today)
    else:
        log.close()

    ledger.check()
    assert done(ledger) == [1, 4, 5, 6]
    assert (ledger.ok, ledger.failed, ledger.budget.spent) == (4, 0, 600)
    assert ledger.chunks == {0: today[0]}
    assert places.partial.read_bytes().count(b"\n") == 4
    assert kept(places, "old-output") >= 1
    assert not draft_of(places).exists()
    ledger.close()
