from __future__ import annotations

import pytest

from pipeline.sources import share_read
from pipeline.storage.lines import Chunk, Page

PAGE = Page(11, [b"{}"] * 10, Chunk(0, 0, 250, 20, 0, b""))
"""Up to line 20 and byte 250."""


@pytest.mark.parametrize(
    ("size", "limit", "share"),
    [(1000, None, 0.25), (1000, 40, 0.5), (300, 40, 250 / 300), (None, 40, 0.5), (None, None, None), (200, None, 1.0)],
    ids=["bytes", "fewer lines are wanted", "there are fewer lines", "a pipe", "a pipe to its end", "it has grown"],
)
def test_the_share_that_is_read_is_of_the_bytes_or_of_the_lines_that_are_wanted(
    size: int | None, limit: int | None, share: float | None
) -> None:
    assert share_read(PAGE, size, limit) == share
