"""Which run and which day an attempt is booked on, and ledgers of the version that told runs not apart."""

from __future__ import annotations

import contextlib
import sqlite3
import threading
from pathlib import Path

from pipeline.storage.entries import SpendKey
from pipeline.storage.ledger import Ledger
from pipeline.types import Usage
from tests.storage.outputs import DAY, NOON, answered, append, close_both, intent, lost, open_both, places_in, result

VERSION_1 = """
DROP TABLE rollup;
CREATE TABLE rollup(
    model TEXT, day TEXT, kind TEXT, requests INT NOT NULL, input INT NOT NULL, output INT NOT NULL,
    cached INT NOT NULL, cache_write INT NOT NULL, reasoning INT NOT NULL, cost INT NOT NULL,
    PRIMARY KEY (model, day, kind)) WITHOUT ROWID;
INSERT INTO rollup VALUES ('m', '2026-11-20', 'ok', 3, 30, 12, 5, 2, 1, 300);
INSERT INTO rollup VALUES ('m', '2026-11-20', 'unknown', 1, 0, 0, 0, 0, 0, 70);
UPDATE progress SET spent = 300, unknown = 70;
UPDATE meta SET v = 4 WHERE k = 'run_no';
PRAGMA user_version = 1;
"""


def costs(ledger: Ledger) -> dict[tuple[int, str, str], int]:
    return {(spend.key.run, spend.key.day, spend.kind): spend.cost for spend in ledger.spends}


def test_each_run_has_its_own_rows(tmp_path: Path) -> None:
    places = places_in(tmp_path)
    for attempt in (1, 2):
        ledger, log, _ = open_both(places)
        ledger.commit([], [intent(attempt, [attempt])], log)
        ledger.commit([answered(ledger, attempt, [attempt])], [], log)
        assert ledger.run_no == attempt
        close_both(ledger, log)
    again = Ledger.open(places.ledger)

    assert costs(again) == {(1, DAY, "ok"): 100, (2, DAY, "ok"): 100}
    assert again.committed_spends() == again.spends
    again.check()
    again.close()


def test_what_recovery_books_is_spend_of_the_run_that_recovers_on_the_day_of_the_attempt(tmp_path: Path) -> None:
    places = places_in(tmp_path)
    ledger, log, _ = open_both(places)
    ledger.commit([], [intent(1, [1]), intent(2, [2])], log)
    append(places.partial, result(ledger, 1, 1).content)
    close_both(ledger, log)
    ledger, log, _ = open_both(places)

    assert costs(ledger) == {(2, DAY, "ok"): 100, (2, DAY, "unknown"): 1_000}
    close_both(ledger, log)


def test_an_attempt_is_booked_on_the_day_on_which_it_was_reserved(tmp_path: Path) -> None:
    places = places_in(tmp_path)
    ledger, log, _ = open_both(places)
    last_second = intent(1, [1])._replace(at=NOON + 43_199)
    ledger.commit([], [last_second, intent(2, [2])._replace(at=NOON + 43_200)], log)
    ledger.commit([answered(ledger, 1, [1]), lost(2)], [], log)

    assert costs(ledger) == {(1, DAY, "ok"): 100, (1, "2026-11-22", "unknown"): 1_000}
    close_both(ledger, log)


def test_the_model_that_was_asked_for_is_kept_beside_the_one_that_answered(tmp_path: Path) -> None:
    ledger, log, _ = open_both(places_in(tmp_path))
    ledger.commit([], [intent(1, [1])], log)
    ledger.commit([answered(ledger, 1, [1])._replace(model="m-2026-08-07")], [], log)

    assert [spend.key for spend in ledger.spends] == [SpendKey(1, DAY, "m", "m-2026-08-07", "ok")]
    close_both(ledger, log)


def test_spend_that_is_not_durable_yet_is_not_shown_to_other_threads(tmp_path: Path) -> None:
    ledger, log, _ = open_both(places_in(tmp_path))
    seen: list[int] = []
    reader = threading.Thread(target=lambda: seen.append(sum(spend.cost for spend in ledger.committed_spends() or ())))
    with ledger.transaction():
        ledger.book("m", DAY, "ok", Usage(), 60, requests=1)
        reader.start()
        reader.join(0.05)
        assert seen == []
        ledger.book("m", DAY, "ok", Usage(), 40, requests=1)
    reader.join()

    assert seen == [100]
    close_both(ledger, log)


def test_a_ledger_of_version_1_is_brought_to_this_one_with_its_spend_as_that_of_run_0(tmp_path: Path) -> None:
    places = places_in(tmp_path)
    close_both(*open_both(places)[:2])
    with contextlib.closing(sqlite3.connect(places.ledger)) as db:
        db.executescript(VERSION_1)
    for _ in range(2):
        ledger = Ledger.open(places.ledger)
        ledger.check()
        assert costs(ledger) == {(0, "2026-11-20", "ok"): 300, (0, "2026-11-20", "unknown"): 70}
        assert ledger.spends[0].usage == Usage(30, 12, 5, 2, 1)
        ledger.close()
    ledger, log, _ = open_both(places)
    ledger.commit([], [intent(1, [1])], log)
    ledger.commit([answered(ledger, 1, [1])], [], log)

    assert costs(ledger)[5, DAY, "ok"] == 100
    assert ledger.budget.spent == 400
    close_both(ledger, log)
