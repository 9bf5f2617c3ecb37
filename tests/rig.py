"""A run without its command: the engine, the middleware that settles money, a real ledger, a scripted endpoint."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import orjson

from jobs.completions import Completions
from pipeline.backends.base import Backend
from pipeline.backends.fake import FakeBackend
from pipeline.core.packing import Packer
from pipeline.core.parse import parse_line
from pipeline.core.pricing import Price, PriceBook, PriceCard, Rates
from pipeline.core.request_prices import RequestPrices
from pipeline.core.tokens import TextTokenizer
from pipeline.engine import Engine, Work
from pipeline.errors import PipelineError
from pipeline.events import Observers
from pipeline.job import Job, JobSpec
from pipeline.middleware.drain import Drain
from pipeline.middleware.reservation import Reservation
from pipeline.middleware.trace import Trace
from pipeline.middleware.validation import Validation
from pipeline.observers.tally import Tally
from pipeline.storage.commit import Journal
from pipeline.storage.ledger import Ledger
from pipeline.storage.lines import Chunk, Page
from pipeline.types import DeadLetter, Item, Json, Request, Response
from tests.storage.outputs import open_both, places_in
from tests.virtual import LoopClock

PRICE = Price(Rates(1_000_000, 500_000, 1_000_000, 2_000_000, 2_000_000), source="test")
"""One nano-USD an input token, two an output token."""

Outcome = Response | PipelineError


def echo(request: Request, usage: Mapping[str, Json] | None = None) -> Response:
    """The answer of a completions server that repeats each prompt: three tokens in and two out a prompt."""
    prompts = orjson.loads(request.body)["prompt"]
    texts = prompts if isinstance(prompts, list) else [prompts]
    choices = [{"index": index, "text": f"to {text}", "finish_reason": "stop"} for index, text in enumerate(texts)]
    said = usage or {
        "prompt_tokens": 3 * len(texts),
        "completion_tokens": 2 * len(texts),
        "total_tokens": 5 * len(texts),
    }
    return answer({"object": "text_completion", "model": "m", "choices": choices, "usage": said})


def answer(body: Json, status: int = 200) -> Response:
    return Response(status, {}, orjson.dumps(body))


def prompts(request: Request) -> list[str]:
    return [item.content for item in request.items]


def completions(model: str = "m") -> Job:
    def text(data: Mapping[str, Json]) -> str:
        return str(data["text"])

    spec = JobSpec(model, TextTokenizer("cl100k_base"), {"max_tokens": 10}, {"prompt": text})
    return Completions(spec)


@dataclass
class Ended:
    """What is left when a run has ended."""

    complete: bool
    stopped: PipelineError | None
    lines: dict[int, dict[str, Json]]
    """Result lines by input line."""
    dead: dict[int, DeadLetter]
    ledger: Ledger
    tally: Tally
    requests: list[Request] = field(default_factory=list)


async def run(
    directory: Path,
    records: Sequence[Json | bytes],
    script: Callable[[Request], Outcome] | Sequence[Outcome] = echo,
    *,
    cap: int | None = None,
    max_items: int = 20,
    workers: int = 4,
    job: Job | None = None,
    wrap: Callable[[Backend], Backend] = lambda backend: backend,
    require_bound: Callable[[Item], Item] = lambda item: item,
) -> Ended:
    """Send `records` through the engine and return what became of them. The ledger in `directory` is continued."""
    ledger, log, _ = open_both(places_in(directory))
    ledger.budget.cap = cap
    tally, clock = Tally(), LoopClock()
    observers = Observers([tally])
    journal = Journal(ledger, log, linger=0)
    journal.start()
    fake = FakeBackend(script)
    job = job or completions()
    book = PriceBook(lambda _model, _at: PriceCard({"standard": PRICE}))
    prices = RequestPrices(book, tier=None, refuse_unknown=False, remark=lambda _: None)
    drain = Drain(Reservation(Trace(Validation(fake, job, observers, str), clock, observers), journal, prices, clock))
    done = ledger.done
    work = Work(
        job=job,
        pages=lambda: _pages(records),
        parse=lambda line, raw: None if line in done else parse_line(line, raw),
        packer=Packer(max_items, 100_000),
        keep=["text"],
        workers=workers,
        require_bound=require_bound,
    )
    stopped: PipelineError | None = None
    complete = False
    try:
        complete = await Engine(work, wrap(drain), drain, journal, clock, observers).run(drain=1)
    except PipelineError as error:
        stopped = error
    await journal.close()
    lines = [orjson.loads(line) for line in log.path.read_bytes().splitlines()]
    dead = {letter.line: letter for letter in ledger.dead_letters()}
    ledger.check()
    ledger.close()
    log.close()
    by_line = {int(line["attempt"].split("-")[2]): line for line in lines}
    assert len(by_line) == len(lines), "no record has two results"
    return Ended(complete, stopped, by_line, dead, ledger, tally, fake.requests)


async def _pages(records: Sequence[Json | bytes]) -> AsyncIterator[Page]:
    lines = [record if isinstance(record, bytes) else orjson.dumps(record) for record in records]
    size = sum(len(line) + 1 for line in lines)
    if lines:
        yield Page(1, lines, Chunk(0, 0, size, len(lines), lines.count(b""), b"digest"))
