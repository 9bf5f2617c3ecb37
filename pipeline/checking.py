"""Checks an input, or that an output answers its input exactly once. Sends nothing and writes nothing."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import orjson

from pipeline.assembly import Parts, assemble, places_of
from pipeline.config import Loaded
from pipeline.core.identity import line_identity
from pipeline.core.parse import parse_line
from pipeline.errors import UsageError
from pipeline.events import Observers
from pipeline.sources import open_source
from pipeline.storage.bitmap import Bitmap
from pipeline.storage.compression import inflated
from pipeline.storage.lines import DamagedError
from pipeline.storage.recovery import usage_of
from pipeline.storage.source import Source
from pipeline.types import BadLine

SHOWN = 1_000
"""The most problems that a report lists; all are counted."""


class CheckReport(NamedTuple):
    """What was found."""

    records: int
    problems: int
    lines: list[str]
    """One problem each, as `file:line: what is wrong`; at most a thousand."""

    @property
    def ok(self) -> bool:
        return not self.problems


class _Report:
    def __init__(self) -> None:
        self.records = self.problems = 0
        self._lines: list[str] = []

    def problem(self, place: str, text: str) -> None:
        self.problems += 1
        if len(self._lines) < SHOWN:
            self._lines.append(f"{place}: {text}")

    def result(self) -> CheckReport:
        return CheckReport(self.records, self.problems, self._lines)


async def check_input(path: str, id_field: str | None = None) -> CheckReport:
    """Read an input and report bad lines and repeated custom_ids.

    Raises:
        UsageError: The file cannot be read.
    """
    with Source(path) as source:
        return await _check_lines(source, id_field, None)


async def _check_lines(source: Source, id_field: str | None, parts: Parts | None) -> CheckReport:
    """Report bad lines and repeated custom_ids; with `parts`, also what its job would refuse."""
    report = _Report()
    seen: dict[int, int] = {}
    async for page in source.pages():
        for line, raw in enumerate(page.lines, page.first_line):
            _check_line(report, source, line, raw, id_field, parts, seen)
    return report.result()


def _check_line(
    report: _Report,
    source: Source,
    line: int,
    raw: bytes,
    id_field: str | None,
    parts: Parts | None,
    seen: dict[int, int],
) -> None:
    record = parse_line(line, raw, id_field, name=source.label(line))
    if record is None:
        return
    report.records += 1
    if isinstance(record, BadLine):
        report.problem(source.place(line), f"{record.message} ({record.code})")
        return
    first = seen.setdefault(hash(record.custom_id), line)
    if first != line:
        report.problem(source.place(line), f"has the custom_id of line {source.label(first)} (duplicate_id)")
    problem = parts.problem(line, raw) if parts is not None else None
    if problem is not None:
        report.problem(source.place(line), problem)


async def check_run(loaded: Loaded) -> CheckReport:
    """Check the input of a config and, where its output is finished, that every record has exactly one outcome.

    Raises:
        UsageError: The config or its input is refused.
    """
    places = places_of(loaded)
    with open_source(loaded, looks_back=True) as source:
        if not places.output.exists():
            return await _check_lines(source, loaded.config.input.id, assemble(loaded, Observers(), sends=False))
        report, settled = _Report(), Bitmap()
        for number, raw in _lines(places.output):
            _settle_result(report, settled, f"{places.output}:{number}", raw)
        for number, raw in _lines(places.errors):
            _settle(report, settled, f"{places.errors}:{number}", _dead_line(raw, source))
        await _compare(report, settled, source)
    return report.result()


def _settle_result(report: _Report, settled: Bitmap, place: str, raw: bytes) -> None:
    identity = line_identity(raw)
    if identity is None:
        report.problem(place, "is no result line of this program")
    elif usage_of(raw) is None:
        report.problem(place, "is damaged: its answer cannot be read")
    else:
        _settle(report, settled, place, identity.line)


def _settle(report: _Report, settled: Bitmap, place: str, line: int) -> None:
    if line < 1:
        report.problem(place, "names no line of the input")
    elif line in settled:
        report.problem(place, f"line {line} of the input has an outcome already")
    else:
        settled.set(line)


async def _compare(report: _Report, settled: Bitmap, source: Source) -> None:
    last = 0
    async for page in source.pages():
        for line, raw in enumerate(page.lines, page.first_line):
            if parse_line(line, raw) is None:
                continue
            report.records, last = report.records + 1, line
            if line not in settled:
                report.problem(source.place(line), "has no outcome")
    if settled.total > report.records:
        extra = settled.total - report.records
        report.problem(f"{source.path}:{last}", f"{extra} outcomes belong to no record")


def _lines(path: Path) -> Iterator[tuple[int, bytes]]:
    if not path.exists():
        return
    try:
        with inflated(path) as file:
            yield from enumerate(file, 1)
    except (OSError, DamagedError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise UsageError(f"{path}: cannot be read: {reason}") from error


def _dead_line(raw: bytes, source: Source) -> int:
    try:
        letter = orjson.loads(raw)
        line, name = letter.get("line"), letter.get("file")
    except (orjson.JSONDecodeError, AttributeError):
        return 0
    if type(line) is not int:
        return 0
    return line if source.files is None else source.files.line_of(str(name), line)
