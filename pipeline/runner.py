"""The composition root: config → concrete parts, and the order of the middleware, written once.

A run goes: lock → recover → compare the input → send → finish → summary. Whatever stops it, what came back is
committed and the same command goes on from there.
"""

from __future__ import annotations

import asyncio
import random
import signal
import time
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from pipeline.assembly import Parts, assemble, places_of
from pipeline.backends.base import Backend
from pipeline.backends.endpoint import Endpoint
from pipeline.backends.http import HttpBackend
from pipeline.claims import claim
from pipeline.clock import SystemClock
from pipeline.config import Loaded, fingerprint, shutdown_warning
from pipeline.core.backoff import RetryBudget, RetryPolicy
from pipeline.core.circuit import CircuitPolicy
from pipeline.core.deadline import drain_within
from pipeline.core.packing import Packer
from pipeline.core.parse import blank_lines, parse_line
from pipeline.earlier import CARRY_ON, Earlier
from pipeline.engine import Engine, Work
from pipeline.errors import BudgetReached, JobStopped, StateMismatch, UsageError
from pipeline.events import AttemptEnded, Notice, Observers, RunStarted, SoftBudgetReached
from pipeline.middleware.backpressure import Backpressure
from pipeline.middleware.circuit import Circuit
from pipeline.middleware.drain import Drain
from pipeline.middleware.exchanges import Exchanges
from pipeline.middleware.reservation import Reservation
from pipeline.middleware.retry import Retry
from pipeline.middleware.throttle import Throttle
from pipeline.middleware.trace import Trace
from pipeline.middleware.validation import Validation
from pipeline.naming import about, name_of
from pipeline.notifying import audience
from pipeline.observers.notify import Notifier
from pipeline.observers.pacing import Plan
from pipeline.observers.recorder import Recorder
from pipeline.observers.snapshot import Snapshot
from pipeline.observers.status import Status
from pipeline.observers.summary import Summary
from pipeline.observers.tally import Tally
from pipeline.observers.watchdog import Watchdog
from pipeline.same_input import Known, input_mark
from pipeline.sources import is_nothing_to_do, list_files, open_source, refuse_bad_lines, share_read, taking
from pipeline.storage.checkpoint import open_ledger, open_output
from pipeline.storage.commit import Journal
from pipeline.storage.deliveries import deliver_log, deliver_output
from pipeline.storage.delivery import Delivery
from pipeline.storage.filesystem import refuse_network
from pipeline.storage.finish import finish, set_aside, write_dead_letters
from pipeline.storage.ledger import Ledger
from pipeline.storage.lines import Page
from pipeline.storage.repair import repair
from pipeline.storage.shared_limits import SharedLimits
from pipeline.storage.source import Source
from pipeline.storage.state import Lock, Places, make_private
from pipeline.storage.takers import Follower, Taker
from pipeline.types import BadLine, Record
from pipeline.watching import Watch

_PROOF = 2.0
"""Seconds that the first request of a run goes alone: a wrong key costs one request, a slow server no time."""


class Interrupted(JobStopped):
    """A signal asked the run to stop. What came back is committed."""

    code = "interrupted"

    def __init__(self, number: int) -> None:
        name = signal.Signals(number).name
        super().__init__(f"stopped by {name}; what came back is committed, run again to go on")
        self.exit_code = 128 + number


