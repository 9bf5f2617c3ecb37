"""A usage log with runs in it, and their state directories."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson

from pipeline.storage.state import Lock, Places, make_private
from pipeline.storage.usage import RunRow, UsageLog, UsageRow
from tests.cli.summaries import summary
from tests.report.facts import recorded

AT = datetime(2026, 11, 21, 12, 0, 30, tzinfo=UTC)
NOW = {
    "fraction": 0.4321,
    "records_per_second": 37.2,
    "seconds_left": 75.0,
    "in_flight": 8,
    "requests_per_minute": 360.0,
    "rpm": 720,
    "tokens_per_minute": 150_000.0,
    "tpm": 200_000,
    "paused": None,
}


class Runs:
    """A usage log in a folder, to which runs are added."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.log = UsageLog(folder / "usage.db")
        self.locks: list[Lock] = []

    def ended(self, ledger: str, name: str = "tickets", day: str = "2026-11-21", **changes: Any) -> RunRow:
        """Add a run that is over; it cost three dollars, and left no state."""
        run = self._row(ledger, name, state="complete", exit_code=0, ended_at=AT.timestamp(), **changes)
        rows = [_usage(run, day, "ok", 3_000_000_000), _usage(run, day, "unknown", 100_000_000)]
        self.log.begin_run(run, rows)
        return run

    def running(self, ledger: str, name: str = "tickets", now: Any = None, **changes: Any) -> RunRow:
        """Add a run that is under way: its lock is held."""
        run = self._row(ledger, name, **changes)
        places = Places(Path(run.output), Path(run.state_dir))
        make_private(places.state)
        self.locks.append(Lock.take(places.lock))
        self.log.begin_run(run, [_usage(run, "2026-11-21", "ok", 50_000_000)])
        self.says(run, state="running", exit_code=None, now={**NOW, **(now or {})})
        return run

    def says(self, run: RunRow, **changes: Any) -> None:
        """Write the status and the history of a run."""
        places = Places(Path(run.output), Path(run.state_dir))
        make_private(places.state)
        places.status.write_bytes(orjson.dumps({**summary(), "name": run.name, **changes}))
        places.history.write_bytes(recorded().as_json())

    def _row(self, ledger: str, name: str, **changes: Any) -> RunRow:
        began = AT.timestamp() - 3600
        output = self.folder / f"{ledger}.jsonl"
        row = RunRow(
            ledger_id=ledger, run_no=1, pid=1, config=f"/configs/{name}.yaml", job="embeddings", name=name,
            endpoint="openai", model="text-1", output=str(output), state_dir=f"{output}.state", tags=(),
            started_at=began, updated_at=began + 60, records_ok=494, records_failed=6, spent_nusd=50_000_000,
        )  # fmt: skip
        return row._replace(**changes)


def _usage(run: RunRow, day: str, kind: Any, cost: int) -> UsageRow:
    return UsageRow(1, day, run.model, run.endpoint, run.job, run.name, kind, 25, 1000, 0, 0, 50, 0, cost, "list")
