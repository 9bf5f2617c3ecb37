"""Gathers the results of the tests by row of the catalogue, for `python -m tests.faults`."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.faults.catalogue import AREAS, ROWS
from tests.faults.oracle import CANARY


class Result(NamedTuple):
    """How one test of a row ended."""

    outcome: str
    reason: str


LONG = frozenset(
    {
        "test_network_faults.py",
        "test_process_death.py",
        "test_storage_faults.py",
    }
)
"""Files with rows that take long: run by `python -m tests.faults`. Every `pytest` runs the others, with a slice of all
storms and of the money runs."""

_KEY_FILES = frozenset({"key", "key.txt", ".env", "secret"})
"""Names under which tests keep the key for the program to read."""

_LARGEST = 1 << 28

_results: dict[int, list[Result]] = defaultdict(list)


@pytest.fixture(scope="session", autouse=True)
def no_key_in_any_artefact(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """After all tests: the key that they ran with is in no file that any of them left, but where one put it itself."""
    yield
    left = [path for path in tmp_path_factory.getbasetemp().rglob("*") if path.is_file() and not path.is_symlink()]
    assert not [path for path in left if path.name not in _KEY_FILES and _holds_key(path)]


def _holds_key(path: Path) -> bool:
    """Whether the key is in a file; an input of a terabyte, nearly all of it a hole, is one that a test made."""
    return path.stat().st_size < _LARGEST and CANARY.encode() in path.read_bytes()


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "row(*numbers): rows of the fault catalogue that the test proves")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--rows", action="store_true", help="print the table of the fault catalogue")


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    named = any(collection_path.name in argument for argument in config.args)
    return True if collection_path.name in LONG and not named and not config.getoption("--rows") else None


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]):  # type: ignore[no-untyped-def]
    report: pytest.TestReport = yield
    if report.when == "call" or report.outcome != "passed":
        reason = report.longrepr[2] if report.skipped and isinstance(report.longrepr, tuple) else ""
        for marker in item.iter_markers("row"):
            for number in marker.args:
                _results[number].append(Result(report.outcome, reason))
    return report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    if not config.getoption("--rows"):
        return
    area = ""
    for row in ROWS:
        if row.area != area:
            area = row.area
            terminalreporter.write_sep("-", f"{area} {AREAS[area]}")
        terminalreporter.write_line(f"{row.number:>4}  {_verdict(_results[row.number]):<8} {row.fault}")
        for reason in sorted({result.reason for result in _results[row.number] if result.outcome == "skipped"}):
            terminalreporter.write_line(f"      {reason}")


def _verdict(results: list[Result]) -> str:
    outcomes = {result.outcome for result in results}
    if "failed" in outcomes:
        return "FAILED"
    if outcomes == {"skipped"}:
        return "skipped"
    return "green" if outcomes else "NO TEST"
