"""The plan: what a run would send and cost. Reads the whole input and sends nothing."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass

import orjson

from pipeline.assembly import Parts, assemble
from pipeline.config import Loaded
from pipeline.core.packing import Packer
from pipeline.core.parse import parse_line
from pipeline.engine import UNBOUNDED_OUTPUT
from pipeline.errors import Rejected
from pipeline.events import Observer, Observers
from pipeline.sources import open_source
from pipeline.storage.lines import Page
from pipeline.types import BadLine, Item, Request

_MINUTE = 60.0


@dataclass(frozen=True, slots=True)
class Plan:
    """What a run would do."""

    name: str
    model: str
    records: int
    """Lines that are no blank ones."""
    bad: dict[str, int]
    """Records that would become dead letters without being sent, by code."""
    requests: int
    tokens_input: int
    tokens_output_bound: int | None
    """The most output tokens; None where nothing bounds them."""
    seconds: float
    """The least time that the limits allow; 0 where no limit is known."""
    bound_by: str
    """`requests`, `tokens` or `concurrency`."""
    cost_nusd: int | None
    """With no output at all; None where the price is not known."""
    cost_bound_nusd: int | None
    """With the most output; None where that or the price is not known."""
    price_source: str | None
    exact: bool
    """Whether the tokens were counted with the model's vocabulary; else they are estimated."""

    def as_dict(self) -> dict[str, object]:
        return asdict(self)


class _Sums:
    """What has been added up so far."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._at = time.time()
        self.records = self.requests = self.tokens_input = self.tokens_output = 0
        self.charged = self.cost = self.cost_bound = 0
        self.unbounded = self.unpriced = False
        self.bad: Counter[str] = Counter()
        self.model = ""
        self.sources: set[str] = set()

    def batch(self, items: tuple[Item, ...]) -> None:
        """Add one request."""
        body = self._parts.job.body(items)
        self.model = str(body["model"])
        tokens = sum(self._parts.tokens(item) for item in items)
        self.unbounded |= any(item.output_tokens is None for item in items)
        output = sum(item.output_tokens or 0 for item in items)
        tier = body.get("service_tier")
        request = Request(
            path=self._parts.job.path,
            body=orjson.dumps(body),
            items=items,
            model=self.model,
            tokens=tokens + output,
            input_bound=tokens,
            output_bound=UNBOUNDED_OUTPUT if self.unbounded else output,
            service_tier=tier if isinstance(tier, str) else None,
        )
        self.requests += 1
        self.tokens_input += tokens
        self.tokens_output += output
        self.charged += tokens + output
        self._price(request)

    def _price(self, request: Request) -> None:
        price = self._parts.prices.price(request, self._at)
        if price is None:
            self.unpriced = True
            return
        self.sources.add(price.source)
        self.cost += price.bound(request.input_bound, 0)
        self.cost_bound += price.bound(request.input_bound, request.output_bound)


async def plan(
    loaded: Loaded, observers: Observer | None = None, progress: Callable[[int], None] = lambda _: None
) -> Plan:
    """Read the input of a config and say what running it would do.

    Args:
        loaded: The config.
        observers: See notices.
        progress: Called with the number of records read so far.

    Raises:
        UsageError: The config or its input is refused.
    """
    parts = await asyncio.to_thread(assemble, loaded, observers or Observers(), exact=True, sends=False)
    sums = _Sums(parts)
    packer = Packer(parts.max_items, parts.max_tokens)
    with await asyncio.to_thread(open_source, loaded) as source:
        async for page in source.pages():
            await asyncio.to_thread(_add, page, parts, packer, sums)
            progress(sums.records)
    for batch in packer.flush():
        sums.batch(batch)
    return _plan(loaded, parts, sums)


def _add(page: Page, parts: Parts, packer: Packer, sums: _Sums) -> None:
    for line, raw in enumerate(page.lines, page.first_line):
        record = parse_line(line, raw, parts.id_field)
        if record is None:
            continue
        sums.records += 1
        if isinstance(record, BadLine):
            sums.bad[record.code] += 1
            continue
        try:
            item = parts.job.render(record)
        except Rejected as error:
            sums.bad[error.code] += 1
            continue
        for batch in packer.add(item):
            sums.batch(batch)


def _plan(loaded: Loaded, parts: Parts, sums: _Sums) -> Plan:
    limits = parts.limits
    by = {
        "requests": sums.requests / limits.rpm * _MINUTE if limits.rpm else 0.0,
        "tokens": sums.charged / limits.tpm * _MINUTE if limits.tpm else 0.0,
        "requests a second": sums.requests / limits.per_second if limits.per_second else 0.0,
    }
    bound_by = max(by, key=lambda name: by[name])
    unknown = sums.unpriced
    return Plan(
        name=loaded.config.name,
        model=loaded.config.model or sums.model,
        records=sums.records,
        bad=dict(sums.bad),
        requests=sums.requests,
        tokens_input=sums.tokens_input,
        tokens_output_bound=None if sums.unbounded else sums.tokens_output,
        seconds=by[bound_by],
        bound_by=bound_by if by[bound_by] else "concurrency",
        cost_nusd=None if unknown else sums.cost,
        cost_bound_nusd=None if unknown or sums.unbounded else sums.cost_bound,
        price_source=", ".join(sorted(sums.sources)) or None,
        exact=parts.exact,
    )
