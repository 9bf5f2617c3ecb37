from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.events import Exchange
from pipeline.observers.joblog import HEADER, JobLog
from pipeline.storage.line_file import LineFile
from pipeline.types import Usage

TIMES = (1795683725.1984, 0.0551)
SEEN = Exchange("abcdefgh-7", "/embeddings", "m-1", 21, 40, 20, *TIMES, 270, 9000, None, None, 200, Usage(60), "m-1")


def rows(tmp_path: Path, *exchanges: Exchange) -> list[list[str]]:
    file = LineFile(tmp_path / "joblog", header=HEADER)
    JobLog(file, "api.openai.com").write(exchanges)
    file.close()
    return [line.split("\t") for line in (tmp_path / "joblog").read_text().splitlines()]


def test_the_columns_are_those_of_gnu_parallel(tmp_path: Path) -> None:
    header, row = rows(tmp_path, SEEN)

    assert header == ["Seq", "Host", "Starttime", "JobRuntime", "Send", "Receive", "Exitval", "Signal", "Command"]
    assert row == [
        "7",
        "api.openai.com",
        "1795683725.198",
        "     0.055",
        "270",
        "9000",
        "0",
        "0",
        "POST /embeddings m-1 lines 21-40 records 20",
    ]


@pytest.mark.parametrize(
    ("status", "exit_value"), [(429, "429"), (500, "500"), (None, "1"), (200, "1")], ids=["429", "500", "none", "200"]
)
def test_a_failed_attempt_has_an_exit_value_and_names_its_code(
    tmp_path: Path, status: int | None, exit_value: str
) -> None:
    failed = SEEN._replace(error="Transient", code="server_error", status=status, received=0, usage=None)
    [_, row] = rows(tmp_path, failed)

    assert row[6] == exit_value
    assert row[8] == "POST /embeddings m-1 lines 21-40 records 20 Transient server_error"


def test_a_model_cannot_forge_a_line(tmp_path: Path) -> None:
    [_, row] = rows(tmp_path, SEEN._replace(model="m\n8\tevil\t\x1b[2J"))

    assert len(row) == 9
    assert row[8].isprintable()
