import sqlite3
import stat
import subprocess
import sys
from datetime import date
from pathlib import Path

import pytest

from pipeline.core.reconcile import Recorded
from pipeline.storage.usage import Grouping, Kind, UsageLog, UsageLogError, UsageRow, UsageTotal, usage_log_path

NOW = 1_795_262_400.0


def row(
    day: str = "2026-11-20",
    *,
    model: str = "luna",
    job: str = "embeddings",
    kind: Kind = "ok",
    requests: int = 1,
    cost: int | None = 100,
    tags: tuple[str, ...] = (),
    run_no: int = 1,
) -> UsageRow:
    return UsageRow(
        run_no, day, model, "openai", job, "tickets", kind, requests, 10, 4, 2, 3, 1, cost, "prices.yaml", tags
    )


@pytest.fixture
def log(tmp_path: Path) -> UsageLog:
    return UsageLog(tmp_path / "state" / "usage.db", wait=1)


def spent(log: UsageLog, by: Grouping, since: date | None = None) -> dict[str, int]:
    return {total.key: total.ok_nusd for total in log.totals(by, since)}


def test_a_log_that_is_not_there_has_no_totals_and_stays_away(log: UsageLog, tmp_path: Path) -> None:
    assert log.totals("day") == []
    assert list(tmp_path.iterdir()) == []


def test_one_row_is_its_own_total(log: UsageLog) -> None:
    log.sync("a", [row(requests=7)], now=NOW)

    assert log.totals("model") == [UsageTotal("luna", 7, 10, 4, 2, 3, 1, 100, 0, 0, 0)]


def test_first_retried_and_unknown_spend_are_shown_apart(log: UsageLog) -> None:
    log.sync("a", [row(cost=100), row(kind="retried", cost=20), row(kind="unknown", cost=3)], now=NOW)
    (total,) = log.totals("job")

    assert (total.ok_nusd, total.retried_nusd, total.unknown_nusd) == (100, 20, 3)
    assert total.requests == 3


def test_requests_without_a_known_price_are_counted_apart(log: UsageLog) -> None:
    log.sync("a", [row(requests=5, cost=None), row(model="sol", requests=2)], now=NOW)
    (total,) = log.totals("job")

    assert (total.ok_nusd, total.requests, total.unpriced) == (100, 7, 5)


def test_writing_twice_never_doubles(log: UsageLog) -> None:
    for _ in range(2):
        log.sync("a", [row(), row(day="2026-11-21", cost=7)], now=NOW)

    assert spent(log, "job") == {"embeddings": 107}


def test_the_last_word_of_a_ledger_counts(log: UsageLog) -> None:
    log.sync("a", [row(cost=100)], now=NOW)
    log.sync("a", [row(cost=60, requests=9)], now=NOW + 1)

    assert [(total.ok_nusd, total.requests) for total in log.totals("day")] == [(60, 9)]


def test_ledgers_and_runs_add_up(log: UsageLog) -> None:
    log.sync("a", [row(cost=1), row(cost=20, run_no=2)], now=NOW)
    log.sync("b", [row(cost=300)], now=NOW)

    assert spent(log, "name") == {"tickets": 321}


def test_totals_by_day_month_model_job_and_endpoint(log: UsageLog) -> None:
    log.sync(
        "a",
        [
            row("2026-10-31", cost=1),
            row("2026-11-01", cost=20, model="sol"),
            row("2026-11-02", cost=300, job="chat"),
        ],
        now=NOW,
    )

    assert spent(log, "day") == {"2026-10-31": 1, "2026-11-01": 20, "2026-11-02": 300}
    assert spent(log, "month") == {"2026-10": 1, "2026-11": 320}
    assert spent(log, "model") == {"luna": 301, "sol": 20}
    assert spent(log, "job") == {"chat": 300, "embeddings": 21}
    assert spent(log, "endpoint") == {"openai": 321}


