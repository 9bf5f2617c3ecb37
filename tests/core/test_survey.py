from __future__ import annotations

import bisect
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.survey import Draw, Estimate, Survey, resampled, strata

BLOCK = 1024
GENERATOR = random.Random(1)


@dataclass
class Drawn:
    """A survey of a file, and which of its lines were drawn."""

    survey: Survey
    draws: list[Draw]
    by_size: list[int]
    by_record: list[int | None]

    def total(self, values: Sequence[float]) -> Estimate:
        """The estimated total of what each line of the file has a value of."""
        return self.survey.total([values[line] for line in self.by_size], self._of_records(values))

    def count(self, values: Sequence[float]) -> Estimate:
        return self.survey.count(self._of_records(values))

    def _of_records(self, values: Sequence[float]) -> list[float]:
        return [0.0 if line is None else values[line] for line in self.by_record]


def surveyed(sizes: Sequence[int], count: int, records: Sequence[bool] | None = None) -> Drawn:
    """Survey a file with lines of these sizes, of which some may be blank."""
    ends = list(accumulate(sizes))
    numbers = [number for number in range(len(sizes)) if records is None or records[number]]
    starts = [ends[number] - sizes[number] for number in numbers]
    draws: list[Draw] = []
    by_size: list[int] = []
    by_record: list[int | None] = []
    for stratum in strata(ends[-1], count, BLOCK):
        first = bisect.bisect_left(starts, stratum.start)
        begun = bisect.bisect_left(starts, stratum.end) - first
        by_size.append(bisect.bisect_right(ends, stratum.at))
        by_record.append(numbers[first + int(begun * stratum.within)] if begun else None)
        draws.append(Draw(sizes[by_size[-1]], begun, stratum.end - stratum.start))
    distinct = {line for line in (*by_size, *by_record) if line is not None}
    return Drawn(Survey(ends[-1], draws, len(distinct)), draws, by_size, by_record)


@given(st.integers(1000, 10**9), st.integers(1, 1000), st.integers(1, 10**5))
def test_each_stratum_has_its_block_and_its_byte(size: int, count: int, block: int) -> None:
    found = strata(size, count, block)

    assert len(found) == count
    for number, stratum in enumerate(found):
        assert number * size // count <= stratum.start <= stratum.at < stratum.end <= size
        assert stratum.start < (number + 1) * size // count
        assert stratum.end - stratum.start <= block


@given(st.integers(1000, 10**6), st.integers(1, 1000))
def test_blocks_that_are_large_enough_cover_the_file_without_overlap(size: int, count: int) -> None:
    found = strata(size, count, size)

    assert (found[0].start, found[-1].end) == (0, size)
    assert all(before.end == after.start for before, after in pairwise(found))


def test_every_byte_of_a_stratum_is_as_likely_to_be_looked_at() -> None:
    looked = [0] * 100
    for stratum in strata(100 * 10_000, 10_000, 30):
        for at in range(stratum.start, stratum.end):
            looked[at % 100] += 1

    assert max(looked) - min(looked) < 0.03 * max(looked)


def test_the_same_file_has_the_same_strata() -> None:
    assert strata(10**6, 100, 1000) == strata(10**6, 100, 1000)


def test_what_every_record_has_alike_is_known_nearly_as_well_as_the_number_of_records() -> None:
    drawn = surveyed([GENERATOR.randint(10, 500) for _ in range(10_000)], 300)
    found, records = drawn.total([64.0] * 10_000), drawn.survey.records.times(64)

    assert found.value == pytest.approx(records.value)
    assert records.margin < found.margin < records.margin + 0.01 * records.value


def test_what_grows_with_the_size_of_a_line_is_known_to_three_in_the_number_of_draws() -> None:
    sizes = [GENERATOR.randint(10, 5000) for _ in range(10_000)]
    found = surveyed(sizes, 100).total([size / 4 for size in sizes])

    assert found.value == pytest.approx(sum(sizes) / 4)
    assert found.margin == pytest.approx(0.03 * found.value, rel=0.02)


