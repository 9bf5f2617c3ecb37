from __future__ import annotations

import itertools
from pathlib import Path

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.core.lines import batch_line, templated_line
from pipeline.errors import StateMismatch
from pipeline.storage.checkpoint import open_ledger, open_output
from pipeline.storage.recovery import usage_of
from pipeline.storage.state import Places
from pipeline.types import Json, Record, Usage
from tests.storage.outputs import answered, append, close_both, intent, open_both, places_in, result


def died_after_writing(directory: Path) -> tuple[Places, str, bytes]:
    """An output with one committed line, two attempts in flight, and the answers of both written but not committed."""
    places = places_in(directory)
    ledger, log, _ = open_both(places)
    ledger.commit([], [intent(1, [1]), intent(2, [2, 3]), intent(3, [4])], log)
    ledger.commit([answered(ledger, 1, [1])], [], log)
    tail = b"".join(result(ledger, 2, line).content for line in (2, 3)) + result(ledger, 3, 4).content
    name = ledger.name
    close_both(ledger, log)
    append(places.partial, tail)
    return places, name, tail


def test_answers_that_reached_the_disk_are_accepted_and_priced(tmp_path: Path) -> None:
    places, _, tail = died_after_writing(tmp_path)
    ledger, log, recovered = open_both(places)

    assert (recovered.lines, recovered.torn, recovered.unknown) == (3, 0, 0)
    assert (ledger.ok, ledger.budget.spent, ledger.budget.unknown) == (4, 400, 0)
    assert places.partial.read_bytes().endswith(tail)
    ledger.check()
    close_both(ledger, log)


def test_an_attempt_without_answers_becomes_unknown_spend_and_its_records_stay_open(tmp_path: Path) -> None:
    places = places_in(tmp_path)
    ledger, log, _ = open_both(places)
    ledger.commit([], [intent(1, [1, 2])], log)
    close_both(ledger, log)
    ledger, log, recovered = open_both(places)

    assert recovered.unknown == 1
    assert (ledger.budget.spent, ledger.budget.unknown) == (0, 1_000)
    assert [line for line in (1, 2) if line in ledger.done] == []
    assert ledger.ambiguous == {1: 0, 2: 0}, "our own death is not held against a record"
    close_both(ledger, log)


def test_recovery_is_right_for_a_tail_cut_at_every_byte(tmp_path: Path) -> None:
    for cut in range(len(died_after_writing(_fresh(tmp_path, "whole"))[2]) + 1):
        places, _, tail = died_after_writing(_fresh(tmp_path, str(cut)))
        size = places.partial.stat().st_size
        with places.partial.open("r+b") as file:
            file.truncate(size - len(tail) + cut)
        ledger, log, recovered = open_both(places)
        whole = tail[:cut].count(b"\n")

        assert recovered.lines == whole
        assert recovered.torn == cut - (tail[:cut].rfind(b"\n") + 1)
        assert ledger.ok == 1 + whole
        assert ledger.budget.spent == 100 + (200 if whole >= 2 else 0) + (100 if whole == 3 else 0)
        assert ledger.budget.spent + ledger.budget.unknown >= 400, "recorded is never below what was billed"
        assert _torn(places) == [tail[tail[:cut].rfind(b"\n") + 1 : cut]] * (recovered.torn > 0)
        ledger.check()
        close_both(ledger, log)


def _fresh(directory: Path, name: str) -> Path:
    (directory / name).mkdir()
    return directory / name


def _torn(places: Places) -> list[bytes]:
    return [path.read_bytes() for path in places.state.glob("torn-*")]


FORGED = {
    "another ledger": b'{"attempt":"zzzzzzzz-2-2-100","usage":{}}\n',
    "a line that is not of the attempt": b'{"attempt":"NAME-2-4-100","usage":{}}\n',
    "a settled attempt": b'{"attempt":"NAME-1-1-100","usage":{}}\n',
    "no usage": b'{"attempt":"NAME-2-2-100"}\n',
    "not JSON": b'{"attempt":"NAME-2-2-100",\n',
    "zeros": b"\0" * 4096 + b"\n",
    "no object": b"[]\n",
}


@pytest.mark.parametrize("forged", FORGED.values(), ids=FORGED.keys())
def test_a_line_that_no_attempt_in_flight_can_have_written_is_kept_aside(tmp_path: Path, forged: bytes) -> None:
    places = places_in(tmp_path)
    ledger, log, _ = open_both(places)
    ledger.commit([], [intent(1, [1]), intent(2, [2, 3])], log)
    ledger.commit([answered(ledger, 1, [1])], [], log)
    line = forged.replace(b"NAME", ledger.name.encode())
    good = result(ledger, 2, 2).content
    close_both(ledger, log)
    append(places.partial, line + good)
    ledger, log, recovered = open_both(places)

    assert (recovered.lines, recovered.torn) == (0, len(line + good))
    assert _torn(places) == [line + good]
    assert ledger.ok == 1
    close_both(ledger, log)


def test_the_same_answer_twice_in_the_tail_is_taken_once(tmp_path: Path) -> None:
    places = places_in(tmp_path)
    ledger, log, _ = open_both(places)
    ledger.commit([], [intent(1, [1, 2])], log)
    line = result(ledger, 1, 1).content
    close_both(ledger, log)
    append(places.partial, line + line)
    ledger, log, recovered = open_both(places)

    assert (recovered.lines, recovered.torn, ledger.ok) == (1, len(line), 1)
    close_both(ledger, log)


