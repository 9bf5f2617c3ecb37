from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.duplicates import Duplicates, fingerprint


def found(contents: list[bytes], most: int) -> tuple[int, Duplicates]:
    duplicates = Duplicates(most)
    return sum(duplicates.note(fingerprint(content)) for content in contents), duplicates


@given(st.lists(st.binary(max_size=2), max_size=300))
def test_while_all_fit_the_count_is_exact(contents: list[bytes]) -> None:
    count, duplicates = found(contents, 1000)

    assert (count, duplicates.each) == (len(contents) - len(set(contents)), 1)


@pytest.mark.parametrize("seed", range(5))
def test_beyond_that_it_is_an_estimate_and_memory_stays_bounded(seed: int) -> None:
    generator = random.Random(seed)
    contents = [b"%d" % generator.randrange(40_000) for _ in range(80_000)]
    count, duplicates = found(contents, 4096)

    assert count == pytest.approx(len(contents) - len(set(contents)), rel=0.1)
    assert duplicates.each > 1
    assert len(duplicates._seen) <= 4096


def test_where_nothing_is_repeated_the_estimate_is_none_too() -> None:
    assert found([b"%d" % number for number in range(20_000)], 1000)[0] == 0


def test_fingerprints_are_the_same_in_every_process() -> None:
    assert fingerprint(b"abc") == 0x5995D533D814BBD8
