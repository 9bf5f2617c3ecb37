from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from pipeline.core.exposition import Buckets, Family, Sample, exposition, number


def parsed(text: str) -> dict[str, Any]:
    return {family.name: family for family in text_string_to_metric_families(text)}


@given(st.floats())
def test_a_number_reads_back_as_the_same(value: float) -> None:
    [sample] = parsed(exposition([Family("x", "gauge", "h", [Sample(value)])], {}))["x"].samples

    assert sample.value == value or (math.isnan(sample.value) and math.isnan(value))


@given(st.text(), st.text())
def test_labels_and_help_read_back_as_they_were(label: str, help_text: str) -> None:
    text = exposition([Family("x", "gauge", f"a{help_text}z", [Sample(1, {"own": label})])], {"job": label})
    family = parsed(text)["x"]

    assert family.samples[0].labels == {"job": label, "own": label}


@given(st.lists(st.floats(0, 20)))
def test_buckets_count_what_is_no_longer_than_their_bound(durations: list[float]) -> None:
    buckets = Buckets((0.5, 1.0, 10.0))
    for seconds in durations:
        buckets.note(seconds)
    family = parsed(exposition([Family("x", "histogram", "h", buckets.samples())], {}))["x"]
    counts = {sample.labels["le"]: sample.value for sample in family.samples if sample.name == "x_bucket"}
    rest = {sample.name: sample.value for sample in family.samples if sample.name != "x_bucket"}

    bounds = {"0.5": 0.5, "1": 1.0, "10": 10.0, "+Inf": math.inf}
    assert counts == {shown: sum(seconds <= bound for seconds in durations) for shown, bound in bounds.items()}
    assert rest == {"x_sum": pytest.approx(sum(durations)), "x_count": len(durations)}


def test_a_family_without_samples_is_left_out() -> None:
    assert exposition([Family("x", "gauge", "h", [])], {}) == ""


@pytest.mark.parametrize(("value", "shown"), [(3.0, "3"), (0.1, "0.1"), (1e300, "1e+300"), (float("-inf"), "-Inf")])
def test_numbers_are_short(value: float, shown: str) -> None:
    assert number(value) == shown
