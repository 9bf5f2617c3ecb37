from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.earlier import Where


@pytest.mark.parametrize(
    ("where", "meant"),
    [
        (Where(), True),
        (Where(codes=["timeout"]), True),
        (Where(codes=["time"]), False),
        (Where(codes=["other", "time*"]), True),
        (Where(codes=["*out"]), True),
        (Where(codes=["t*o*t"]), True),
        (Where(codes=["t.m*"]), False),
        (Where(lines=[range(10, 21)]), True),
        (Where(lines=[range(18, 21)]), False),
        (Where(lines=[range(1, 2), range(17, 18)]), True),
        (Where(ids=["a[1]"]), True),
        (Where(ids=["a[*"]), True),
        (Where(ids=["b*"]), False),
        (Where(codes=["timeout"], lines=[range(1, 10)]), False),
        (Where(codes=["timeout"], lines=[range(1, 20)], ids=["a*"]), True),
    ],
)
def test_one_condition_of_each_kind_must_hold(where: Where, meant: bool) -> None:
    assert where.means(17, "timeout", "a[1]") == meant


@given(st.text())
def test_a_name_means_itself_and_a_star_means_all(name: str) -> None:
    assert Where(ids=[name]).means(1, "code", name)
    assert Where(ids=["*"]).means(1, "code", name)
