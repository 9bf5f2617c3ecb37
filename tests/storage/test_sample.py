from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.core.parse import LINE_LIMIT
from pipeline.core.survey import Stratum
from pipeline.storage.sample import Drawn, Sample
from pipeline.storage.source import BLOCK, Source


def lines_of(data: bytes) -> dict[int, bytes]:
    """Every line with its newline, by where it begins."""
    found, at = {}, 0
    for line in data.splitlines(keepends=True):
        found[at] = line
        at += len(line)
    return found


def drawn_from(path: Path, data: bytes, strata: list[Stratum]) -> list[Drawn]:
    path.write_bytes(data)
    with Source(str(path)) as source:
        sample = Sample(source, [(0, len(data))], 1)
        return [sample.draw(stratum) for stratum in strata]


texts = st.lists(st.sampled_from([b"", b" ", b"{}", b"x" * 30, b"y" * 300]), min_size=1, max_size=40)


@settings(max_examples=60)
@given(texts, st.booleans(), st.data())
def test_one_line_holds_the_byte_and_the_other_is_a_record_that_begins_in_the_block(
    tmp_path_factory: pytest.TempPathFactory, texts: list[bytes], ended: bool, data: st.DataObject
) -> None:
    content = b"\n".join(texts) + (b"\n" if ended else b"")
    if not content:
        return
    at = data.draw(st.integers(0, len(content) - 1))
    start, end = data.draw(st.integers(0, at)), data.draw(st.integers(at + 1, len(content)))
    stratum = Stratum(start, end, at, data.draw(st.floats(0, 0.999)))
    (drawn,) = drawn_from(tmp_path_factory.mktemp("s") / "in.jsonl", content, [stratum])
    lines = lines_of(content)
    begun = [begin for begin, line in lines.items() if start <= begin < end and line[: end - begin].strip()]

    assert drawn.by_size.start <= at < drawn.by_size.start + drawn.by_size.size
    assert drawn.draw == (drawn.by_size.size, len(begun), end - start)
    if begun:
        assert drawn.by_record is not None
        assert drawn.by_record.start == begun[int(len(begun) * stratum.within)]
    for line in filter(None, drawn[:2]):
        assert (line.raw, line.size) == (lines[line.start].removesuffix(b"\n"), len(lines[line.start]))


@settings(max_examples=60)
@given(texts, st.lists(st.integers(0, 2000), max_size=5))
def test_blocks_that_cover_the_file_count_every_record_once(
    tmp_path_factory: pytest.TempPathFactory, texts: list[bytes], cuts: list[int]
) -> None:
    content = b"\n".join(texts) + b"\n"
    borders = sorted({0, len(content), *(cut for cut in cuts if cut < len(content))})
    strata = [Stratum(start, end, start, 0) for start, end in pairwise(borders)]
    drawn = drawn_from(tmp_path_factory.mktemp("s") / "in.jsonl", content, strata)

    assert sum(each.draw.begun for each in drawn) == sum(bool(text.strip()) for text in texts)


def test_a_line_that_is_longer_than_a_block_is_found_from_its_middle(tmp_path: Path) -> None:
    long = b"x" * (3 * BLOCK)
    content = b"first\n" + long + b"\nlast\n"
    middle = 6 + len(long) // 2
    strata = [Stratum(at - 10, at + 10, at, 0) for at in (middle, middle + BLOCK)]

    assert [drawn[:2] for drawn in drawn_from(tmp_path / "in.jsonl", content, strata)] == [
        ((6, len(long) + 1, long), None)
    ] * 2


def test_of_a_line_over_the_limit_the_beginning_is_drawn_and_its_size_is_the_whole(tmp_path: Path) -> None:
    content = b"first\n" + b"x" * (LINE_LIMIT + 10) + b"\nlast\n"
    (drawn,) = drawn_from(tmp_path / "in.jsonl", content, [Stratum(100, 200, 150, 0)])

    assert (drawn.by_size.start, drawn.by_size.size, len(drawn.by_size.raw)) == (6, LINE_LIMIT + 11, LINE_LIMIT + 1)


def test_only_the_stretches_are_drawn_from(tmp_path: Path) -> None:
    content = b"".join(b"%07d\n" % number for number in range(1000))
    (tmp_path / "in.jsonl").write_bytes(content)
    with Source(str(tmp_path / "in.jsonl")) as source:
        sample = Sample(source, [(80, 160), (4000, 8000)], 100)
        found = [sample.draw(stratum) for stratum in sample.strata]
    numbers = {int(line.raw) for drawn in found for line in drawn[:2] if line is not None}

    assert sample.size == 4080
    assert numbers <= {*range(10, 20), *range(500, 1000)}
    assert len(numbers) > 120
    assert sum(drawn.draw.begun for drawn in found) == pytest.approx(510, abs=2)  # a block ends with its stretch