def test_a_ledger_older_than_the_output_is_refused(tmp_path: Path) -> None:
    places = places_in(tmp_path)
    ledger, log, _ = open_both(places)
    ledger.commit([], [intent(1, [1])], log)
    unknown_to_the_ledger = result(ledger, 7, 1).content
    close_both(ledger, log)
    append(places.partial, unknown_to_the_ledger)

    with pytest.raises(StateMismatch, match="older than the output"):
        open_both(places)
    assert places.partial.read_bytes() == unknown_to_the_ledger


def test_an_output_shorter_than_recorded_is_refused(tmp_path: Path) -> None:
    places, _, tail = died_after_writing(tmp_path)
    with places.partial.open("r+b") as file:
        file.truncate(places.partial.stat().st_size - len(tail) - 1)

    with pytest.raises(StateMismatch, match="was cut or replaced"):
        open_both(places)


def test_an_output_edited_in_its_committed_tail_is_refused(tmp_path: Path) -> None:
    places, _, _ = died_after_writing(tmp_path)
    with places.partial.open("r+b") as file:
        file.seek(5)
        file.write(b"X")

    with pytest.raises(StateMismatch, match="was edited"):
        open_both(places)


def test_a_missing_output_is_refused(tmp_path: Path) -> None:
    places, _, _ = died_after_writing(tmp_path)
    places.partial.rename(tmp_path / "elsewhere")

    with pytest.raises(StateMismatch, match="is gone"):
        open_both(places)


def test_recovering_twice_changes_nothing_more(tmp_path: Path) -> None:
    places, _, _ = died_after_writing(tmp_path)
    ledger, log, _ = open_both(places)
    first = (ledger.ok, ledger.budget.spent, ledger.budget.unknown, log.offset)
    close_both(ledger, log)
    ledger, log, recovered = open_both(places)

    assert (ledger.ok, ledger.budget.spent, ledger.budget.unknown, log.offset) == first
    assert (recovered.lines, recovered.torn, recovered.unknown) == (0, 0, 0)
    close_both(ledger, log)


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_whatever_follows_the_committed_bytes_no_record_is_lost_or_doubled(tmp_path: Path, data: st.DataObject) -> None:
    places, name, tail = died_after_writing(_fresh(tmp_path, str(next(_numbers))))
    lines = tail.splitlines(keepends=True)
    junk = st.one_of(
        st.binary(max_size=50),
        st.sampled_from(lines),
        st.sampled_from([forged.replace(b"NAME", name.encode()) for forged in FORGED.values()]),
    )
    with places.partial.open("r+b") as file:
        file.truncate(places.partial.stat().st_size - len(tail))
    append(places.partial, b"".join(data.draw(st.lists(junk, max_size=6))))
    ledger = open_ledger(places, "f")
    try:
        ledger, log, _ = open_output(ledger, places)
    except StateMismatch:
        ledger.close()
        return

    found = [_line(raw, name) for raw in places.partial.read_bytes().splitlines()]
    assert sorted(found) == [line for line in range(1, 10) if line in ledger.done]
    ledger.check()
    close_both(ledger, log)


_numbers = itertools.count()


def _line(raw: bytes, name: str) -> int:
    assert raw.startswith(b'{"attempt":"' + name.encode())
    return int(raw.split(b'"')[3].split(b"-")[2])


FULL = Usage(input=10, output=6, cached=4, cache_write=3, reasoning=2)


def test_all_kinds_of_tokens_of_recovered_answers_are_booked(tmp_path: Path) -> None:
    places = places_in(tmp_path)
    ledger, log, _ = open_both(places)
    ledger.commit([], [intent(1, [1, 2])], log)
    for line in (1, 2):
        record = Record(line, str(line), {})
        identity = f"{ledger.name}-1-{line}-100"
        append(places.partial, templated_line(identity, record, [], {"text": "x"}, "m", FULL, 100))
    close_both(ledger, log)

    ledger, log, _ = open_both(places)

    assert [(spend.kind, spend.requests, spend.usage, spend.cost) for spend in ledger.spends] == [
        ("ok", 1, Usage(input=20, output=12, cached=8, cache_write=6, reasoning=4), 200)
    ]
    close_both(ledger, log)


def test_the_usage_of_a_line_is_read_in_both_formats() -> None:
    record = Record(1, "task-1", {})

    assert usage_of(templated_line("n-1-1-5", record, [], {}, "m", FULL, 5)) == FULL
    assert usage_of(batch_line("n-1-1-5", record, {"choices": []}, "m", FULL, None)) == FULL


@pytest.mark.parametrize("raw", [b"", b"{", b"[]", b"null", b'{"attempt":"n-1-1-5"}', b'{"attempt":"x","usage":3}'])
def test_a_line_without_usage_is_no_result(raw: bytes) -> None:
    assert usage_of(raw) is None


@pytest.mark.parametrize("value", ["3", 3.0, None, True, [3]])
def test_a_count_that_is_no_whole_number_counts_nothing(value: Json) -> None:
    line = {"attempt": "n-1-1-5", "usage": {"prompt_tokens": value, "completion_tokens": 7}}

    assert usage_of(orjson.dumps(line)) == Usage(output=7)
