"""Figures from every record that is left."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import orjson

from pipeline.assembly import Parts
from pipeline.core.duplicates import Duplicates as Repeated
from pipeline.core.duplicates import fingerprint
from pipeline.core.forecast import NOTHING, plus
from pipeline.core.packing import Packer
from pipeline.planning.figures import Examples, Figures
from pipeline.planning.prices import Prices
from pipeline.planning.reading import Bad, Reader
from pipeline.planning.values import Duplicates
from pipeline.storage.lines import Page
from pipeline.types import Item, Json


class Whole:
    """Adds up records as a run would pack and send them.

    Args:
        place: Where a line is, for examples of what is wrong.
        parts: What a run is made of.
        reader: Reads lines.
        prices: Prices requests.

    Attributes:
        records: Those that are left, so far.
    """

    def __init__(self, place: Callable[[int], str], parts: Parts, reader: Reader, prices: Prices) -> None:
        self._place = place
        self._reader = reader
        self._prices = prices
        self._packer = Packer(parts.max_items, parts.max_tokens)
        self._open: dict[int, int] = {}  # the tokens of records in batches that are not finished
        self._charged = self._requests = self._tokens_in = self._tokens_out = 0
        self._asked = self._batch = NOTHING
        self._bad = Examples()
        self._repeated = Repeated()
        self._repeats = self._repeated_tokens = self._repeated_cost = 0
        self.records = 0

    def add(self, page: Page, settled: Callable[[int], bool]) -> None:
        """Add the lines of a page but those that are settled."""
        for line, raw in enumerate(page.lines, page.first_line):
            if settled(line):
                continue
            found = self._reader.read(line, raw)
            if found is None:
                continue
            self.records += 1
            if isinstance(found, Bad):
                self._bad.note(found.code, self._place(line))
                continue
            self._open[line] = found.tokens
            self._charged += found.charge
            for batch in self._packer.add(found.item):
                self._send(batch)

    def figures(self) -> Figures:
        """Return the sums, once everything was added."""
        for batch in self._packer.flush():
            self._send(batch)
        return Figures(
            records=self.records,
            bad=dict(self._bad.counts),
            bad_examples=self._bad.places,
            too_long=self._reader.cut,
            requests=self._requests,
            tokens_input=self._tokens_in,
            tokens_output=self._tokens_out,
            charged=self._charged,
            cost=(cost := self._prices.cost(self._asked)),
            batch_api=self._prices.batch_api(self._batch),
            duplicates=Duplicates(
                self._repeats,
                self._repeated_tokens,
                self._repeated_cost if cost is not None else None,
                self._repeated.each == 1,
            ),
        )

    def _send(self, items: Sequence[Item]) -> None:
        counts = [self._open.pop(item.record.line) for item in items]
        tokens_in, tokens_out = sum(counts), sum(item.output_tokens or 0 for item in items)
        priced = self._prices.of(items, tokens_in, tokens_out)
        self._requests += 1
        self._tokens_in += tokens_in
        self._tokens_out += tokens_out
        self._asked, self._batch = plus(self._asked, priced.asked), plus(self._batch, priced.batch)
        for item, tokens in zip(items, counts, strict=True):
            stands_for = self._repeated.note(fingerprint(_content(item.content)))
            if stands_for:
                self._repeats += stands_for
                self._repeated_tokens += stands_for * tokens
                self._repeated_cost += stands_for * (priced.asked.input * tokens // max(1, tokens_in))


def _content(content: Json) -> bytes:
    return (
        content.encode()
        if isinstance(content, str)
        else orjson.dumps(content, default=repr, option=orjson.OPT_SORT_KEYS)
    )
