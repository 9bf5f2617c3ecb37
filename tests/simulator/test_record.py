from __future__ import annotations

import stat
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from pipeline.simulator import Entry, Tokens, bill, digest, read_record
from pipeline.simulator.record import Record


def entry(cost: int, **changes: object) -> Entry:
    values = Entry(1.5, "/embeddings", "run-1", 200, [digest("a")], "model", Tokens(3, 1, 2, 1), cost, None)
    return values._replace(**changes)  # type: ignore[arg-type]


def test_a_file_gives_back_what_was_written(tmp_path: Path) -> None:
    record = Record(tmp_path / "record.jsonl")
    entries = [entry(5), entry(0, status=429, model=None, request_id=None, inputs=[], fault="hang")]
    for one in entries:
        record.write(one)
    record.close()

    assert read_record(tmp_path / "record.jsonl") == record.entries() == entries
    assert bill(tmp_path / "record.jsonl") == bill(entries) == record.billed_nusd == 5


def test_an_entry_is_in_the_file_before_write_returns(tmp_path: Path) -> None:
    record = Record(tmp_path / "record.jsonl")
    record.write(entry(7))

    assert bill(tmp_path / "record.jsonl") == 7
    record.close()


def test_a_second_simulator_appends(tmp_path: Path) -> None:
    for cost in (1, 2):
        record = Record(tmp_path / "record.jsonl")
        record.write(entry(cost))
        record.close()

    assert bill(tmp_path / "record.jsonl") == 3


def test_a_record_can_be_written_after_it_was_closed(tmp_path: Path) -> None:
    record = Record(tmp_path / "record.jsonl")
    for cost in (1, 2):
        record.write(entry(cost))
        record.close()

    assert bill(record.entries()) == 3


def test_a_line_that_is_not_whole_yet_is_left_out(tmp_path: Path) -> None:
    record = Record(tmp_path / "record.jsonl")
    record.write(entry(4))
    record.close()
    with (tmp_path / "record.jsonl").open("ab") as file:
        file.write(b'{"time": 2.0, "pa')

    assert [one.cost_nusd for one in read_record(tmp_path / "record.jsonl")] == [4]


def test_the_file_is_for_its_owner_only(tmp_path: Path) -> None:
    record = Record(tmp_path / "record.jsonl")
    record.write(entry(1))
    record.close()

    assert stat.S_IMODE((tmp_path / "record.jsonl").stat().st_mode) == 0o600


def test_nothing_seen_yet_is_an_empty_record(tmp_path: Path) -> None:
    assert Record(tmp_path / "record.jsonl").entries() == Record(None).entries() == []


@given(st.lists(st.integers(0, 10**12)))
def test_the_bill_is_the_sum_of_the_costs(costs: list[int]) -> None:
    record = Record(None)
    for cost in costs:
        record.write(entry(cost))

    assert bill(record.entries()) == record.billed_nusd == sum(costs)
