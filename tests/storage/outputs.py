"""A small output with its ledger, for the tests of commit and recovery."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pipeline.core.lines import templated_line
from pipeline.storage.checkpoint import Checkpoint, open_ledger, open_output
from pipeline.storage.entries import Release, Reserve, Settle
from pipeline.storage.ledger import Ledger
from pipeline.storage.results import OutputLog
from pipeline.storage.state import Places, default_state, make_private
from pipeline.types import DeadLetter, Record, Result, Usage

DAY = "2026-11-21"
NOON = 1_795_262_400.0
"""On that day, in seconds since the epoch."""


def places_in(directory: Path, name: str = "out.jsonl") -> Places:
    output = directory / name
    places = Places(output, default_state(output))
    make_private(places.state)
    return places


def open_both(places: Places, fingerprint: str = "f") -> Checkpoint:
    return open_output(open_ledger(places, fingerprint), places)


def close_both(ledger: Ledger, log: OutputLog) -> None:
    """Let go of the files without committing anything, as death does."""
    ledger.close()
    log.close()


def intent(attempt: int, lines: Sequence[int], amount: int = 1_000) -> Reserve:
    return Reserve(attempt, tuple(lines), amount, "m", NOON)


def result(ledger: Ledger, attempt: int, line: int, cost: int = 100) -> Result:
    record = Record(line, str(line), {"text": f"text {line}"})
    identity = f"{ledger.name}-{attempt}-{line}-{cost}"
    return Result(line, templated_line(identity, record, ["text"], {"answer": f"to {line}"}, "m", Usage(3, 2), cost))


def answered(ledger: Ledger, attempt: int, lines: Sequence[int], cost: int = 100) -> Settle:
    """An attempt that was answered for every record, each costing `cost`."""
    results = [result(ledger, attempt, line, cost) for line in lines]
    usage = Usage(3 * len(lines), 2 * len(lines))
    return Settle(attempt, cost * len(lines), usage, "m", results, [])


def lost(attempt: int, *, ambiguous: bool = True) -> Release:
    return Release(attempt, billed=True, ambiguous=ambiguous)


def dead(line: int, code: str = "rejected") -> DeadLetter:
    return DeadLetter(line, str(line), code, "no", 1, 1.0, 2.0, b'{"text": "x"}')


def append(path: Path, content: bytes) -> None:
    with path.open("ab") as file:
        file.write(content)


def sealed(path: Path) -> bool:
    return path.stat().st_mode & 0o077 == 0
