"""Figures from a sample of the records that are left."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import NamedTuple

from pipeline.assembly import Parts
from pipeline.core.forecast import Forecast
from pipeline.core.packing import Packer
from pipeline.core.survey import CONFIDENCE, Draw, Estimate, Stratum, Survey, resampled
from pipeline.planning.figures import Examples, Figures
from pipeline.planning.prices import Priced, Prices
from pipeline.planning.reading import Bad, Counted, Reader
from pipeline.planning.values import Interval, Sampled
from pipeline.storage.sample import Line, Sample

_PACKED = 20_000
"""Records that are packed to see how many share a request, besides twenty full batches."""


class _Read(NamedTuple):
    """What a drawn line is."""

    found: Counted | Bad | None = None
    priced: Priced = Priced()
    input_alone: Priced = Priced()
    """The same without any output."""
    cut: bool = False

    @property
    def sent(self) -> Counted | None:
        return self.found if isinstance(self.found, Counted) else None


_SETTLED = _Read()
"""A line that is none of those that are left; told from others by identity."""


class FromSample:
    """Estimates the sums over all records from those that are drawn.

    Args:
        name: Of the input, for places in it.
        parts: What a run is made of.
        reader: Reads lines.
        prices: Prices requests.
        sample: Draws lines.
        settled: Whether the line that begins at a byte is settled; what is estimated is of the others.
    """

    def __init__(
        self,
        name: str,
        parts: Parts,
        reader: Reader,
        prices: Prices,
        sample: Sample,
        settled: Callable[[int], bool],
    ) -> None:
        self._name = name
        self._parts = parts
        self._reader = reader
        self._prices = prices
        self._sample = sample
        self._settled = settled
        self._read: dict[int, _Read] = {}  # by where the line begins: the same may be drawn again
        self._draws: list[Draw] = []
        self._by_size: list[_Read] = []
        self._by_record: list[_Read] = []
        self._bad = Examples()

    def add(self, strata: Iterable[Stratum]) -> None:
        """Draw the lines of each stratum."""
        for stratum in strata:
            by_size, by_record, draw = self._sample.draw(stratum)
            self._draws.append(draw)
            self._by_size.append(self._see(by_size))
            self._by_record.append(_Read() if by_record is None else self._see(by_record))

    def figures(self) -> Figures:
        """Return the estimates, once every stratum was added."""
        survey = Survey(self._sample.size, self._draws, len(self._read))
        sums = _Sums(survey, self._by_size, self._by_record)
        requests = sums.count(lambda line: line.sent is not None).times(self._requests_per_record())
        tokens = sums.of(lambda line: line.sent.tokens if line.sent else 0)
        output = sums.of(lambda line: line.sent.output if line.sent else 0)
        cost = self._prices.cost(sums.forecast(lambda priced: priced.asked))
        return Figures(
            records=round(sums.records.value),
            bad={code: round(sums.count(partial(_is_bad, code)).value) for code in self._bad.counts},
            bad_examples=self._bad.places,
            too_long=round(sums.count(lambda line: line.cut).value),
            requests=round(requests.value),
            tokens_input=round(tokens.value),
            tokens_output=round(output.value),
            charged=round(sums.of(lambda line: line.sent.charge if line.sent else 0).value),
            cost=cost,
            batch_api=self._prices.batch_api(sums.forecast(lambda priced: priced.batch)),
            sample=Sampled(
                drawn=len(self._read),
                confidence=CONFIDENCE,
                records=_interval(sums.records),
                requests=_interval(requests),
                tokens_input=_interval(tokens),
                tokens_output_bound=None if self._prices.unbounded else _interval(output),
                cost_nusd=None if cost is None else _interval(sums.of(lambda line: line.priced.asked.input)),
            ),
        )

    def _see(self, line: Line) -> _Read:
        if line.start not in self._read:
            self._read[line.start] = self._read_line(line)
        return self._read[line.start]

    def _read_line(self, line: Line) -> _Read:
        if self._settled(line.start):
            return _SETTLED
        cut = self._reader.cut
        # But for the first line its number is not known: that of the draw, which no other has, stands for it.
        found = self._reader.read(2 + len(self._read) if line.start else 1, line.raw)
        if isinstance(found, Bad):
            self._bad.note(found.code, f"{self._name} at byte {line.start:,}")
        if not isinstance(found, Counted):
            return _Read(found)
        item = found.item
        return _Read(
            found._replace(item=item._replace(content=None, record=item.record._replace(data={}))),
            self._prices.of((item,), found.tokens, found.output),
            self._prices.of((item,), found.tokens, 0),
            self._reader.cut > cut,
        )

    def _requests_per_record(self) -> float:
        packer = Packer(self._parts.max_items, self._parts.max_tokens)
        requests = packed = 0
        for place, number in enumerate(resampled(self._draws, _PACKED + 20 * self._parts.max_items)):
            sent = self._by_record[number].sent
            if sent is None:
                continue
            item = sent.item
            # A group of its own stays one, however often its record is picked.
            batches = packer.add(item._replace(group=place) if item.group == item.record.line else item)
            requests += len(batches)
            packed += sum(map(len, batches))
        return requests / packed if packed else 1.0


class _Sums:
    """Totals over the records that are left."""

    def __init__(self, survey: Survey, by_size: list[_Read], by_record: list[_Read]) -> None:
        self._survey = survey
        self._by_size = by_size
        self._by_record = by_record
        some = any(line is _SETTLED for line in by_record)
        self.records = self.count(lambda line: line is not _SETTLED) if some else survey.records

    def of(self, value: Callable[[_Read], float]) -> Estimate:
        """The total of an amount."""
        by_size, by_record = list(map(value, self._by_size)), list(map(value, self._by_record))
        return self._survey.total(by_size, by_record)

    def count(self, whether: Callable[[_Read], bool]) -> Estimate:
        """How many records are so."""
        return self._survey.count([float(whether(line)) for line in self._by_record])

    def forecast(self, tier: Callable[[Priced], Forecast]) -> Forecast:
        """The cost, with `least` and `most` at the far ends of their intervals."""
        most = self.of(lambda line: tier(line.input_alone).most)
        output = self.of(lambda line: tier(line.priced).most - tier(line.input_alone).most)
        return Forecast(
            least=round(self.of(lambda line: tier(line.priced).least).least),
            input=round(self.of(lambda line: tier(line.priced).input).value),
            cached=round(self.of(lambda line: tier(line.priced).cached).value),
            output=round(self.of(lambda line: tier(line.priced).output).value),
            most=round(most.plus(output).most),
        )


def _interval(estimate: Estimate) -> Interval:
    return round(estimate.least), round(estimate.most)


def _is_bad(code: str, line: _Read) -> bool:
    return line.found == Bad(code)
