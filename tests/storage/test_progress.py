from __future__ import annotations

from pathlib import Path

from pipeline.storage.bitmap import Bitmap
from pipeline.storage.entries import Bury, Read
from pipeline.storage.lines import CHUNK_LINES, Chunk
from pipeline.storage.progress import NONE, Progress, read_progress
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
    assert (found.spent_nusd, found.unknown_nusd, found.settled_among_others) == (200, 0, 3)
    assert names(places) == before


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


def test_only_records_of_chunks_that_must_be_read_again_are_settled_among_others() -> None:
    done = Bitmap()
    for line in (*range(1, CHUNK_LINES + 1), CHUNK_LINES + 1, 2 * CHUNK_LINES + 5):
        done.set(line)
    chunks = [Chunk(number, 0, 0, CHUNK_LINES, 0, b"") for number in range(2)] + [Chunk(2, 0, 0, 10, 0, b"")]
    progress = Progress(chunks, done, 0, 0)

    assert [progress.complete(number) for number in range(3)] == [True, False, False]
    assert progress.settled_among_others == 2
