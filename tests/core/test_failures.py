from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.failures import MOST_EXAMPLES, MOST_KINDS, OTHERS, Failures, most_common

CODES = st.lists(st.text(max_size=80), max_size=200)


@given(CODES)
def test_every_failure_is_counted_and_the_kinds_are_few(codes: list[str]) -> None:
    failures = Failures()
    for line, code in enumerate(codes, 1):
        failures.note(code, line, f"id-{line}", "no")

    assert sum(kind.count for kind in failures.kinds) == len(codes)
    assert len(failures.kinds) <= MOST_KINDS + 1
    assert all(len(kind.examples) == min(kind.count, MOST_EXAMPLES) for kind in failures.kinds)


def test_the_first_of_a_kind_are_its_examples_and_the_first_message_its_message() -> None:
    failures = Failures()
    failures.note("timeout", 3, "a")
    failures.note("timeout", 9, "b", "timed out after 5 s")
    failures.note("rejected", 4, "c", "too long")
    failures.note("timeout", 11, "d", "another")

    timeout, rejected = failures.kinds
    assert (timeout.code, timeout.count, timeout.message) == ("timeout", 3, "timed out after 5 s")
    assert timeout.examples == [(3, "a"), (9, "b"), (11, "d")]
    assert rejected.examples == [(4, "c")]


@given(CODES)
def test_it_is_read_as_it_was_written(codes: list[str]) -> None:
    failures = Failures()
    for line, code in enumerate(codes, 1):
        failures.note(code, line, code, code)

    assert Failures.of(json.loads(json.dumps(failures.as_list()))).kinds == failures.kinds


@given(st.dictionaries(st.text(max_size=80), st.integers(1, 10**12), max_size=100))
def test_the_most_common_add_up_to_all(counts: dict[str, int]) -> None:
    kept = most_common(counts)

    assert sum(kept.values()) == sum(counts.values())
    assert len(kept) <= MOST_KINDS + 1


def test_what_is_rare_is_counted_together() -> None:
    counts = {f"code-{number}": 100 - number for number in range(MOST_KINDS + 3)}

    assert most_common(counts)[OTHERS] == (100 - 20) + (100 - 21) + (100 - 22)
