"""The group commit: one writer thread owns ledger and output, and makes whatever has gathered durable at once."""

from __future__ import annotations

import asyncio
import queue
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future as ThreadFuture
from typing import NamedTuple

from pipeline.core.identity import attempt_name, attempt_number
from pipeline.errors import BudgetReached, PipelineError, StorageFailed
from pipeline.storage.commitments import Commitments
from pipeline.storage.entries import Bury, Entry, Read, Release, Remember, Reserve, Settle
from pipeline.storage.ledger import Ledger
from pipeline.storage.lines import Chunk
from pipeline.storage.results import OutputLog
from pipeline.types import DeadLetter, Json

LINGER, LONGER = 0.004, 0.010
"""Seconds that the first entry of a group waits for company; longer where the last group was a large one: then many
are in flight, and fewer and larger groups cost less CPU and disk."""
_LARGE, _MOST = 64, 1024
"""Entries of a large group, and of the largest."""
_ASK_AGAIN = 0.25
"""Seconds after which is looked whether other runs have given back some of what a monthly cap leaves."""
_IDLE = 1.0
"""Seconds without work after which this run gives back what it has claimed ahead."""


Committed = Callable[[int, Sequence[DeadLetter]], None]
"""Hears, in the writer's thread, how many bytes of the output are durable and which records ended without a result."""


class _Waiting(NamedTuple):
    entry: Entry | Reserve
    future: asyncio.Future[None]


class Journal:
    """The asyncio side of the writer thread. Every method belongs to the event loop's thread.

    Args:
        ledger: Where everything is recorded, with the caps that hold.
        log: The output.
        linger: Seconds that the first entry of a group waits for company.
        remark: Told once what intents wait for, where it is other runs.

    What a coroutine awaited here is durable. After the disk refused once, everything raises StorageFailed: a failed
    fsync is never tried again, since the kernel may have dropped the pages it could not write.
    """

    def __init__(
        self,
        ledger: Ledger,
        log: OutputLog,
        linger: float = LINGER,
        remark: Callable[[str], None] = lambda _: None,
        committed: Committed | None = None,
    ) -> None:
        self._writer = _Writer(ledger, log, linger, asyncio.get_running_loop(), remark, committed)
        self._name = ledger.name
        self._next_attempt = ledger.next_attempt
        self.ambiguous = dict(ledger.ambiguous)
        """How often each record was sent with an unknown outcome because of the network."""
        self._inflight: dict[int, tuple[int, ...]] = {}

    def start(self) -> None:
        self._writer.start()

    async def reserve(self, lines: tuple[int, ...], amount: int, model: str) -> str:
        """Make the intent to send `lines` durable and set `amount` nano-USD aside. Returns the attempt's name.

        Waits where the amount only fits once other attempts are settled.

        Raises:
            BudgetReached: It does not fit and nothing is in flight that could make room.
            StorageFailed: The disk refused.
        """
        number = self._next_attempt
        self._next_attempt += 1
        await self._writer.submit(Reserve(number, lines, amount, model, time.time()))
        self._inflight[number] = lines
        return attempt_name(self._name, number)

    async def settle(self, answered: Settle) -> None:
        """Record an answered attempt: its cost in nano-USD and the outcome of its records, durable on return."""
        del self._inflight[answered.attempt]
        await self._writer.submit(answered)

    def release(self, attempt: str, *, billed: bool, ambiguous: bool) -> None:
        """Record an attempt without an answer; one that may have been billed becomes unknown spend."""
        self._release(attempt_number(attempt), billed=billed, ambiguous=ambiguous)

    def _release(self, number: int, *, billed: bool, ambiguous: bool) -> None:
        lines = self._inflight.pop(number)
        if billed:
            for line in lines:
                self.ambiguous[line] = self.ambiguous.get(line, 0) + ambiguous
        self._writer.submit(Release(number, billed, ambiguous)).add_done_callback(_retrieve)

    async def bury(self, dead: Sequence[DeadLetter]) -> None:
        """Record dead letters that need no attempt, durable on return."""
        await self._writer.submit(Bury(dead))

    def read(self, chunks: Sequence[Chunk]) -> None:
        """Record how far the input was read; durable no later than any outcome of these records."""
        self._writer.submit(Read(chunks)).add_done_callback(_retrieve)

    def remember(self, key: str, value: Json) -> None:
        """Keep a value in the ledger's meta for later runs; durable soon."""
        self._writer.submit(Remember(key, value)).add_done_callback(_retrieve)

    @property
    def in_flight(self) -> int:
        """How many attempts have been admitted and are not over; those that wait for room are not among them."""
        return len(self._inflight)

    def refuse_waiting(self) -> None:
        """Refuse intents that wait for room, now and from now on: the job is stopping."""
        self._writer.is_stopping = True

    @property
    def failure(self) -> PipelineError | None:
        """Why nothing can be recorded any more, if so."""
        return self._writer.failure

    @property
    def disk_seconds(self) -> float:
        """Seconds that the writer has needed so far to make things durable."""
        return self._writer.disk_seconds

    async def close(self) -> None:
        """Record what is still in flight as unknown spend, commit everything and end the thread."""
        for number in list(self._inflight):
            self._release(number, billed=True, ambiguous=False)
        await asyncio.wrap_future(self._writer.stop())


