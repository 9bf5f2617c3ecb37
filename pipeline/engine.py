"""The loop: read, render, pack, send, settle.

One reader fills a short backlog with batches; workers each take one, send it and settle it. A worker that waits for a
backoff holds no concurrency slot (the throttle has those), so there are about twice as many workers as slots. Nothing
is created per record: memory is bounded by the backlog, the workers and one page of the input.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import orjson

from pipeline.backends.base import Backend
from pipeline.backlog import Backlog, Batch
from pipeline.clock import Clock
from pipeline.core.apportion import apportion, apportion_usage
from pipeline.core.identity import attempt_number
from pipeline.core.lines import batch_line, templated_line
from pipeline.core.packing import Packer, halve
from pipeline.core.tokens import Calibration
from pipeline.errors import BudgetReached, JobStopped, Malformed, NeedsPerson, PipelineError, Rejected
from pipeline.events import Notice, Observer, RecordFailed, RecordsSettled
from pipeline.job import Job, is_batch_line
from pipeline.storage.commit import Journal
from pipeline.storage.entries import Settle
from pipeline.storage.lines import Page
from pipeline.types import BadLine, DeadLetter, Item, Json, Record, Request, Response, Result, Usage

UNBOUNDED_OUTPUT = 131_072
"""Output tokens that a request without a limit of its own may bring: the most that current models write."""
UNBOUNDED_CHARGE = 512
"""Output tokens that such a request takes from the limit of tokens: they are settled when its usage is known."""
_MOST_BUGS = 10
_NULL_CONTENT = "null_content"


class Wire(Protocol):
    """What the engine needs to know of requests on the wire."""

    on_wire: set[asyncio.Task[object]]

    def close(self) -> None:
        """Let nothing new out."""


@dataclass(frozen=True, slots=True)
class Work:
    """What is to be done: the parts of one run."""

    job: Job
    pages: Callable[[], AsyncIterator[Page]]
    parse: Callable[[int, bytes], Record | BadLine | None]
    """(line number, raw line) → record, bad line, or None for a blank line or one that is settled already."""
    packer: Packer
    keep: Sequence[str]
    workers: int
    label: Callable[[int], str] = str
    """Line number → what names the line, for a record that has no name of its own."""
    live: bool = False
    """The input may pause (a pipe): do not hold records back to fill a batch."""
    require_bound: Callable[[Item], Item] = lambda item: item
    """Returns an item whose output nothing bounds, or refuses it where a budget must be kept."""
    most_failures: Callable[[int], int | None] = lambda _: None
    """Records read so far → the most dead letters, or None."""


class Engine:
    """Runs one job to its end, or to the error that stops it."""

    def __init__(
        self, work: Work, backend: Backend, wire: Wire, journal: Journal, clock: Clock, observers: Observer
    ) -> None:
        self._work = work
        self._job = work.job
        self._backend = backend
        self._wire = wire
        self._journal = journal
        self._clock = clock
        self._observers = observers
        self._calibration = Calibration()
        self._backlog = Backlog(max(2, work.workers // 4))
        self._stopping = asyncio.Event()
        self._reason: JobStopped | None = None
        self._workers: list[asyncio.Task[None]] = []
        self._read_to_end = False
        self._records = self._bugs = 0
        self._failed: Counter[str] = Counter()
        self._examples: dict[str, int] = {}

    async def run(self, drain: float) -> bool:
        """Run until every record is settled or the job stops.

        Args:
            drain: Seconds that requests on the wire get to come back once the job stops.

        Returns:
            Whether the input was read to its end and every record is settled.

        Raises:
            JobStopped: Why it stopped before. What came back has been committed.
        """
        reader = asyncio.create_task(self._read(), name="reader")
        workers = [asyncio.create_task(self._work_on(), name=f"worker-{n}") for n in range(self._work.workers)]
        self._workers = workers
        everything = asyncio.gather(reader, *workers)
        stopping = asyncio.create_task(self._stopping.wait())
        try:
            waited: list[asyncio.Future[Any]] = [everything, stopping]
            await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED)
            if self._stopping.is_set():
                await self._drain(reader, workers, drain)
            else:
                everything.result()
        finally:
            await _end([stopping, reader, *workers])
            await asyncio.gather(everything, return_exceptions=True)
        if self._reason is not None:
            raise self._reason
        return self._read_to_end

    def stop(self, reason: JobStopped) -> None:
        """Stop admitting; the first reason is the one that is kept."""
        if self._reason is None:
            self._reason = reason
        self._wire.close()
        self._journal.refuse_waiting()
        self._stopping.set()

    def abort(self) -> None:
        """Do not wait for what is on the wire any longer."""
        for worker in self._workers:
            worker.cancel()

    async def _drain(self, reader: asyncio.Task[None], workers: Sequence[asyncio.Task[None]], seconds: float) -> None:
        """Let what is on the wire come back; end everything else now."""
        await _end([reader])
        on_wire = self._wire.on_wire
        settling = [task for task in workers if task in on_wire]
        await _end([task for task in workers if task not in on_wire])
        if settling and self._journal.failure is None:
            await asyncio.wait(settling, timeout=seconds)

    async def _read(self) -> None:
        try:
            async for page in self._work.pages():
                await self._take(page)
            await self._queue(self._work.packer.flush())
            self._read_to_end = True
        except JobStopped as error:
            # What was read before is good and is finished first.
            self._reason = self._reason or error
        except PipelineError as error:
            self.stop(NeedsPerson(error.message, code=error.code))
        self._backlog.close()

    async def _take(self, page: Page) -> None:
        self._journal.read((page.chunk,))
        dead: list[DeadLetter] = []
        for line, raw in enumerate(page.lines, page.first_line):
            record = self._work.parse(line, raw)
            if record is None:
                continue
            self._records += 1
            item = self._bad(record) if isinstance(record, BadLine) else self._render(record)
            if isinstance(item, DeadLetter):
                dead.append(item)
                continue
            if finished := self._work.packer.add(item):
                await self._queue(finished)
        if dead:
            await self._journal.bury(dead)
            self._settled(0, dead)
        if self._work.live and self._backlog.is_empty:
            await self._queue(self._work.packer.flush())

    async def _queue(self, batches: Sequence[tuple[Item, ...]]) -> None:
        for items in batches:
            if self._backlog.is_full:
                await self._backlog.room()
            self._backlog.add(Batch(items))

    def _render(self, record: Record) -> Item | DeadLetter:
        try:
            item = self._job.render(record)
            return item if item.output_tokens is not None else self._work.require_bound(item)
        except JobStopped:
            raise
        except PipelineError as error:
            return self._buried(record, error)
        except Exception as error:  # noqa: BLE001 - the boundary of a record: a bug in a job costs the record, not the run
            return self._buried(record, self._bug(error))

    async def _work_on(self) -> None:
        while not self._stopping.is_set():
            batch = self._backlog.take() or await self._backlog.get()
            if batch is None:
                return
            try:
                await self._process(batch)
            except JobStopped as error:
                self.stop(error)
                return
            except PipelineError as error:
                await self._give_up(batch, error)
            except Exception as error:  # noqa: BLE001 - the boundary of a worker: recorded as a dead letter
                await self._give_up(batch, self._bug(error))
            finally:
                self._backlog.done()

    async def _process(self, batch: Batch) -> None:
        request = self._request(batch)
        try:
            response = await self._backend.send(request)
        except (Rejected, Malformed, BudgetReached) as error:
            if len(batch.items) == 1 or (isinstance(error, Rejected) and not error.halve):
                raise
            self._return(batch, error)
        else:
            settlement = self._settlement(request, response, again=batch.attempts == 0)
            del response  # its vectors or texts are in the result lines now, and would double what waits for the disk
            await self._journal.settle(settlement)
            self._settled(len(settlement.results), settlement.dead)

    def _return(self, batch: Batch, error: PipelineError) -> None:
        """Take a batch back in smaller pieces: one by one where its answers were mixed up, else in halves."""
        items = batch.items
        pieces = [(item,) for item in items] if isinstance(error, Malformed) else [tuple(half) for half in halve(items)]
        # To the front: where nothing fits into the budget, a single record must find out before all batches are halved.
        self._backlog.give_back([Batch(piece, error.attempts, error.first_at) for piece in pieces])

    def _request(self, batch: Batch) -> Request:
        items = batch.items
        body = self._job.body(items)
        content = orjson.dumps(body)
        outputs = [item.output_tokens for item in items]
        unbounded = None in outputs
        output = UNBOUNDED_OUTPUT if unbounded else sum([most for most in outputs if most])
        estimate = sum([item.input_tokens for item in items])
        tier = body.get("service_tier")
        return Request(
            path=self._job.path,
            body=content,
            items=items,
            model=str(body["model"]),
            tokens=self._calibration.charge(estimate, UNBOUNDED_CHARGE if unbounded else output),
            input_bound=max(len(content), estimate),
            output_bound=output,
            service_tier=tier if isinstance(tier, str) else None,
            attempts=batch.attempts,
            first_at=batch.first_at,
        )

    def _settlement(self, request: Request, response: Response, *, again: bool) -> Settle:
        """What is to be recorded. An answer without content is asked for once more, if `again`."""
        if not response.usage.estimated:
            self._calibration.observe(sum([item.input_tokens for item in request.items]), response.usage.input)
        weights = [item.input_tokens + 1 for item in request.items]
        costs = apportion(response.cost_nusd, weights)
        usages = apportion_usage(response.usage, weights)
        results: list[Result] = []
        dead: list[DeadLetter] = []
        for item, answer, cost, usage in zip(request.items, response.answers, costs, usages, strict=True):
            if again and isinstance(answer, Rejected) and answer.code == _NULL_CONTENT:
                self._backlog.give_back([Batch((item,), 1, self._clock.now())])
                continue
            if isinstance(answer, Exception):
                dead.append(self._refused(item.record, answer, request))
                continue
            try:
                content = self._line(response, item.record, answer, usage, cost)
            except Exception as error:  # noqa: BLE001 - a bug in a job costs the record; what was paid is booked
                dead.append(self._refused(item.record, error, request))
                continue
            results.append(Result(item.record.line, content))
        attempt = attempt_number(response.attempt)
        return Settle(attempt, response.cost_nusd, response.usage, response.model, results, dead)

    def _line(self, response: Response, record: Record, answer: Mapping[str, Json], usage: Usage, cost: int) -> bytes:
        identity = f"{response.attempt}-{record.line}-{cost}"
        if is_batch_line(record.data):
            request_id = response.headers.get("x-request-id")
            return batch_line(identity, record, answer, response.model, usage, request_id)
        fields = self._job.fields(answer)
        return templated_line(identity, record, self._work.keep, fields, response.model, usage, cost)

    def _refused(self, record: Record, error: Exception, request: Request) -> DeadLetter:
        """A record that was answered, and paid for, with something that is no result."""
        refusal = error if isinstance(error, PipelineError) else self._bug(error)
        refusal.attempts = request.attempts + 1
        return self._buried(record, refusal)

    async def _give_up(self, batch: Batch, error: PipelineError) -> None:
        dead = [self._buried(item.record, error) for item in batch.items]
        await self._journal.bury(dead)
        self._settled(0, dead)

    def _settled(self, ok: int, dead: Sequence[DeadLetter]) -> None:
        for letter in dead:
            self._observers.see(RecordFailed(letter.line, letter.custom_id, letter.code))
            self._failed[letter.code] += 1
            self._examples.setdefault(letter.code, letter.line)
        self._observers.see(RecordsSettled(ok, len(dead)))
        most = self._work.most_failures(self._records) if dead else None
        if most is not None and self._failed.total() > most:
            self.stop(self._too_many_failures(most))

    def _too_many_failures(self, most: int) -> NeedsPerson:
        code, count = self._failed.most_common(1)[0]
        example = self._work.label(self._examples[code])
        return NeedsPerson(
            f"more than {most} records failed (--max-failures): {count} of {self._failed.total()} with {code}, "
            f"the first of them in line {example} of the input; mend it, then `retry` sends them again",
            code="too_many_failures",
        )

    def _buried(self, record: Record, error: PipelineError) -> DeadLetter:
        return DeadLetter(
            line=record.line,
            custom_id=record.custom_id,
            code=error.code,
            message=error.message,
            attempts=error.attempts,
            first_at=error.first_at,
            last_at=self._clock.now(),
            record=orjson.dumps(record.data),
        )

    def _bad(self, bad: BadLine) -> DeadLetter:
        return DeadLetter(bad.line, self._work.label(bad.line), bad.code, bad.message, 0, None, None, bad.raw)

    def _bug(self, error: Exception) -> PipelineError:
        """Count a bug; the message names the class and the place, never the values, which may hold prompts."""
        self._bugs += 1
        frame = error.__traceback__
        while frame is not None and frame.tb_next is not None:
            frame = frame.tb_next
        place = "" if frame is None else f" at {frame.tb_frame.f_code.co_filename}:{frame.tb_lineno}"
        message = f"a bug: {type(error).__name__}{place}"
        if self._bugs >= _MOST_BUGS:
            self.stop(JobStopped(f"{self._bugs} records failed because of a bug, the last: {message}", code="bug"))
        elif self._bugs == 1:
            self._observers.see(Notice("error", message))
        return Rejected(message, code="bug")


async def _end(tasks: Sequence[asyncio.Task[None] | asyncio.Task[bool]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
