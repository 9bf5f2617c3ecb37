"""What the usage log is told of a run: that it began, what it has spent every few seconds, and how it ended."""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, NamedTuple

from pipeline.storage.entries import Spend
from pipeline.storage.ledger import Ledger
from pipeline.storage.state import Places
from pipeline.storage.usage import RunRow, UsageLog, UsageRow, usage_log_path

if TYPE_CHECKING:
    from pipeline.core.request_prices import RequestPrices

RUNNING = "running"


class RunName(NamedTuple):
    """What is run, and the limits that it is held to."""

    config: str
    """The path of its config."""
    job: str
    name: str
    endpoint: str
    model: str
    """Empty where every line brings its own."""
    tags: tuple[str, ...]
    """As `key=value`."""
    rpm: int | None
    tpm: int | None


class Standing(NamedTuple):
    """How a run stands or ended."""

    state: str
    exit_code: int | None
    total: int | None
    ok: int
    failed: int
    price_source: str


class Spending:
    """The usage log's view of one run. May be told of it from any thread.

    Args:
        run: What is run.
        places: Where its output and its lock are.
        ledger: What it spends; it counts the run once there is something to do.
        prices: Whether models have a price, and what cached input saved.
        environ: Says where the usage log is.
        capped: Whether the run has a monthly cap to keep.
    """

    def __init__(
        self,
        run: RunName,
        places: Places,
        ledger: Ledger,
        prices: RequestPrices,
        environ: Mapping[str, str],
        *,
        capped: bool,
    ) -> None:
        self._run = run
        self._places = places
        self._ledger = ledger
        self._prices = prices
        self._environ = environ
        self._capped = capped
        self._writing = threading.Lock()
        """One at a time, each with what is durable by then: what is written last is the latest."""
        self._spends: list[Spend] = []
        self._has_begun = self._has_ended = False

    def tell(self, started_at: float, now: float, standing: Standing) -> None:
        """Write how the run stands, or how it ended; nothing after its end.

        Raises:
            UsageLogError: It could not be written.
        """
        with self._writing:
            if self._has_ended:
                return
            log = UsageLog(usage_log_path(self._environ))
            durable = self._ledger.committed_spends()
            self._spends = self._spends if durable is None else durable
            rows = [self._row(spend, standing.price_source) for spend in self._spends]
            if not self._ledger.run_no:  # there was nothing to do; the run before may have died without a last word
                log.agree(self._ledger.name, rows, now=now)
                return
            run = self._run_row(started_at, now, standing)
            self._has_ended = standing.state != RUNNING
            if self._has_begun:
                write = log.end_run if self._has_ended else log.sync_run
                write(run, [row for row in rows if row.run_no == run.run_no])
            else:
                log.begin_run(run, rows, capped=self._capped)
            self._has_begun = True

    def _run_row(self, started_at: float, now: float, standing: Standing) -> RunRow:
        run, own = self._run, [spend for spend in self._spends if spend.key.run == self._ledger.run_no]
        return RunRow(
            ledger_id=self._ledger.name,
            run_no=self._ledger.run_no,
            pid=os.getpid(),
            config=run.config,
            job=run.job,
            name=run.name,
            endpoint=run.endpoint,
            model=run.model,
            output=str(self._places.output.absolute()),
            state_dir=str(self._places.state.absolute()),
            tags=run.tags,
            started_at=started_at,
            updated_at=now,
            ended_at=None if standing.state == RUNNING else now,
            state=standing.state,
            exit_code=standing.exit_code,
            records_total=standing.total,
            records_ok=standing.ok,
            records_failed=standing.failed,
            spent_nusd=sum(spend.cost for spend in own if spend.kind != "unknown"),
            unknown_nusd=sum(spend.cost for spend in own if spend.kind == "unknown"),
        )

    def _row(self, spend: Spend, price_source: str) -> UsageRow:
        run, key, usage = self._run, spend.key, spend.usage
        at = datetime.fromisoformat(key.day).replace(tzinfo=UTC).timestamp()
        priced = spend.cost > 0 or self._prices.knows(key.model, at)
        return UsageRow(
            run_no=key.run,
            day=key.day,
            model=key.model,
            endpoint=run.endpoint,
            job=run.job,
            name=run.name,
            kind=key.kind,
            requests=spend.requests,
            input=usage.input,
            cached=usage.cached,
            cache_write=usage.cache_write,
            output=usage.output,
            reasoning=usage.reasoning,
            cost_nusd=spend.cost if priced else None,
            price_source=price_source,
            tags=run.tags,
            saved_nusd=self._prices.saved(key.model, usage.cached, at),
            asked=key.asked,
        )