def _retrieve(future: asyncio.Future[None]) -> None:
    if not future.cancelled():
        future.exception()


class _Writer:
    """The thread. `submit` and `stop` belong to the event loop, the rest to the thread."""

    def __init__(
        self,
        ledger: Ledger,
        log: OutputLog,
        linger: float,
        loop: asyncio.AbstractEventLoop,
        remark: Callable[[str], None],
        committed: Committed | None,
    ) -> None:
        self._ledger, self._log, self._linger, self._loop, self._remark = ledger, log, linger, loop, remark
        self._committed = committed
        self._queue: queue.SimpleQueue[_Waiting | None] = queue.SimpleQueue()
        self._unfit: list[_Waiting] = []
        self._stopped: ThreadFuture[None] = ThreadFuture()
        self._large = False
        self._thread = threading.Thread(target=self._run, name="ledger", daemon=True)
        self.failure: PipelineError | None = None
        self.disk_seconds = 0.0
        self.is_stopping = False
        self._has_remarked = False

    def start(self) -> None:
        self._thread.start()

    def submit(self, entry: Entry | Reserve) -> asyncio.Future[None]:
        future = self._loop.create_future()
        if self.failure is not None:
            future.set_exception(self.failure)
        else:
            self._queue.put(_Waiting(entry, future))
        return future

    def stop(self) -> ThreadFuture[None]:
        self._queue.put(None)
        return self._stopped

    def _run(self) -> None:
        group: list[_Waiting] = []
        try:
            going = True
            while going:
                group, going = self._gather()
                self._commit(group)
                group = []  # its results are on disk: they must not stay until the next group is there
            if self._ledger.commitments is not None:
                self._ledger.commitments.rest(self._ledger.needs(), keep=False)
        except BaseException as error:  # noqa: BLE001 - the thread's boundary: recorded, and the job is stopped by it
            self._fail(error, group)
        self._stopped.set_result(None)

    def _gather(self) -> tuple[list[_Waiting], bool]:
        try:
            first = self._queue.get(timeout=self._patience())
        except queue.Empty:
            return [], True
        if first is None:
            return [], False
        group = [first]
        if self._linger:
            time.sleep(LONGER if self._large else self._linger)
        while len(group) < _MOST:
            try:
                waiting = self._queue.get_nowait()
            except queue.Empty:
                break
            if waiting is None:
                return group, False
            group.append(waiting)
        self._large = len(group) >= _LARGE
        return group, True

    def _patience(self) -> float | None:
        """How long to wait for work; for ever, unless other runs are affected by it."""
        commitments = self._ledger.commitments
        if commitments is None:
            return None
        if self._unfit:
            return _ASK_AGAIN
        return None if commitments.is_idle else _IDLE

    def _commit(self, group: list[_Waiting]) -> None:
        ended, intents = [], self._retried()
        entries: list[Entry] = []
        for waiting in group:
            if isinstance(waiting.entry, Reserve):
                intents.append(waiting)
            else:
                ended.append(waiting)
                entries.append(waiting.entry)
        if ended or intents:
            self._write(entries, ended, intents)
        while self._unfit and not self._ledger.inflight and (error := self._refusal(self._unfit[0])) is not None:
            self._wake([self._unfit.pop(0)], error)
            self._write([], [], self._unfit)
        if self._ledger.commitments is not None:
            self._rest(self._ledger.commitments, keep=bool(group) and not self._unfit)

    def _retried(self) -> list[_Waiting]:
        """The intents that did not fit, as of now; none where the job is stopping."""
        if not self._unfit:
            return []
        if self.is_stopping:
            self._wake(self._unfit, BudgetReached("the job is stopping while requests wait for room in the budget"))
            self._unfit = []
        now = time.time()
        return [
            waiting._replace(entry=waiting.entry._replace(at=now))
            for waiting in self._unfit
            if isinstance(waiting.entry, Reserve)
        ]

    def _write(self, entries: list[Entry], ended: list[_Waiting], intents: list[_Waiting]) -> None:
        wanted = [waiting.entry for waiting in intents if isinstance(waiting.entry, Reserve)]
        began = time.perf_counter()
        admitted = self._ledger.commit(entries, wanted, self._log)
        self.disk_seconds += time.perf_counter() - began
        if self._committed is not None:
            self._committed(self._ledger.out_off, _dead(entries))
        self._unfit = intents[admitted:]
        self._wake(ended + intents[:admitted], None)

    def _refusal(self, waiting: _Waiting) -> PipelineError | None:
        """Why an intent never fits, nothing being in flight here that could make room; those behind it may."""
        return self._ledger.refusal(waiting.entry) if isinstance(waiting.entry, Reserve) else None

    def _rest(self, commitments: Commitments, *, keep: bool) -> None:
        """Let other runs have what this one does not need."""
        commitments.rest(self._ledger.needs(), keep=keep)
        waits = commitments.waits if self._unfit else None
        if waits is not None and not self._has_remarked:
            self._has_remarked = True
            self._loop.call_soon_threadsafe(self._remark, waits)

    def _fail(self, error: BaseException, group: list[_Waiting]) -> None:
        if isinstance(error, PipelineError):
            self.failure = error
        else:
            # An error's own text may hold a prompt or an answer; the system's words for a failed call do not.
            reason = f": {error.strerror}" if isinstance(error, OSError) and error.strerror else ""
            self.failure = StorageFailed(
                f"the ledger's writer died of {type(error).__name__}{reason}", code="writer_died"
            )
            self.failure.__cause__ = error
        stranded = group + self._unfit
        while not self._queue.empty():
            waiting = self._queue.get_nowait()
            if waiting is not None:
                stranded.append(waiting)
        self._wake(stranded, self.failure)

    def _wake(self, group: list[_Waiting], error: PipelineError | None) -> None:
        if group:
            self._loop.call_soon_threadsafe(_resolve, [waiting.future for waiting in group], error)


def _dead(entries: Sequence[Entry]) -> list[DeadLetter]:
    return [letter for entry in entries if isinstance(entry, Settle | Bury) for letter in entry.dead]


def _resolve(futures: list[asyncio.Future[None]], error: PipelineError | None) -> None:
    for future in futures:
        if future.done():
            continue
        if error is None:
            future.set_result(None)
        else:
            future.set_exception(error)