class Run:
    """One execution of a config. Use it once.

    Args:
        loaded: The config with its origins.
        earlier: How what earlier runs left is treated.
        stdout: The descriptor that gets the results of an output named `-`; None leaves them in the state directory.
        follower: Takes the outcomes, where stdout gets none.

    Attributes:
        observers: See every event; add yours before `execute`.
    """

    def __init__(
        self,
        loaded: Loaded,
        earlier: Earlier = CARRY_ON,
        *,
        stdout: int | None = None,
        follower: Follower | None = None,
    ) -> None:
        self._loaded = loaded
        self._earlier = earlier
        self._stdout = stdout if loaded.config.output.path == "-" else None
        self._follower = follower
        self._clock = SystemClock()
        self._tally = Tally(self._clock.monotonic)
        self.observers = Observers([self._tally])
        self._status = Status(name_of(loaded), places_of(loaded), self._tally, self._clock, loaded.environ)
        self._notifier = Notifier(audience(loaded), self.observers, self._status.summary, self._clock.now)
        self.observers.add(self._notifier, RunStarted, SoftBudgetReached)
        self._watch = Watch(loaded, self._status, self.observers)
        self._engine: Engine | None = None
        self._delivery: Delivery | None = None
        self._stopped: JobStopped | None = None

    async def execute(self) -> Summary:
        """Run to the end, or to what stops it, and say how it went. JobStopped is in the summary, not raised."""
        self._status.begin()
        self._watch.begin()
        try:
            summary = await self._to_the_end()
        except Exception:
            await self._notifier.broke()
            raise
        await self._notifier.ended(summary, summary.stopped.code if summary.stopped is not None else None)
        return await self._status.amend(summary)

    async def _to_the_end(self) -> Summary:
        stopped: JobStopped | None = None
        with ExitStack() as stack:
            try:
                await self._run(stack)
            except JobStopped as error:
                stopped = error
            summary = await self._status.end(stopped)
            await self._watch.end(summary)
            return summary

    def interrupt(self, number: int) -> None:
        """Stop for a signal; see `stop`."""
        self.stop(Interrupted(number))

    def stop(self, reason: JobStopped) -> None:
        """Stop: the first time what is on the wire may come back, the second time it may not."""
        if self._stopped is None:
            self._stop(reason)
        else:
            self._notifier.abandon()
            if self._engine is not None:
                self._engine.abort()

    def _stop(self, reason: JobStopped) -> None:
        self._stopped = self._stopped or reason
        if self._engine is not None:
            self._engine.stop(reason)
        if self._delivery is not None:
            self._delivery.give_up(reason)

    async def _lock(self, path: Path) -> Lock:
        """Take a lock, waiting no longer than `lock_wait` and the deadline allow."""
        wait = self._loaded.config.lock_wait
        left = self._time_left()
        return await asyncio.to_thread(Lock.take, path, wait if left is None else min(wait, left), self._nap)

    def _time_left(self) -> float | None:
        """Seconds until the deadline; None where there is none."""
        deadline = self._loaded.config.deadline
        return None if deadline is None else max(0.0, deadline - self._status.elapsed)

    def _nap(self, seconds: float) -> None:
        """Wait for the lock, in a thread, unless a signal asks for the end."""
        time.sleep(seconds)
        if self._stopped is not None:
            raise self._stopped

    def snapshot(self) -> Snapshot:
        """How the run stands now."""
        return self._status.snapshot()

    def log_progress(self) -> None:
        """Write how the run stands to its log file, where it has one."""
        self._watch.log_progress()

    async def _run(self, stack: ExitStack) -> None:
        """Refuse what can be refused before anything is written, then hold the lock for the rest."""
        config = self._loaded.config
        places = places_of(self._loaded)
        async with taking(self._loaded, self._earlier, self._lock) as begin:
            try:
                source = await self._open(stack)
            except UsageError as error:
                if not is_nothing_to_do(error, config):
                    raise
                self.observers.see(Notice("info", f"nothing to do: {error.message}"))
                return
            parts = await asyncio.to_thread(assemble, self._loaded, self.observers)
            if config.strict:
                await refuse_bad_lines(source, parts.problem)
            begin()
            await self._run_alone(stack, source, parts, places)

    async def _run_alone(self, stack: ExitStack, source: Source, parts: Parts, places: Places) -> None:
        make_private(places.state)
        refuse_network(places.state)
        stack.callback((await self._lock(places.lock)).release)
        self._status.locked()
        self.observers.see(RunStarted())
        if self._earlier.fresh:
            set_aside(places, files=not self._loaded.config.input.since_last)
        elif self._earlier.repair:
            repaired = await asyncio.to_thread(repair, places, fingerprint(self._loaded))
            self.observers.see(Notice("warning", str(repaired)))
        ledger = open_ledger(places, fingerprint(self._loaded))
        stack.callback(ledger.close)
        ledger.budget.cap, ledger.budget.soft = parts.cap_nusd, parts.soft_nusd
        self._status.opened(ledger, parts.prices, capped=bool(parts.caps))
        if source.files is not None:
            source = await list_files(source, ledger, places, partial(self._open, stack))
        known = Known(source, ledger, places, self._loaded.config.limit)
        same_input = await known.is_unchanged(self.observers, accept=self._earlier.accept_changes)
        if ledger.meta["phase"] != "complete" or not same_input or self._earlier.retry is not None:
            await self._work(parts, source, ledger, places, stack)
        elif self._stdout is not None:
            self._delivered(deliver_output(ledger, places.output, self._stdout, self._stop), stack)
        elif self._follower is not None:
            self._follower.opened(places.output, ledger)
        if self._delivery is not None:
            await self._delivery.finish(_lines(ledger))

    def _delivered(self, delivery: Delivery, stack: ExitStack) -> None:
        self._delivery = delivery
        stack.callback(delivery.close)

    @property
    def _taker(self) -> Taker | None:
        """Who takes the results, if anybody does."""
        return self._delivery or self._follower

    async def _open(self, stack: ExitStack) -> Source:
        return stack.enter_context(await asyncio.to_thread(open_source, self._loaded, self._earlier))

    async def _work(self, parts: Parts, source: Source, ledger: Ledger, places: Places, stack: ExitStack) -> None:
        shutdown = shutdown_warning(self._loaded, datetime.now(UTC))
        if shutdown is not None:
            self.observers.see(Notice("warning", shutdown))
        _, log, recovered = open_output(ledger, places)
        stack.callback(log.close)
        if recovered.torn:
            self.observers.see(Notice("info", f"{recovered.torn} torn bytes were cut off and kept in {places.state}"))
        with ledger.transaction():
            ledger.set_meta(input=input_mark(source, self._loaded.config.limit))
            if self._earlier.retry is not None and not ledger.revive(self._earlier.retry) and ledger.failed:
                self.observers.see(Notice("warning", f"none of the {ledger.failed} dead letters is meant by --where"))
        recorder = Recorder(places.history, about(self._loaded, parts), ledger, self._tally, self._clock)
        self.observers.add(recorder, *Recorder.KINDS)
        ledger.commitments = await asyncio.to_thread(claim, self._loaded, parts.caps, ledger, places.lock)
        if self._stdout is not None:
            order = self._loaded.config.output.order
            self._delivered(deliver_log(ledger, places, order, self._stdout, self._stop), stack)
        elif self._follower is not None:
            self._follower.opened(log.path, ledger)
        journal = Journal(
            ledger,
            log,
            remark=lambda text: self.observers.see(Notice("warning", text)),
            committed=self._taker.committed if self._taker is not None else None,
        )
        journal.start()
        try:
            complete = await self._send(parts, source, ledger, journal, recorder)
        finally:
            await journal.close()
            if ledger.commitments is not None:
                ledger.commitments.close()
            if journal.failure is not None:
                raise journal.failure
            with ledger.transaction():
                ledger.set_meta(requests=self._status.requests(), price_sources=self._status.price_sources())
            write_dead_letters(ledger, places, source.files)
            await recorder.end()
        if not complete or ledger.done.total != ledger.records_read:
            raise StateMismatch(f"{ledger.records_read - ledger.done.total} records have no outcome: run again")
        await asyncio.to_thread(finish, ledger, log, places, self._loaded.config.output.order, _lines(ledger))

    async def _send(self, parts: Parts, source: Source, ledger: Ledger, journal: Journal, recorder: Recorder) -> bool:
        config = self._loaded.config
        done = ledger.done
        label = source.label if source.files is not None and config.input.id is None else None

        def parse(line: int, raw: bytes) -> Record | BadLine | None:
            return None if line in done else parse_line(line, raw, config.input.id, name=label and label(line))

        async with HttpBackend(parts.endpoint, parts.timeouts) as http:
            shared = self._shared_limits(parts.endpoint)
            backend, drain, throttle = self._backend(parts, http, journal, ledger, shared)
            plan = Plan(parts.limits.concurrency, parts.max_items, live=source.live)
            self._status.sending(throttle, journal, plan, self._delivery)
            work = Work(
                job=parts.job,
                pages=self._pages(source, ledger),
                parse=parse,
                packer=Packer(parts.max_items, parts.max_tokens),
                keep=config.output.keep,
                label=source.label,
                workers=2 * parts.limits.concurrency,
                live=source.live,
                require_bound=parts.require_bound,
                most_failures=parts.most_failures,
            )
            self._engine = engine = Engine(work, backend, drain, journal, self._clock, self.observers)
            watchdog = Watchdog(config.timeout, lambda: journal.in_flight)
            self.observers.add(watchdog, AttemptEnded)
            beside = [asyncio.create_task(self._status.tick(self.observers)), asyncio.create_task(watchdog.turn())]
            beside.append(asyncio.create_task(self._status.share(self.observers)))
            beside.append(asyncio.create_task(throttle.keep_in_step()))
            beside.append(asyncio.create_task(recorder.keep(self.observers)))
            patience, deadline = self._deadline(engine)
            if self._stopped is not None:
                engine.stop(self._stopped)
            try:
                return await engine.run(patience)
            finally:
                self._status.sent(self.observers)
                for task in beside:
                    task.cancel()
                shared.close()
                if deadline is not None:
                    deadline.cancel()

    def _backend(
        self, parts: Parts, http: HttpBackend, journal: Journal, ledger: Ledger, shared: SharedLimits
    ) -> tuple[Backend, Drain, Throttle]:
        """The way of a request, from the wire up."""
        clock, observers, config = self._clock, self.observers, self._loaded.config
        backend: Backend = Validation(http, parts.job, observers, parts.endpoint.redact)
        backend = Trace(backend, clock, observers)
        if self._watch.exchanges:
            backend = Exchanges(backend, clock, self._watch.exchanges)
        budget, commitments = ledger.budget, ledger.commitments

        def is_scarce(amount: int) -> bool:
            left = (budget.remaining, commitments.left if commitments is not None else None)
            return any(each is not None and each < amount * parts.limits.concurrency for each in left)

        backend = Reservation(
            backend,
            journal,
            parts.prices,
            clock,
            allow_rebill=self._earlier.allow_rebill,
            shrink=parts.exact_bound,
            scarce=is_scarce,
        )
        drain = Drain(backend)
        throttle = Throttle(drain, parts.limits, clock, observers, lanes=shared)
        circuit = Circuit(throttle, CircuitPolicy(max_outage=config.retry.max_outage, proof=_PROOF), clock, observers)
        policy = RetryPolicy(config.retry.attempts, config.retry.base, config.retry.cap, config.retry.max_wait)
        backend = Retry(circuit, policy, RetryBudget(), clock, random.random)
        if self._taker is not None:
            backend = Backpressure(backend, self._taker.room)
        return backend, drain, throttle

    def _shared_limits(self, endpoint: Endpoint) -> SharedLimits:
        key = endpoint.api_key.reveal() if endpoint.api_key is not None else None
        account = (endpoint.base_url, key, endpoint.organization, endpoint.project)
        return SharedLimits(self._loaded.environ, account, lambda text: self.observers.see(Notice("warning", text)))

    def _pages(self, source: Source, ledger: Ledger) -> Callable[[], AsyncIterator[Page]]:
        known = [ledger.chunks[number] for number in sorted(ledger.chunks)]

        async def pages() -> AsyncIterator[Page]:
            async for page in source.pages(known, ledger.complete_chunk):
                if self._follower is not None:
                    await self._follower.room.wait()
                self._status.read(share_read(page, source.line_bytes, self._loaded.config.limit))
                if self._delivery is not None and page.chunk.blank:
                    self._delivery.pass_over(blank_lines(page.lines, page.first_line))
                yield page
            self._status.read_to_end()

        return pages

    def _deadline(self, engine: Engine) -> tuple[float, asyncio.TimerHandle | None]:
        """Stop early enough for what is then in flight to come back by the deadline; return how long it may take."""
        left, drain = self._time_left(), self._loaded.config.drain
        if left is None:
            return drain, None
        drain = drain_within(left, drain)
        error = BudgetReached("the deadline has come; run again to go on", code="deadline")
        return drain, asyncio.get_running_loop().call_later(left - drain, engine.stop, error)


async def run(loaded: Loaded, earlier: Earlier = CARRY_ON) -> Summary:
    """Run a config to its end, or to what stops it. Arguments as `Run`; JobStopped is in the summary, not raised."""
    return await Run(loaded, earlier).execute()


def _lines(ledger: Ledger) -> int:
    """How many lines of the input have been read."""
    return sum(chunk.lines for chunk in ledger.chunks.values())