def test_since_a_day_includes_that_day(log: UsageLog) -> None:
    log.sync("a", [row("2026-10-31", cost=1), row("2026-11-01", cost=20)], now=NOW)

    assert spent(log, "job", date(2026, 11, 1)) == {"embeddings": 20}
    assert spent(log, "job", date(2026, 11, 2)) == {}


def test_a_run_counts_for_each_of_its_tags(log: UsageLog) -> None:
    log.sync("a", [row(cost=1, tags=("search", "team-b"))], now=NOW)
    log.sync("b", [row(cost=20, tags=("search",)), row(cost=300, model="sol")], now=NOW)

    assert spent(log, "tag") == {"": 300, "search": 21, "team-b": 1}


def test_the_total_counts_a_row_with_several_tags_once(log: UsageLog) -> None:
    log.sync("a", [row(cost=1, tags=("search", "team-b")), row("2026-11-21", cost=20)], now=NOW)

    assert log.total() == UsageTotal("total", 2, 20, 8, 4, 6, 2, 21, 0, 0, 0)
    assert log.total(date(2026, 11, 21)).ok_nusd == 20
    assert log.total(date(2026, 11, 22)) == UsageTotal("total", *[0] * 10)


def test_a_log_that_is_not_there_has_a_total_of_nothing(log: UsageLog) -> None:
    assert log.total() == UsageTotal("total", *[0] * 10)


def test_what_was_recorded_is_by_day_and_model_with_the_unknown_apart(log: UsageLog) -> None:
    log.sync(
        "a",
        [
            row("2026-11-19", cost=1),
            row(cost=20),
            row(kind="retried", cost=300),
            row(kind="unknown", cost=4_000, requests=3),
            row(model="sol", cost=None, requests=5),
            row("2026-11-21", cost=50_000),
            row("2026-11-22", cost=600_000),
        ],
        now=NOW,
    )

    assert log.recorded(date(2026, 11, 20), date(2026, 11, 21)) == [
        Recorded("2026-11-20", "luna", 2, 30, 12, 9, 320, 3, 4_000, 0),
        Recorded("2026-11-20", "sol", 5, 10, 4, 3, 0, 0, 0, 5),
        Recorded("2026-11-21", "luna", 1, 10, 4, 3, 50_000, 0, 0, 0),
    ]


def test_what_was_recorded_may_be_of_some_endpoints_only(log: UsageLog) -> None:
    log.sync("a", [row(cost=1), row(cost=20)._replace(endpoint="local"), row(cost=300)._replace(endpoint="b")], now=NOW)
    day = date(2026, 11, 20)

    assert [each.cost_nusd for each in log.recorded(day, day, ["openai", "local"])] == [21]
    assert log.recorded(day, day, ["none"]) == []
    assert [each.cost_nusd for each in log.recorded(day, day)] == [321]


def test_a_name_with_quotes_is_only_a_name(log: UsageLog) -> None:
    log.sync("a'; --", [row(model="x'); DROP TABLE usage; --", tags=('"]',))], now=NOW)

    assert spent(log, "model") == {"x'); DROP TABLE usage; --": 100}
    assert spent(log, "tag") == {'"]': 100}


def test_the_files_are_for_the_owners_eyes_only(log: UsageLog, tmp_path: Path) -> None:
    log.sync("a", [row()], now=NOW)
    log.totals("day")
    folder = tmp_path / "state"

    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {0o600}
    assert "usage.db" in {path.name for path in folder.iterdir()}
    assert not [path for path in folder.iterdir() if path.name.startswith(".")]


def test_a_log_that_others_could_read_is_closed_to_them(log: UsageLog, tmp_path: Path) -> None:
    log.sync("a", [row()], now=NOW)
    path = tmp_path / "state" / "usage.db"
    path.chmod(0o644)
    log.sync("a", [row()], now=NOW)

    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_processes_that_write_at_once_lose_nothing(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from pipeline.storage.usage import UsageLog, UsageRow\n"
        "log = UsageLog(Path(sys.argv[1])); sys.stdin.read()\n"
        "for n in range(1, 11):\n"
        "    row = UsageRow(1, '2026-11-21', 'm', 'e', 'j', 'n', 'ok', n, 0, 0, 0, 0, 0, n, '')\n"
        "    log.sync(sys.argv[2], [row], now=1)\n"
    )
    path = tmp_path / "usage.db"
    started = [
        subprocess.Popen([sys.executable, "-c", code, str(path), f"ledger-{n}"], stdin=subprocess.PIPE)
        for n in range(3)
    ]
    for process in started:
        process.communicate(timeout=60)

    assert [process.returncode for process in started] == [0, 0, 0]
    assert [(total.requests, total.ok_nusd) for total in UsageLog(path).totals("job")] == [(30, 30)]


