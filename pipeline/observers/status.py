"""How the run stands: `status.json` each second, `run.json` and the usage log at the end, snapshots for progress."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, NamedTuple

import orjson

from pipeline.clock import Clock
from pipeline.errors import JobStopped, StorageFailed
from pipeline.events import Notice, Observer, SoftBudgetReached
from pipeline.observers.pacing import Pacing, Plan
from pipeline.observers.snapshot import Snapshot
from pipeline.observers.summary import Money, Part, Records, Requests, Summary, less, retried_nusd, tokens_of
from pipeline.observers.tally import Tally
from pipeline.storage.entries import Spend
from pipeline.storage.ledger import Ledger
from pipeline.storage.state import Places, replace_durably
from pipeline.storage.usage import UsageLog, UsageLogError, UsageRow, usage_log_path

if TYPE_CHECKING:
    from pipeline.core.request_prices import RequestPrices
    from pipeline.middleware.throttle import Throttle
    from pipeline.storage.commit import Journal

_PERIOD = 1.0


class RunName(NamedTuple):
    """What is run, and the limits that it is held to."""

    job: str
    name: str
    endpoint: str
    rpm: int | None
    tpm: int | None


class Status:
    """What is known of a run, from before it has a ledger until after it has ended."""

    def __init__(self, run: RunName, places: Places, tally: Tally, clock: Clock, environ: Mapping[str, str]) -> None:
        self._run = run
        self._places = places
        self._tally = tally
        self._clock = clock
        self._environ = environ
        self._ledger: Ledger | None = None
        self._prices: RequestPrices | None = None
        self._throttle: Throttle | None = None
        self._pacing: Pacing | None = None
        self._before = Part()
        self._earlier = Requests()
        self._began = self._started_at = 0.0
        self._position = 0
        self._size: int | None = None
        self._at_end = self._locked = False

    def begin(self) -> None:
        self._began, self._started_at = self._clock.monotonic(), self._clock.now()

    def locked(self) -> None:
        """The state directory is ours: it may be written to."""
        self._locked = True

    def opened(self, ledger: Ledger, prices: RequestPrices) -> None:
        self._ledger, self._prices = ledger, prices
        self._at_end = ledger.meta["phase"] == "complete"
        self._earlier = Requests(*orjson.loads(str(ledger.meta.get("requests", "[]"))))
        self._before = self._part(ledger, Requests())

    def sending(self, throttle: Throttle, writer: Journal, plan: Plan) -> None:
        self._throttle = throttle
        self._pacing = Pacing(plan, self._tally, throttle, writer, self._clock)

    def sent(self) -> None:
        """Nothing is sent any more."""
        if self._pacing is not None:
            self._pacing.stop()

    def read(self, position: int, size: int | None) -> None:
        """The input has been read up to a byte."""
        self._position, self._size, self._at_end = position, size, False

    def read_to_end(self) -> None:
        self._at_end = True
        if self._pacing is not None:
            self._pacing.input_ended()

    def requests(self) -> str:
        """The attempts of all runs, as the ledger keeps them."""
        total = self._earlier + self._requests()
        return orjson.dumps([total.sent, total.ok, total.retried, total.throttled]).decode()

    def price_sources(self) -> str:
        """Where the prices of all runs came from."""
        earlier = str(self._ledger.meta.get("price_sources", "")) if self._ledger is not None else ""
        sources = self._prices.sources if self._prices is not None else set()
        return ", ".join(sorted({source for source in earlier.split(", ") if source} | sources))

    def day(self) -> str:
        return datetime.fromtimestamp(self._clock.now(), UTC).date().isoformat()

    def snapshot(self) -> Snapshot:
        """How the run stands now; cheap."""
        ledger, tally = self._ledger, self._tally
        elapsed = self._clock.monotonic() - self._began
        flow = self._throttle.statistics() if self._throttle is not None else None
        budget = ledger.budget if ledger is not None else None
        return Snapshot(
            state="running",
            total=ledger.records_read if ledger is not None and self._at_end else None,
            fraction=self._fraction(),
            ok=ledger.ok if ledger is not None else 0,
            failed=ledger.failed if ledger is not None else 0,
            this_run_ok=tally.ok,
            this_run_failed=tally.failed,
            in_flight=flow.in_flight if flow is not None else 0,
            throttled=tally.throttled,
            elapsed=elapsed,
            tokens_per_minute=flow.tokens_per_minute if flow is not None else 0.0,
            tpm_limit=self._run.tpm,
            requests_per_minute=flow.requests_per_minute if flow is not None else 0.0,
            rpm_limit=self._run.rpm,
            spent_nusd=budget.spent if budget is not None else 0,
            unknown_nusd=budget.unknown if budget is not None else 0,
            reserved_nusd=budget.reserved if budget is not None else 0,
            cap_nusd=budget.cap if budget is not None else None,
            paused="paused by the endpoint" if flow is not None and flow.paused else None,
        )

    def summary(self) -> Summary:
        """How the run stands now, as it is published."""
        return self._summary("running", None, None)

    async def tick(self, observers: Observer) -> None:
        """Write `status.json` each second and warn once of the soft budget, until cancelled."""
        while True:
            await self._clock.sleep(_PERIOD)
            if self._pacing is not None:
                self._pacing.look()
            if self._ledger is None:
                continue
            if self._ledger.budget.crossed_soft():
                observers.see(Notice("warning", "the soft budget is reached"))
                observers.see(SoftBudgetReached())
            content = self._json(self.summary())
            try:
                await asyncio.to_thread(replace_durably, self._places.status, content)
            except StorageFailed as error:
                observers.see(Notice("warning", error.message))

    async def end(self, stopped: JobStopped | None) -> Summary:
        """Sum up, write `run.json` and `status.json` where the state directory is ours, and the usage log."""
        failed = self._ledger.failed if self._ledger is not None else 0
        exit_code = stopped.exit_code if stopped is not None else (3 if failed else 0)
        summary = self._ended(stopped, exit_code)
        if self._locked and self._ledger is not None:
            self._log_usage(self._ledger)
            summary = self._ended(stopped, exit_code)
            content = self._json(summary)
            for path in (self._places.summary, self._places.status):
                try:
                    await asyncio.to_thread(replace_durably, path, content)
                except StorageFailed as error:
                    self._tally.see(Notice("warning", error.message))
        return summary

    async def amend(self, summary: Summary) -> Summary:
        """Add what was noticed since `end`; in files only where no later run has written them."""
        notices = self._notices()
        if notices == summary.notices:
            return summary
        amended = replace(summary, notices=notices)
        if self._locked and self._ledger is not None:
            await asyncio.to_thread(self._rewrite, self._json(summary), self._json(amended))
        return amended

    def _rewrite(self, before: bytes, after: bytes) -> None:
        for path in (self._places.summary, self._places.status):
            with contextlib.suppress(OSError, StorageFailed):
                if path.read_bytes() == before:
                    replace_durably(path, after)

    def _notices(self) -> tuple[str, ...]:
        return tuple(notice.message for notice in self._tally.notices)

    def _ended(self, stopped: JobStopped | None, exit_code: int) -> Summary:
        message = stopped.message if stopped is not None else None
        return replace(self._summary(_state(stopped), exit_code, message), stopped=stopped)

    def _summary(self, state: str, exit_code: int | None, message: str | None) -> Summary:
        whole = self._part(self._ledger, self._requests()) if self._ledger is not None else Part()
        return Summary(
            job=self._run.job,
            name=self._run.name,
            state=state,
            exit_code=exit_code,
            started_at=_stamp(self._started_at),
            ended_at=_stamp(self._clock.now()) if exit_code is not None else None,
            message=message,
            output=os.fspath(self._places.output),
            errors=os.fspath(self._places.errors),
            whole=whole,
            this_run=less(whole, self._before),
            seconds=self._clock.monotonic() - self._began,
            codes=self._codes(exit_code),
            notices=self._notices(),
            pace=self._pacing.as_dict() if self._pacing is not None and self._tally.sent else None,
        )

    def _codes(self, exit_code: int | None) -> dict[str, int]:
        if exit_code is None or self._ledger is None or not self._ledger.failed:
            return {}
        return dict(Counter(letter.code for letter in self._ledger.dead_letters()).most_common())

    def _requests(self) -> Requests:
        tally = self._tally
        return Requests(tally.sent, tally.answered, tally.retried, tally.throttled)

    def _part(self, ledger: Ledger, this_run: Requests) -> Part:
        total = ledger.records_read if self._at_end else None
        spends = ledger.spends
        budget = ledger.budget
        return Part(
            records=Records(total, ledger.ok, ledger.failed, None if total is None else total - ledger.done.total),
            requests=self._earlier + this_run,
            tokens=tokens_of(spends),
            money=Money(
                budget.spent,
                budget.unknown,
                budget.reserved,
                retried_nusd(spends),
                budget.cap,
                self.price_sources() or None,
            ),
        )

    def _fraction(self) -> float | None:
        """Settled records of all, which are estimated from the bytes of those that have been read."""
        ledger = self._ledger
        if ledger is None or not (self._at_end or (self._size and self._position)):
            return None
        read = 1.0 if self._at_end or not self._size else min(1.0, self._position / self._size)
        return min(1.0, ledger.done.total * read / max(1, ledger.records_read))

    def _log_usage(self, ledger: Ledger) -> None:
        rows = [self._usage_row(spend) for spend in ledger.spends]
        try:
            UsageLog(usage_log_path(self._environ)).sync(ledger.name, rows, now=self._clock.now())
        except UsageLogError as error:
            self._tally.see(Notice("warning", str(error)))

    def _usage_row(self, spend: Spend) -> UsageRow:
        run, usage, prices = self._run, spend.usage, self._prices
        at = datetime.fromisoformat(spend.day).replace(tzinfo=UTC)
        priced = spend.cost > 0 or (prices is not None and prices.knows(spend.model, at.timestamp()))
        return UsageRow(
            run_no=0,  # the ledger adds up all runs of its output
            day=spend.day,
            model=spend.model,
            endpoint=run.endpoint,
            job=run.job,
            name=run.name,
            kind=spend.kind,
            requests=spend.requests,
            input=usage.input,
            cached=usage.cached,
            cache_write=usage.cache_write,
            output=usage.output,
            reasoning=usage.reasoning,
            cost_nusd=spend.cost if priced else None,
            price_source=self.price_sources(),
            tags=(),
        )

    @staticmethod
    def _json(summary: Summary) -> bytes:
        return orjson.dumps(summary.as_dict(), option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)


def _state(stopped: JobStopped | None) -> str:
    if stopped is None:
        return "complete"
    if stopped.exit_code > 128:
        return "interrupted"
    return "failed" if stopped.exit_code in (1, 74) else "stopped"


def _stamp(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")
