"""A run whose outcomes are taken while it goes on."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Iterator
from types import TracebackType
from typing import Unpack

from pipeline.api.background import Background
from pipeline.api.configs import ConfigLike, Keys, load
from pipeline.api.feed import Feed
from pipeline.api.outcomes import Outcome
from pipeline.api.runs import to_the_end
from pipeline.config import Loaded
from pipeline.earlier import CARRY_ON, Earlier
from pipeline.errors import JobStopped
from pipeline.observers.summary import Summary
from pipeline.runner import Run
from pipeline.storage.records import Records

_GOES_ON = "the run still goes on: take all its outcomes, or leave the `with` block, first"


class Left(JobStopped):
    """Whoever took the outcomes has left. What came back is committed."""

    code = "left"
    exit_code = 130

    def __init__(self) -> None:
        super().__init__("nobody takes the outcomes any more; what came back is committed, run again to go on")


class Outcomes(Iterator[Outcome]):
    """The outcomes of a run, each once it is durable: first those of earlier runs, then the rest as they come.

    Iterating ends when every record has its outcome; where the run stops before, it raises what stopped it.
    """

    def __init__(self, loaded: Loaded, earlier: Earlier) -> None:
        self._news = threading.Event()
        self._feed = Feed(_records(loaded), self._news.set)
        self._run = Run(loaded, earlier, follower=self._feed)
        self._batch: Iterator[Outcome] = iter(())
        self._background = Background(_followed(self._run, self._feed), lambda: self._run.stop(Left()))

    def __next__(self) -> Outcome:
        while (outcome := next(self._batch, None)) is None:
            self._news.clear()
            ended = self._feed.ended  # before the look, so that nothing can come between the two
            batch = self._feed.take()
            if not batch and ended:
                self._background.result().raise_for_state()
                raise StopIteration
            if not batch:
                self._news.wait()
            self._batch = iter(batch)
        return outcome

    @property
    def summary(self) -> Summary:
        """How the run ended; there once the outcomes have all been taken, or left."""
        if not self._feed.ended:
            raise RuntimeError(_GOES_ON)
        return self._background.result()

    def close(self) -> None:
        """Stop the run where it still goes on, and wait until all that came back is committed."""
        try:
            if not self._feed.ended:
                self._background.stop()
            self._background.result()
        finally:
            self._feed.close()


class AsyncOutcomes(AsyncIterator[Outcome]):
    """As `Outcomes`, of a run on the running event loop."""

    def __init__(self, loaded: Loaded, earlier: Earlier) -> None:
        self._news = asyncio.Event()
        loop = asyncio.get_running_loop()
        self._feed = Feed(_records(loaded), lambda: _tell(loop, self._news))
        self._run = Run(loaded, earlier, follower=self._feed)
        self._batch: Iterator[Outcome] = iter(())
        self._task = asyncio.create_task(_followed(self._run, self._feed), name="pipeline")

    async def __anext__(self) -> Outcome:
        while (outcome := next(self._batch, None)) is None:
            await asyncio.sleep(0)  # the run needs its turn, however many outcomes are there already
            self._news.clear()
            ended = self._feed.ended  # before the look, as above
            batch = self._feed.take()
            if not batch and ended:
                (await self._task).raise_for_state()
                raise StopAsyncIteration
            if not batch:
                await self._news.wait()
            self._batch = iter(batch)
        return outcome

    @property
    def summary(self) -> Summary:
        """As `Outcomes.summary`."""
        if not self._task.done():
            raise RuntimeError(_GOES_ON)
        return self._task.result()

    async def aclose(self) -> None:
        """Stop the run where it still goes on, and wait until all that came back is committed."""
        try:
            if not self._feed.ended:
                self._run.stop(Left())
            await to_the_end(self._task, lambda: self._run.stop(Left()))
        finally:
            self._feed.close()


class OpenRun:
    """A run that lasts as long as a `with` or an `async with` block. Leaving the block early stops the run in order."""

    def __init__(self, loaded: Loaded, earlier: Earlier) -> None:
        self._loaded, self._earlier = loaded, earlier
        self._opened: Outcomes | AsyncOutcomes | None = None

    def __enter__(self) -> Outcomes:
        self._opened = Outcomes(self._loaded, self._earlier)
        return self._opened

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if isinstance(self._opened, Outcomes):
            self._opened.close()

    async def __aenter__(self) -> AsyncOutcomes:
        self._opened = AsyncOutcomes(self._loaded, self._earlier)
        return self._opened

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        if isinstance(self._opened, AsyncOutcomes):
            await self._opened.aclose()


def open_run(config: ConfigLike | None = None, /, *, earlier: Earlier = CARRY_ON, **keys: Unpack[Keys]) -> OpenRun:
    """Return a run to be opened by `with` or `async with`: it gives the outcomes while the run goes on.

        with open_run("configs/tickets.yaml") as outcomes:
            for outcome in outcomes:
                ...

    A slow taker slows the run: it is at most a thousand outcomes ahead, besides what is in flight. Leaving the block
    early lets what is in flight come back and commits it. Opened again, after that or after a crash, the run first
    gives the outcomes that are there and then the rest.

    Args:
        config: As for `load`.
        earlier: How what earlier runs left is treated.
        keys: As for `load`.

    Raises:
        UsageError: The config is refused. What stops the run is raised while its outcomes are taken.
    """
    return OpenRun(load(config, **keys), earlier)


async def _followed(run: Run, feed: Feed) -> Summary:
    try:
        return await run.execute()
    finally:
        feed.end()


def _records(loaded: Loaded) -> Records:
    return Records(loaded.config.input.path, loaded.config.input.id)


def _tell(loop: asyncio.AbstractEventLoop, news: asyncio.Event) -> None:
    with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
        loop.call_soon_threadsafe(news.set)
