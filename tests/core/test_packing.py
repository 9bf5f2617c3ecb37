from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.packing import OPEN_GROUPS, Batch, Packer, halve
from pipeline.types import Item, Record


def item(line: int, tokens: int = 1, group: str | None = None, output: int = 0) -> Item:
    return Item(Record(line, str(line), {}), "", tokens, output, group)


def lines(batch: Batch) -> list[int]:
    return [one.record.line for one in batch]


def pack(items: list[Item], max_items: int, max_tokens: int) -> list[Batch]:
    packer = Packer(max_items, max_tokens)
    return [batch for one in items for batch in packer.add(one)] + packer.flush()


def test_a_batch_is_finished_as_soon_as_it_is_full() -> None:
    packer = Packer(3, 100)

    assert packer.add(item(1)) == []
    assert packer.add(item(2)) == []
    assert [lines(batch) for batch in packer.add(item(3))] == [[1, 2, 3]]
    assert len(packer) == 0


def test_input_and_output_tokens_bound_a_batch() -> None:
    batches = pack([item(1, 30, output=20), item(2, 30, output=20), item(3, 1)], 20, 100)

    assert [lines(batch) for batch in batches] == [[1, 2], [3]]


def test_an_item_above_the_bound_goes_alone_and_in_its_turn() -> None:
    batches = pack([item(1, 10), item(2, 500), item(3, 10)], 20, 100)

    assert [lines(batch) for batch in batches] == [[1], [2], [3]]


def test_mixed_groups_still_fill_their_batches() -> None:
    items = [item(line, group="ab"[line % 2]) for line in range(8)]

    assert [lines(batch) for batch in pack(items, 4, 100)] == [[0, 2, 4, 6], [1, 3, 5, 7]]


def test_the_group_that_waited_longest_is_closed_when_too_many_are_open() -> None:
    packer = Packer(20, 100)
    for line in range(OPEN_GROUPS):
        packer.add(item(line, group=str(line)))
    packer.add(item(900, group="0"))

    assert [lines(batch) for batch in packer.add(item(901, group="new"))] == [[1]]
    assert len(packer) == OPEN_GROUPS + 1


def test_flush_leaves_nothing() -> None:
    packer = Packer(20, 100)
    packer.add(item(1, group="a"))
    packer.add(item(2, group="b"))

    assert [lines(batch) for batch in packer.flush()] == [[1], [2]]
    assert packer.flush() == []
    assert len(packer) == 0


def test_halves_keep_order_and_lose_nothing() -> None:
    first, second = halve([item(line) for line in range(5)])

    assert (lines(first), lines(second)) == ([0, 1], [2, 3, 4])


def test_a_single_item_cannot_be_halved() -> None:
    with pytest.raises(ValueError, match="one item"):
        halve([item(1)])


@given(
    kinds=st.lists(st.tuples(st.integers(0, 60), st.sampled_from("abcdefgh")), max_size=200),
    max_items=st.integers(1, 20),
    max_tokens=st.integers(1, 100),
)
def test_every_item_is_packed_once_within_the_bounds(
    kinds: list[tuple[int, str]], max_items: int, max_tokens: int
) -> None:
    items = [item(line, tokens, group) for line, (tokens, group) in enumerate(kinds)]
    batches = pack(items, max_items, max_tokens)

    for group in "abcdefgh":
        packed = [one for batch in batches for one in batch if one.group == group]
        assert packed == [one for one in items if one.group == group]
    for batch in batches:
        assert len({one.group for one in batch}) == 1
        assert len(batch) <= max_items
        assert len(batch) == 1 or sum(one.input_tokens for one in batch) <= max_tokens


@given(sizes=st.lists(st.integers(1, 60), max_size=200), max_items=st.integers(1, 20), max_tokens=st.integers(1, 100))
def test_no_batch_is_finished_while_the_next_item_would_fit(sizes: list[int], max_items: int, max_tokens: int) -> None:
    batches = pack([item(line, size) for line, size in enumerate(sizes)], max_items, max_tokens)

    for batch, following in pairwise(batches):
        tokens = sum(one.input_tokens for one in batch)
        assert len(batch) == max_items or tokens + following[0].input_tokens > max_tokens
