from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from pipeline.errors import StateMismatch, StorageFailed, UsageError
from pipeline.storage.finish import finish
from pipeline.storage.ledger import Ledger
from pipeline.storage.ordering import write_in_order
from pipeline.storage.results import OutputLog, tail_fingerprint
from tests.storage.outputs import answered, close_both, intent, open_both, places_in, result


def test_an_output_that_somebody_replaced_stops_the_run(tmp_path: Path) -> None:
    log = OutputLog.create(tmp_path / "out.partial")
    log.append([b"one\n"])
    (tmp_path / "out.partial").rename(tmp_path / "moved")
    (tmp_path / "out.partial").write_bytes(b"one\n")

    with pytest.raises(StorageFailed, match="replaced by another file"):
        log.append([b"two\n"])
    log.close()


def test_an_output_that_somebody_appended_to_stops_the_run(tmp_path: Path) -> None:
    log = OutputLog.create(tmp_path / "out.partial")
    with (tmp_path / "out.partial").open("ab") as file:
        file.write(b"not ours\n")

    with pytest.raises(StorageFailed, match="changed by somebody else"):
        log.append([b"one\n"])
    log.close()


def test_only_plain_files_have_a_fingerprint(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path)

    assert tail_fingerprint(tmp_path) is None
    assert tail_fingerprint(tmp_path / "link") is None
    assert tail_fingerprint(tmp_path / "nothing") is None


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"noise\n", "is not an answer to this input"),
        (b'{"attempt":"abcdefg1-1-9-0"}\n', "is not an answer to this input"),
        (b'{"attempt":"abcdefg1-1-2-0"}\n{"attempt":"abcdefg1-2-2-0"}\n', "line 2 of the input is answered twice"),
        (b'{"attempt":"abcdefg1-1-2-0"}\n{"attempt', "ends within a line"),
    ],
)
def test_what_cannot_be_put_in_order_is_said(tmp_path: Path, content: bytes, problem: str) -> None:
    (tmp_path / "log").write_bytes(content)

    with pytest.raises(StateMismatch, match=problem):
        write_in_order(tmp_path / "log", tmp_path / "ordered", 3)


def test_an_empty_output_is_in_order(tmp_path: Path) -> None:
    (tmp_path / "log").touch()
    write_in_order(tmp_path / "log", tmp_path / "ordered", 0)

    assert (tmp_path / "ordered").read_bytes() == b""


def test_many_large_lines_are_put_in_order(tmp_path: Path) -> None:
    lines = [b'{"attempt":"abcdefg1-1-%d-0","pad":"%s"}\n' % (n, b"x" * 300) for n in range(1, 9_001)]
    (tmp_path / "log").write_bytes(b"".join(lines[4_500:] + lines[:4_500]))
    write_in_order(tmp_path / "log", tmp_path / "ordered", 9_000)

    assert (tmp_path / "ordered").read_bytes() == b"".join(lines)


def test_an_output_that_is_not_what_was_recorded_is_not_finished(tmp_path: Path) -> None:
    places = places_in(tmp_path)
    ledger, log, _ = open_both(places)
    ledger.commit([], [intent(1, [1])], log)
    ledger.commit([answered(ledger, 1, [1])], [], log)
    with places.partial.open("ab") as file:
        file.write(result(ledger, 1, 2).content)

    with pytest.raises(StateMismatch, match="bytes, but"):
        finish(ledger, log, places, "done", 2)
    assert not places.output.exists()
    ledger.close()


def test_an_output_that_vanished_is_a_storage_failure(tmp_path: Path) -> None:
    places = places_in(tmp_path)
    ledger, log, _ = open_both(places)
    places.partial.unlink()

    with pytest.raises(StorageFailed, match="vanished"):
        finish(ledger, log, places, "done", 0)
    ledger.close()


def test_a_name_that_was_taken_meanwhile_is_not_replaced(tmp_path: Path) -> None:
    places = places_in(tmp_path)
    ledger, log, _ = open_both(places)
    places.output.write_text("mine\n")

    with pytest.raises(UsageError, match="is not ours"):
        finish(ledger, log, places, "done", 0)
    assert places.output.read_text() == "mine\n"
    ledger.close()


@pytest.mark.parametrize("field", ["spent", "ok"])
def test_a_ledger_that_does_not_add_up_is_noticed(tmp_path: Path, field: str) -> None:
    places = places_in(tmp_path)
    ledger, log, _ = open_both(places)
    ledger.commit([], [intent(1, [1])], log)
    ledger.commit([answered(ledger, 1, [1])], [], log)
    with ledger.transaction():
        if field == "spent":
            ledger.budget.spent += 1
        else:
            ledger.ok += 1
    close_both(ledger, log)
    again = Ledger.open(places.ledger)

    with pytest.raises(StateMismatch):
        again.check()
    again.close()


def test_a_ledger_that_is_open_elsewhere_is_a_storage_failure(tmp_path: Path) -> None:
    places = places_in(tmp_path)
    ledger, log, _ = open_both(places)

    with pytest.raises(StorageFailed, match="cannot open"):
        Ledger.open(places.ledger)
    close_both(ledger, log)


def test_a_ledger_whose_texts_are_damaged_is_said_to_be_damaged(tmp_path: Path) -> None:
    places = places_in(tmp_path)
    ledger, log, _ = open_both(places)
    ledger.commit([], [intent(1, [1])], log)
    close_both(ledger, log)
    with sqlite3.connect(places.ledger) as connection:
        connection.execute("UPDATE inflight SET model = CAST(x'ff' AS TEXT)")
    connection.close()

    with pytest.raises(StateMismatch, match="--repair"):
        Ledger.open(places.ledger)
