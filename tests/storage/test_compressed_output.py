from __future__ import annotations

import gzip
import random
from pathlib import Path
from typing import Literal

import orjson
import pytest
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.errors import StateMismatch, UsageError
from pipeline.storage.checkpoint import open_ledger, open_output
from pipeline.storage.compression import ZSTD, inflated
from pipeline.storage.draft import new_draft
from pipeline.storage.finish import finish
from pipeline.storage.lines import DamagedError
from pipeline.storage.repair import repair
from pipeline.storage.state import Places
from tests.storage.outputs import answered, close_both, intent, open_both, places_in, sealed

Order = Literal["input", "done"]
SUFFIXES = ["gz", "zst"]


def settle(places: Places, lines: list[int]) -> None:
    """Answer further records, one an attempt, and die."""
    ledger, log, _ = open_both(places)
    for line in lines:
        attempt = ledger.next_attempt
        ledger.commit([], [intent(attempt, [line])], log)
        ledger.commit([answered(ledger, attempt, [line])], [], log)
    close_both(ledger, log)


def finished(places: Places, order: Order = "input", lines: int = 40) -> list[int]:
    ledger, log, _ = open_both(places)
    try:
        finish(ledger, log, places, order, lines)
    finally:
        ledger.close()
    return numbers(places.output)


def numbers(path: Path) -> list[int]:
    """The lines of a finished output, by a decoder that is not ours."""
    raw = path.read_bytes()
    plain = (
        gzip.decompress(raw) if path.suffix == ".gz" else zstandard.ZstdDecompressor().decompressobj().decompress(raw)
    )
    return [int(orjson.loads(line)["custom_id"]) for line in plain.splitlines()]


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("order", ["input", "done"])
@settings(deadline=None, max_examples=10, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(lines=st.sets(st.integers(1, 40), max_size=12), seed=st.integers(0, 1000))
def test_the_finished_output_is_compressed_as_its_name_says_and_in_order(
    tmp_path_factory: pytest.TempPathFactory, suffix: str, order: Order, lines: set[int], seed: int
) -> None:
    places = places_in(tmp_path_factory.mktemp("o"), f"out.jsonl.{suffix}")
    answers = list(lines)
    random.Random(seed).shuffle(answers)
    settle(places, answers)
    plain = places.partial.read_bytes()

    assert plain.count(b"\n") == len(lines), "the log is plain JSON Lines"
    assert finished(places, order) == (sorted(lines) if order == "input" else answers)
    assert not places.partial.exists()
    assert not places.ordered.exists()
    assert sealed(places.output)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_compressed_output_that_goes_on_stays_until_the_longer_one_replaces_it(tmp_path: Path, suffix: str) -> None:
    places = places_in(tmp_path, f"out.jsonl.{suffix}")
    settle(places, [2, 1])
    finished(places)
    settle(places, [3])
    meanwhile = numbers(places.output)

    assert meanwhile == [1, 2]
    assert finished(places) == [1, 2, 3]


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_compressed_finish_that_died_around_the_rename_is_not_repeated(tmp_path: Path, suffix: str) -> None:
    places = places_in(tmp_path, f"out.jsonl.{suffix}")
    settle(places, [2, 1])
    finished(places)
    ledger = open_ledger(places, "f")
    with ledger.transaction():
        ledger.set_meta(phase="finishing")
    ledger.close()
    places.partial.write_bytes(b"left over")
    ledger = open_ledger(places, "f")

    assert ledger.meta["phase"] == "complete"
    assert not places.partial.exists()
    ledger.close()


def test_a_compressed_finish_that_died_within_is_done_again(tmp_path: Path) -> None:
    places = places_in(tmp_path, "out.jsonl.gz")
    settle(places, [2, 1])
    places.ordered.write_bytes(b"\x1f\x8b torn")

    assert finished(places) == [1, 2]


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_compressed_output_that_was_damaged_is_not_continued(tmp_path: Path, suffix: str) -> None:
    places = places_in(tmp_path, f"out.jsonl.{suffix}")
    settle(places, [1, 2, 3])
    finished(places)
    raw = bytearray(places.output.read_bytes())
    raw[len(raw) // 2] ^= 1
    places.output.write_bytes(raw)
    ledger = open_ledger(places, "f")

    with pytest.raises(StateMismatch, match="was changed"):
        open_output(ledger, places)
    ledger.close()


def test_damage_beyond_the_last_bytes_is_found_while_the_output_is_read_back(tmp_path: Path) -> None:
    places = places_in(tmp_path, "out.jsonl.gz")
    settle(places, list(range(1, 1500)))
    finished(places, lines=1500)
    raw = bytearray(places.output.read_bytes())
    assert len(raw) > 3 * 4096
    raw[4096] ^= 1
    places.output.write_bytes(raw)
    ledger = open_ledger(places, "f")

    with pytest.raises(StateMismatch, match="was changed"):
        open_output(ledger, places)
    ledger.close()


def test_somebody_elses_compressed_file_is_not_replaced(tmp_path: Path) -> None:
    places = places_in(tmp_path, "out.jsonl.gz")
    settle(places, [1])
    places.output.write_bytes(gzip.compress(b"mine\n"))

    with pytest.raises(UsageError, match="is not ours"):
        finished(places)
    assert gzip.decompress(places.output.read_bytes()) == b"mine\n"


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_compressed_output_without_any_result_is_replaced_by_one_with_some(tmp_path: Path, suffix: str) -> None:
    places = places_in(tmp_path, f"out.jsonl.{suffix}")
    settle(places, [])
    assert finished(places) == []
    settle(places, [1])

    assert finished(places) == [1]


def test_a_lost_ledger_is_rebuilt_from_a_compressed_output(tmp_path: Path) -> None:
    places = places_in(tmp_path, "out.jsonl.zst")
    settle(places, [2, 1, 3])
    finished(places)
    places.ledger.unlink()

    assert repair(places, "f").records == 3
    settle(places, [4])
    assert finished(places) == [1, 2, 3, 4]


def test_a_draft_is_the_same_bytes_whenever_it_is_written(tmp_path: Path) -> None:
    places = places_in(tmp_path, "out.jsonl.gz")
    settle(places, [1, 2])
    finished(places)
    first = places.output.read_bytes()
    settle(places, [])
    finished(places)

    assert places.output.read_bytes() == first


def test_a_compressed_file_that_was_cut_is_damaged(tmp_path: Path) -> None:
    path = tmp_path / "f.zst"
    with new_draft(path, ZSTD) as draft:
        draft.write(b'{"a": 1}\n' * 1000)
    path.write_bytes(path.read_bytes()[:-2])

    with pytest.raises(DamagedError, match="ends in the middle"), inflated(path) as file:
        file.read()