def failure(log: UsageLog) -> str:
    with pytest.raises(UsageLogError) as failed:
        log.sync("a", [row()], now=NOW)
    return str(failed.value)


def test_a_locked_log_is_a_usage_log_error(tmp_path: Path) -> None:
    path = tmp_path / "usage.db"
    log = UsageLog(path, wait=0)
    log.sync("a", [row()], now=NOW)
    holder = sqlite3.connect(path, isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    try:
        assert "locked" in failure(log)
        assert spent(log, "job") == {"embeddings": 100}
    finally:
        holder.close()


def test_a_folder_that_cannot_be_made_is_a_usage_log_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    assert "usage.db" in failure(UsageLog(tmp_path / "file" / "usage.db"))


def test_a_full_disk_is_a_usage_log_error() -> None:
    assert "/dev/full" in failure(UsageLog(Path("/dev/full")))


def test_a_read_only_folder_is_a_usage_log_error() -> None:
    assert "/proc" in failure(UsageLog(Path("/proc/pipeline/usage.db")))


def test_a_link_in_its_place_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "usage.db").symlink_to(tmp_path / "elsewhere.db")

    assert "no regular file" in failure(UsageLog(tmp_path / "usage.db"))
    assert not (tmp_path / "elsewhere.db").exists()


@pytest.mark.parametrize("content", [b"", b"not a database, but longer than a header" * 200])
def test_a_file_that_is_no_usage_log_is_left_as_it_is(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "usage.db"
    path.write_bytes(content)
    log = UsageLog(path)
    failure(log)
    with pytest.raises(UsageLogError):
        log.totals("day")

    assert path.read_bytes() == content


def test_the_log_of_a_newer_version_is_left_as_it_is(log: UsageLog, tmp_path: Path) -> None:
    log.sync("a", [row()], now=NOW)
    with sqlite3.connect(tmp_path / "state" / "usage.db") as db:
        db.execute("PRAGMA user_version=3")
    db.close()

    assert "newer version" in failure(log)


def test_numbers_beyond_sqlite_are_a_usage_log_error_and_nothing_is_written(log: UsageLog) -> None:
    with pytest.raises(UsageLogError):
        log.sync("a", [row(), row(model="sol", cost=2**63)], now=NOW)

    assert log.totals("day") == []


def test_text_that_is_no_unicode_is_a_usage_log_error(log: UsageLog) -> None:
    with pytest.raises(UsageLogError):
        log.sync("a", [row(model="\ud800")], now=NOW)


@pytest.mark.parametrize(
    ("environ", "path"),
    [
        ({"PIPELINE_STATE": "/s", "XDG_STATE_HOME": "/x", "HOME": "/h"}, "/s/usage.db"),
        ({"XDG_STATE_HOME": "/x", "HOME": "/h"}, "/x/pipeline/usage.db"),
        ({"HOME": "/h"}, "/h/.local/state/pipeline/usage.db"),
        ({"XDG_STATE_HOME": "relative", "HOME": "/h"}, "/h/.local/state/pipeline/usage.db"),
    ],
)
def test_the_log_is_in_the_users_state_folder(environ: dict[str, str], path: str) -> None:
    assert usage_log_path(environ) == Path(path)


def test_without_a_home_variable_the_home_on_record_is_taken() -> None:
    assert usage_log_path({}).is_absolute()
    assert usage_log_path({"HOME": ""}) == usage_log_path({})
