"""The plan: what a run would send and cost. Reads the whole input, or a sample of it, and sends nothing."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import aclosing
from functools import partial
from itertools import islice

from pipeline.assembly import Parts, assemble, places_of
from pipeline.config import Loaded
from pipeline.earlier import CARRY_ON, Earlier
from pipeline.errors import UsageError
from pipeline.events import Notice, Observer, Observers
from pipeline.planning.conclusion import conclude
from pipeline.planning.figures import Figures
from pipeline.planning.prices import Prices
from pipeline.planning.reading import Reader, first_model
from pipeline.planning.sampled import FromSample
from pipeline.planning.values import Cost, Duplicates, Plan, Sampled
from pipeline.planning.whole import Whole
from pipeline.sources import open_source
from pipeline.storage.progress import NONE, Progress, read_progress
from pipeline.storage.sample import Sample
from pipeline.storage.source import Source

__all__ = ["Cost", "Duplicates", "Plan", "Sampled", "plan"]

Heard = Callable[[int, float | None], None]
"""Hears how many records have been read, and what share of the input, where that is known."""

_LEAST_LINE = 1024
"""A file with fewer bytes for each line of the sample is read whole, which is as quick and exact."""
_AT_ONCE = 200
"""Lines drawn between two reports of progress."""


async def plan(
    loaded: Loaded,
    observers: Observer | None = None,
    progress: Heard = lambda _records, _share: None,
    *,
    sample: int | None = None,
    earlier: Earlier = CARRY_ON,
) -> Plan:
    """Read the input of a config and say what running it would do.

    Args:
        loaded: The config.
        observers: See notices.
        progress: Hears how far the reading is.
        sample: Draw that many lines, spread evenly over the file, and estimate the rest; at least 100.
        earlier: Whether the run would begin anew, whatever earlier ones have settled, or send dead letters again.

    Raises:
        UsageError: The config or its input is refused.
    """
    observers = observers or Observers()
    parts = await asyncio.to_thread(assemble, loaded, observers, sends=False)
    with await asyncio.to_thread(open_source, loaded, earlier) as source:
        settled = await asyncio.to_thread(_settled, loaded, source, observers, earlier)
        model = loaded.config.model or await _model_of_lines(source)
        reader = await asyncio.to_thread(Reader, loaded, parts, model)
        prices = Prices(parts, time.time(), reader.counts)
        planner = _Planner(loaded, parts, source, settled, reader, prices, progress)
        figures = await (planner.whole() if sample is None else planner.sampled(sample))
    return conclude(loaded, parts, settled, figures, prices)


class _Planner:
    """Reads what is left of one input."""

    def __init__(
        self,
        loaded: Loaded,
        parts: Parts,
        source: Source,
        settled: Progress,
        reader: Reader,
        prices: Prices,
        progress: Heard,
    ) -> None:
        self._config = loaded.config
        self._parts = parts
        self._source = source
        self._settled = settled
        self._reader = reader
        self._prices = prices
        self._progress = progress

    async def whole(self) -> Figures:
        """Read every record that is left."""
        whole = Whole(self._source.place, self._parts, self._reader, self._prices)
        chunks, done, size = self._settled.chunks, self._settled.done, self._source.line_bytes
        async with aclosing(self._source.pages(chunks, self._settled.complete)) as pages:
            async for page in pages:
                await asyncio.to_thread(whole.add, page, done.__contains__)
                self._progress(whole.records, page.chunk.end / size if size else None)
        return whole.figures()

    async def sampled(self, count: int) -> Figures:
        """Draw lines of what is left; read all of it where that is no more work.

        Raises:
            UsageError: Lines cannot be drawn from such an input.
        """
        if self._source.plain_size is None or self._config.limit is not None:
            raise UsageError("--sample needs a plain file, neither compressed nor a pipe, and no --limit")
        stretches = self._source.left(self._settled.chunks, self._settled.complete)
        if sum(end - start for start, end in stretches) < count * _LEAST_LINE:
            return await self.whole()
        sample = Sample(self._source, stretches, count // 2)
        settled = partial(self._settled.settled_at, source=self._source)
        found = FromSample(self._source.path, self._parts, self._reader, self._prices, sample, settled)
        strata = iter(sample.strata)
        drawn = 0
        while some := list(islice(strata, _AT_ONCE)):
            await asyncio.to_thread(found.add, some)
            drawn += 2 * len(some)
            self._progress(drawn, drawn / count)
        return found.figures()


def _settled(loaded: Loaded, source: Source, observers: Observer, earlier: Earlier) -> Progress:
    """What earlier runs settled of this input."""
    config = loaded.config
    if earlier.fresh or source.live or (config.output.path == "-" and config.state is None):
        return NONE
    found = read_progress(places_of(loaded), earlier.retry)
    if found is None:
        text = "what earlier runs settled cannot be read now: the plan is of the whole input"
        observers.see(Notice("warning", text))
        return NONE
    shrunk = source.plain_size is not None and found.chunks and found.chunks[-1].end > source.plain_size + 1
    return NONE if shrunk else found


async def _model_of_lines(source: Source) -> str:
    """The model of an input of Batch lines, whose config names none; a pipe is not read for it."""
    if source.live:
        return ""
    async with aclosing(source.pages()) as pages:
        async for page in pages:
            return first_model(page)
    return ""