def test_giants_that_are_not_among_the_records_drawn_are_not_forgotten() -> None:
    sizes = [400_000 if number == 706 else 50 for number in range(20_000)]
    drawn = surveyed(sizes, 1400)
    tokens = [size / 4 for size in sizes]

    assert 706 not in drawn.by_record
    assert drawn.total(tokens).value == pytest.approx(sum(tokens), rel=0.01)


def test_records_are_counted_where_the_blocks_cover_the_file() -> None:
    sizes = [GENERATOR.randint(10, 5000) for _ in range(100)]

    assert surveyed(sizes, sum(sizes) // BLOCK + 1).survey.records == (100, 0.0)


def test_blank_lines_are_no_records() -> None:
    drawn = surveyed([1, 500] * 5000, 500, [False, True] * 5000)

    assert drawn.survey.records.least <= 5000 <= drawn.survey.records.most
    assert drawn.total([0.0, 1.0] * 5000).least <= 5000 <= drawn.total([0.0, 1.0] * 5000).most


def test_what_some_records_have_is_counted() -> None:
    flags = [float(GENERATOR.random() < 0.2) for _ in range(20_000)]
    found = surveyed([GENERATOR.randint(10, 500) for _ in flags], 1000).count(flags)

    assert found.least <= sum(flags) <= found.most
    assert found.margin < 0.2 * sum(flags)


def test_a_resample_takes_every_line_as_often_as_the_file_has_it() -> None:
    sizes = [30 if GENERATOR.random() < 0.9 else 3000 for _ in range(50_000)]
    drawn = surveyed(sizes, 2000)
    lines = [drawn.by_record[number] for number in resampled(drawn.draws, 20_000)]

    assert sum(sizes[line] == 3000 for line in lines if line is not None) / 20_000 == pytest.approx(0.1, abs=0.02)
    assert None not in lines


def test_a_sum_is_as_uncertain_as_its_parts() -> None:
    assert Estimate(10, 1).plus(Estimate(5, 2)) == (15, 3)
    assert (Estimate(1, 2).least, Estimate(1, 2).most) == (0, 3)


Sizes = Callable[[random.Random, int], list[int]]
SHAPES: dict[str, Sizes] = {
    "log-normal": lambda r, n: [max(20, int(r.lognormvariate(5.5, 1.2))) for _ in range(n)],
    "one giant in a hundred": lambda r, n: [
        r.randint(50_000, 200_000) if r.random() < 0.01 else r.randint(40, 80) for _ in range(n)
    ],
    "sorted": lambda r, n: sorted(max(20, int(r.lognormvariate(5.5, 1.2))) for _ in range(n)),
    "Pareto": lambda r, n: [min(10**6, int(60 * r.paretovariate(1.1))) for _ in range(n)],
    "short ones, then long ones": lambda r, n: [r.randint(30, 50) if i < n / 2 else 4000 for i in range(n)],
    "every seventh is long": lambda r, n: [r.randint(3800, 4200) if i % 7 == 0 else 30 for i in range(n)],
}


@pytest.mark.parametrize("shape", SHAPES)
def test_the_intervals_hold_the_truth_in_at_least_ninety_of_a_hundred_files(shape: str) -> None:
    held = {"records": 0, "tokens": 0, "a few tokens in any line": 0}
    for seed in range(100):
        generator = random.Random(seed)
        sizes = SHAPES[shape](generator, 5000)
        tokens = [max(1.0, size / 4 * generator.uniform(0.8, 1.2)) for size in sizes]
        few = [float(generator.randint(5, 15)) for _ in sizes]
        drawn = surveyed(sizes, 300)
        estimates = {
            "records": (drawn.survey.records, float(len(sizes))),
            "tokens": (drawn.total(tokens), sum(tokens)),
            "a few tokens in any line": (drawn.total(few), sum(few)),
        }
        for name, (estimate, truth) in estimates.items():
            held[name] += estimate.least - 1e-6 <= truth <= estimate.most + 1e-6
    print(f"\n{shape}: {held}")

    assert min(held.values()) >= 90
