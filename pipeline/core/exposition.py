"""The Prometheus text format: samples and histograms as lines."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from math import isfinite
from typing import Literal, NamedTuple

Labels = Mapping[str, str]
_ESCAPES = str.maketrans({"\\": r"\\", '"': r"\"", "\n": r"\n"})


class Sample(NamedTuple):
    """One number of a family, with the labels that tell it from the others."""

    value: float
    labels: Labels = {}  # noqa: RUF012 - a constant
    suffix: str = ""


class Family(NamedTuple):
    """All samples of one name."""

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    help: str
    samples: Sequence[Sample]


class Buckets:
    """Counts durations by bounds that are chosen beforehand.

    Args:
        bounds: Seconds, rising; what is longer than the last counts as well.
    """

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self._sum = 0.0

    def note(self, seconds: float) -> None:
        """Count one duration."""
        self._counts[bisect_left(self._bounds, seconds)] += 1
        self._sum += seconds

    def samples(self) -> list[Sample]:
        """The samples of a histogram."""
        found, seen = [], 0
        for bound, count in zip([*self._bounds, float("inf")], self._counts, strict=True):
            seen += count
            found.append(Sample(seen, {"le": number(bound)}, "_bucket"))
        return [*found, Sample(self._sum, {}, "_sum"), Sample(seen, {}, "_count")]


def exposition(families: Iterable[Family], common: Labels) -> str:
    """Return families as text; every sample has the labels in `common` too. A family without samples is left out."""
    return "".join(_family(family, common) for family in families if family.samples)


def number(value: float) -> str:
    """Return a number as the format writes it: the shortest that reads back as the same, `+Inf`, `NaN`."""
    if isfinite(value):
        return str(int(value)) if value == int(value) and abs(value) < 1e15 else repr(float(value))
    return {float("inf"): "+Inf", float("-inf"): "-Inf"}.get(value, "NaN")


def _family(family: Family, common: Labels) -> str:
    head = f"# HELP {family.name} {_help(family.help)}\n# TYPE {family.name} {family.kind}\n"
    return head + "".join(
        f"{family.name}{sample.suffix}{{{_labels({**common, **sample.labels})}}} {number(sample.value)}\n"
        for sample in family.samples
    )


def _labels(labels: Labels) -> str:
    return ",".join(f'{name}="{value.translate(_ESCAPES)}"' for name, value in labels.items())


def _help(text: str) -> str:
    return text.replace("\\", r"\\").replace("\n", r"\n")
