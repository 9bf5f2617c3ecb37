from __future__ import annotations

from itertools import accumulate
from pathlib import Path

from pipeline.earlier import Where
from pipeline.storage.bitmap import Bitmap
from pipeline.storage.entries import Bury, Read
from pipeline.storage.lines import CHUNK_LINES, Chunk
from pipeline.storage.progress import NONE, Progress, read_progress
from pipeline.storage.source import Source
from pipeline.storage.state import Places
from tests.storage.outputs import answered, close_both, dead, intent, open_both, places_in


def begun(places: Places) -> None:
    """A run that settled lines 1, 2 and 9 of the 20 that it had read, and died."""
    ledger, log, _ = open_both(places)
    ledger.commit([Read([Chunk(0, 0, 500, 20, 0, b"digest")])], [intent(1, [1, 2]), intent(2, [3])], log)
    ledger.commit([answered(ledger, 1, [1, 2]), Bury([dead(9)])], [], log)
    close_both(ledger, log)


def names(places: Places) -> set[str]:
    return {path.name for path in places.state.iterdir()}


def test_an_output_that_was_never_begun_has_no_progress(tmp_path: Path) -> None:
    places = places_in(tmp_path)

    assert read_progress(places) == NONE
    assert names(places) == set()


def test_progress_is_what_is_settled_read_and_spent(tmp_path: Path) -> None:
    places = places_in(tmp_path)
    begun(places)
    before = names(places)
    found = read_progress(places)

    assert found is not None
    assert [line for line in range(1, 21) if line in found.done] == [1, 2, 9]
    assert [(chunk.end, chunk.lines) for chunk in found.chunks] == [(500, 20)]
    assert (found.spent_nusd, found.unknown_nusd) == (200, 0)
    assert names(places) == before


def test_dead_letters_that_are_sent_again_are_not_settled(tmp_path: Path) -> None:
    places = places_in(tmp_path)
    begun(places)
    meant = (Where(lines=[range(9, 10)]), Where(lines=[range(1, 9)]), Where())
    found = [read_progress(places, where) for where in meant]

    assert [None if each is None else each.done.total for each in found] == [2, 3, 2]


def test_a_run_under_way_is_not_disturbed_by_whoever_reads_its_progress(tmp_path: Path) -> None:
    places = places_in(tmp_path)
    ledger, log, _ = open_both(places)
    ledger.commit([], [intent(1, [1, 2])], log)
    ledger.commit([answered(ledger, 1, [1, 2])], [], log)
    found = read_progress(places)
    ledger.commit([], [intent(2, [3])], log)
    ledger.commit([answered(ledger, 2, [3])], [], log)
    ledger.check()
    close_both(ledger, log)

    assert found is not None
    assert found.done.total == 2


def test_a_damaged_ledger_has_no_progress_that_could_be_told(tmp_path: Path) -> None:
    places = places_in(tmp_path)
    begun(places)
    places.ledger.write_bytes(b"no database")

    assert read_progress(places) is None
    assert places.ledger.read_bytes() == b"no database"


def test_a_line_is_known_to_be_settled_by_where_it_begins(tmp_path: Path) -> None:
    lines = [b"%d" % number + b"x" * (number % 9) for number in range(2 * CHUNK_LINES + 50)]
    starts = [0, *accumulate(len(line) + 1 for line in lines)]
    (tmp_path / "in.jsonl").write_bytes(b"\n".join(lines) + b"\n")
    done = Bitmap()
    for line in range(1, 2 * CHUNK_LINES, 3):
        done.set(line)
    chunks = [
        Chunk(number, starts[number * CHUNK_LINES], starts[min(len(lines), (number + 1) * CHUNK_LINES) - 10], 0, 0, b"")
        for number in range(3)
    ]
    progress = Progress(chunks, done, 0, 0)
    looked = [1, 2, 3, 4, 7000, CHUNK_LINES - 1, CHUNK_LINES + 1, CHUNK_LINES + 2, 2 * CHUNK_LINES + 3, len(lines)]
    with Source(str(tmp_path / "in.jsonl")) as source:
        found = [progress.settled_at(starts[line - 1], source) for line in looked]

    assert found == [line in done and line != CHUNK_LINES - 1 for line in looked]
