"""How the run stands: `status.json` each second, the usage log every few, `run.json` at the end, and snapshots."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import orjson

from pipeline.clock import Clock
from pipeline.core.projection import projected
from pipeline.errors import JobStopped, StorageFailed
from pipeline.events import Notice, Observer, SoftBudgetReached
from pipeline.observers.pacing import Pacing, Plan
from pipeline.observers.progress import Pace, seconds_left, share
from pipeline.observers.snapshot import Snapshot
from pipeline.observers.spending import RUNNING, RunName, Spending, Standing
from pipeline.observers.summary import Money, Now, Part, Records, Requests, Summary, less, retried_nusd, tokens_of
from pipeline.observers.tally import Tally
from pipeline.storage.ledger import SOFT_WARNED, Ledger
from pipeline.storage.state import Places, replace_durably
from pipeline.storage.usage import UsageLogError

if TYPE_CHECKING:
    from pipeline.core.request_prices import RequestPrices
    from pipeline.middleware.throttle import Throttle
    from pipeline.storage.commit import Journal
    from pipeline.storage.delivery import Delivery

_PERIOD = 1.0
_BETWEEN_SYNCS = 5.0
"""Seconds after which the usage log is told again."""


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
        self._spending: Spending | None = None
        self._throttle: Throttle | None = None
        self._pacing: Pacing | None = None
        self._pace = Pace()
        self._journal: Journal | None = None
        self._before = Part()
        self._earlier = Requests()
        self._began = self._started_at = 0.0
        self._read: float | None = None
        self._at_end = self._locked = self._is_log_broken = False

    def begin(self) -> None:
        self._began, self._started_at = self._clock.monotonic(), self._clock.now()

    @property
    def elapsed(self) -> float:
        """Seconds since the run began."""
        return self._clock.monotonic() - self._began

    def locked(self) -> None:
        """The state directory is ours: it may be written to."""
        self._locked = True

    @property
    def holds_lock(self) -> bool:
        return self._locked

    def opened(self, ledger: Ledger, prices: RequestPrices, *, capped: bool = False) -> None:
        """The ledger is open; `capped` says whether the run has a monthly cap to keep."""
        self._ledger, self._prices = ledger, prices
        self._spending = Spending(self._run, self._places, ledger, prices, self._environ, capped=capped)
        self._at_end = ledger.meta["phase"] == "complete"
        self._earlier = _earlier_requests(ledger)
        self._before = self._part(ledger, Requests())

    def sending(self, throttle: Throttle, writer: Journal, plan: Plan, delivery: Delivery | None) -> None:
        self._throttle, self._journal = throttle, writer
        behind = delivery.held_back if delivery is not None else _never
        self._pacing = Pacing(plan, self._tally, throttle, writer, self._clock, behind=behind)

    def sent(self, observers: Observer) -> None:
        """Nothing is sent any more."""
        if self._ledger is not None:
            self._look_at_budget(self._ledger, observers)
        if self._pacing is not None:
            self._pacing.stop()

    def read(self, share: float | None) -> None:
        """A share of the input has been read, from 0 to 1; None where nobody knows how much there is."""
        self._read, self._at_end = share, False

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

    def snapshot(self) -> Snapshot:
        """How the run stands now; cheap."""
        ledger, tally = self._ledger, self._tally
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
            elapsed=self.elapsed,
            tokens_per_minute=flow.tokens_per_minute if flow is not None else 0.0,
            tpm_limit=self._run.tpm,
            requests_per_minute=flow.requests_per_minute if flow is not None else 0.0,
            rpm_limit=self._run.rpm,
            spent_nusd=budget.spent if budget is not None else 0,
            unknown_nusd=budget.unknown if budget is not None else 0,
            reserved_nusd=budget.reserved if budget is not None else 0,
            cap_nusd=budget.cap if budget is not None else None,
            paused="paused by the endpoint" if flow is not None and flow.paused else None,
            projected_nusd=self._projected(),
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
            self._look_at_budget(self._ledger, observers)
            content = self._json(replace(self.summary(), now=self._now()))
            try:
                await asyncio.to_thread(replace_durably, self._places.status, content)
            except StorageFailed as error:
                observers.see(Notice("warning", error.message))

    def _look_at_budget(self, ledger: Ledger, observers: Observer) -> None:
        """Warn of the soft budget once, and let later runs of the output know."""
        budget = ledger.budget
        if self._journal is None or not budget.crossed_soft():
            return
        spent, soft = budget.spent + budget.unknown, budget.warned
        self._journal.remember(SOFT_WARNED, soft)
        observers.see(SoftBudgetReached(spent, soft))
        observers.see(Notice("warning", f"the soft budget is reached: ${spent / 1e9:.6f} of ${soft / 1e9:.6f}"))

    async def share(self, observers: Observer) -> None:
        """Tell the usage log how the run stands, after a second and then every few, until cancelled."""
        await self._clock.sleep(_PERIOD)
        while True:
            await self._tell(RUNNING, None, observers)
            await self._clock.sleep(_BETWEEN_SYNCS)

    async def _tell(self, state: str, exit_code: int | None, observers: Observer) -> None:
        ledger, spending = self._ledger, self._spending
        if ledger is None or spending is None:
            return
        total = ledger.records_read if self._at_end else None
        standing = Standing(state, exit_code, total, self._tally.ok, self._tally.failed, self.price_sources())
        try:
            await asyncio.to_thread(spending.tell, self._started_at, self._clock.now(), standing)
        except UsageLogError as error:
            if not self._is_log_broken:
                observers.see(Notice("warning", str(error)))
            self._is_log_broken = True

    async def end(self, stopped: JobStopped | None) -> Summary:
        """Sum up, write `run.json` and `status.json` where the state directory is ours, and the usage log."""
        failed = self._ledger.failed if self._ledger is not None else 0
        exit_code = stopped.exit_code if stopped is not None else (3 if failed else 0)
        summary = self._ended(stopped, exit_code)
        if self._locked and self._ledger is not None:
            await self._tell(summary.state, exit_code, self._tally)
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
            seconds=self.elapsed,
            codes=self._codes(exit_code),
            notices=self._notices(),
            pace=self._pacing.as_dict() if self._pacing is not None and self._tally.sent else None,
        )

    def _now(self) -> Now:
        seen = self.snapshot()
        per_second = self._pace.see(seen)
        left = seconds_left(seen, per_second)
        done = share(seen)
        return Now(
            fraction=None if done is None else round(done, 6),
            records_per_second=round(per_second, 3),
            seconds_left=None if left is None else round(left, 1),
            in_flight=seen.in_flight,
            requests_per_minute=round(max(0.0, seen.requests_per_minute), 1),
            rpm=seen.rpm_limit,
            tokens_per_minute=round(max(0.0, seen.tokens_per_minute), 1),
            tpm=seen.tpm_limit,
            paused=seen.paused,
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
                self._projected(),
            ),
        )

    def _projected(self) -> int | None:
        """What all will have cost in the end; nobody knows where a price is unknown."""
        ledger = self._ledger
        if ledger is None or "unknown" in self.price_sources().split(", "):
            return None
        return projected(ledger.budget.spent, ledger.budget.unknown, ledger.done.total, self._fraction())

    def _fraction(self) -> float | None:
        """Settled records of all, which are estimated from the share of the input that has been read."""
        ledger, read = self._ledger, 1.0 if self._at_end else self._read
        if ledger is None or not read:
            return None
        return min(1.0, ledger.done.total * read / max(1, ledger.records_read))

    @staticmethod
    def _json(summary: Summary) -> bytes:
        return orjson.dumps(summary.as_dict(), option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)


def _never() -> float:
    """Nobody reads the results as they come."""
    return 0.0


def _state(stopped: JobStopped | None) -> str:
    if stopped is None:
        return "complete"
    if stopped.exit_code > 128:
        return "interrupted"
    return "failed" if stopped.exit_code in (1, 74) else "stopped"


def _stamp(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")


def _earlier_requests(ledger: Ledger) -> Requests:
    """The attempts of earlier runs: as each counted them at its end, and those of killed runs that were answered."""
    counted = Requests(*orjson.loads(str(ledger.meta.get("requests", "[]"))))
    answered = sum(spend.requests for spend in ledger.spends if spend.kind != "unknown")
    uncounted = max(0, answered - counted.ok)
    return counted + Requests(sent=uncounted, ok=uncounted)
