from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import StorageFailed, UsageError
from pipeline.storage.rows import write_rows
from pipeline.storage.state import Places, default_state
from pipeline.types import Json
from tests.storage.outputs import sealed

ROWS = [{"id": number, "text": "é\n" * number} for number in range(5)]


def places_in(folder: Path) -> Places:
    return Places(folder / "out.jsonl", default_state(folder / "out.jsonl"))


def written(path: Path) -> list[Json]:
    return [orjson.loads(line) for line in path.read_bytes().splitlines()]


@given(st.lists(st.dictionaries(st.text(), st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.text())))
def test_rows_come_back_as_they_were(tmp_path_factory: pytest.TempPathFactory, rows: list[dict[str, Json]]) -> None:
    path = write_rows(places_in(tmp_path_factory.mktemp("rows")), iter(rows))

    assert written(path) == rows
    assert sealed(path)


def test_the_same_rows_leave_the_file_untouched_and_more_replace_it(tmp_path: Path) -> None:
    places = places_in(tmp_path)
    first = write_rows(places, ROWS).stat()
    assert write_rows(places, ROWS).stat() == first

    assert written(write_rows(places, [*ROWS, {"id": 9}])) == [*ROWS, {"id": 9}]
    assert [path.name for path in places.state.iterdir()] == ["input.jsonl"]


@pytest.mark.parametrize("rows", [[{"id": "other"}], ROWS[:3], []])
def test_rows_that_are_not_in_the_new_ones_are_kept_beside(tmp_path: Path, rows: list[dict[str, Json]]) -> None:
    places = places_in(tmp_path)
    write_rows(places, ROWS)

    assert written(write_rows(places, rows)) == rows
    [old] = places.state.glob("old-input.jsonl-*")
    assert written(old) == ROWS


def test_a_row_that_json_has_no_word_for_is_named_and_changes_nothing(tmp_path: Path) -> None:
    places = places_in(tmp_path)
    write_rows(places, ROWS)

    for bad, problem in (({"a": object()}, "row 2 .* not JSON serializable: object"), ("text", "row 2 .* not str")):
        with pytest.raises(UsageError, match=problem):
            write_rows(places, [{"id": 1}, bad])  # type: ignore[list-item]
    assert [path.name for path in places.state.iterdir()] == ["input.jsonl"]
    assert written(places.rows) == ROWS


def test_an_error_of_the_rows_own_passes_as_it_is(tmp_path: Path) -> None:
    def rows() -> Iterator[dict[str, int]]:
        yield {"id": 1}
        raise FileNotFoundError("mine")

    with pytest.raises(FileNotFoundError, match="mine"):
        write_rows(places_in(tmp_path), rows())
    assert list(places_in(tmp_path).state.iterdir()) == []


def test_a_full_disk_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_descriptor: int, _content: bytes) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pipeline.storage.rows.write_all", full)
    with pytest.raises(StorageFailed, match="No space left"):
        write_rows(places_in(tmp_path), ROWS)
