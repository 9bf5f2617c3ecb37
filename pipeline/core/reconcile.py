"""Compares what the usage log recorded with what a provider says that it billed, by day and model.

Of a request without an answer the log holds no tokens, only the most that it can have cost. So what was recorded has
two ends: what is known, and what is known plus what is unknown. Billed above the upper end is more than was recorded,
which must not be; billed below it says how much of the unknown was never billed.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from fractions import Fraction
from typing import Literal, NamedTuple

Verdict = Literal["agrees", "log_only", "export_only", "more", "less"]

Name = Literal["cost_nusd", "requests", "input", "output", "cached"]

_SNAPSHOT = re.compile(r"-\d{4}-\d{2}-\d{2}$", re.ASCII)
_NAMES: tuple[Name, ...] = ("cost_nusd", "requests", "input", "output", "cached")
_EVERY_MODEL = "(all models)"


class Recorded(NamedTuple):
    """What the log holds of a model on a day."""

    day: str
    """In UTC, as `2026-11-21`."""
    model: str
    requests: int
    """With an answer; so are the tokens and `cost_nusd`."""
    input: int
    cached: int
    output: int
    cost_nusd: int
    unknown_requests: int
    """Perhaps billed, but never answered."""
    unknown_nusd: int
    """The most that those cost."""
    unpriced: int
    """Requests whose price was not known; their cost is in none of the sums."""


class Billed(NamedTuple):
    """What one line of an export says; None where it says nothing."""

    day: str
    model: str | None
    requests: int | None = None
    input: int | None = None
    cached: int | None = None
    output: int | None = None
    cost_nusd: int | None = None


class Quantity(NamedTuple):
    """One number of both sides."""

    name: Name
    known: int
    most: int | None
    """`known` and what is unknown; None where the unknown has no upper bound."""
    billed: int

    @property
    def recorded(self) -> int:
        """The upper end of what was recorded, as far as there is one."""
        return self.known if self.most is None else self.most

    @property
    def difference(self) -> int:
        """Billed above (+) or below (-) what was recorded."""
        return self.billed - self.recorded

    @property
    def explained(self) -> int:
        """How much of the unknown was not billed, and so explains that less was billed."""
        return min(self.recorded - self.known, max(0, -self.difference))

    def verdict(self, tolerance: Fraction) -> Verdict:
        """Return `more`, `less` or `agrees`; differences up to `tolerance` of what was recorded agree."""
        if abs(self.difference) <= tolerance * self.recorded:
            return "agrees"
        if self.difference < 0:
            return "less"
        # Fewer or more tokens out of the cache make a bill smaller or greater, and the cost says so.
        return "agrees" if self.most is None or self.name == "cached" else "more"


class Comparison(NamedTuple):
    """A day and a model on both sides."""

    day: str
    model: str
    verdict: Verdict
    quantities: tuple[Quantity, ...]
    """Those that the export names; where the day and model is in the log only, those that it names elsewhere."""
    unpriced: int
    """Requests whose price was not known: what was billed for them cannot be compared."""

    @property
    def billed_above(self) -> bool:
        """Whether more was billed than was recorded."""
        if self.verdict == "export_only":
            return any(number.billed > 0 for number in self.quantities)
        return self.verdict == "more"


def family(model: str) -> str:
    """Return a model's name without the date of its snapshot.

    Answers name the snapshot, requests without an answer are recorded under the name that was asked for, and exports
    use either.
    """
    return _SNAPSHOT.sub("", model)


def reconcile(recorded: Iterable[Recorded], billed: Sequence[Billed], tolerance: Fraction) -> list[Comparison]:
    """Compare both sides by day and model, in that order; where a line of the export names no model, by day.

    Args:
        recorded: Any number of rows for a day and model.
        billed: Any number of lines for a day and model.
        tolerance: The share of what was recorded up to which a difference is none; at least 0.
    """
    by_model = all(line.model is not None for line in billed)
    names = [name for name in _NAMES if any(getattr(line, name) is not None for line in billed)] or _NAMES
    log: defaultdict[tuple[str, str], list[Recorded]] = defaultdict(list)
    export: defaultdict[tuple[str, str], list[Billed]] = defaultdict(list)
    for row in recorded:
        log[row.day, family(row.model) if by_model else _EVERY_MODEL].append(row)
    for line in billed:
        export[line.day, family(line.model) if by_model and line.model else _EVERY_MODEL].append(line)
    compared = []
    for key in sorted({*log, *export}):
        rows, lines = log.get(key, []), export.get(key, [])
        quantities = tuple(_quantities(names, rows, lines))
        if any(number.recorded or number.billed for number in quantities):
            verdict = _verdict(quantities, tolerance, in_log=bool(rows))
            compared.append(Comparison(*key, verdict, quantities, sum(row.unpriced for row in rows)))
    return compared


def _verdict(quantities: Sequence[Quantity], tolerance: Fraction, *, in_log: bool) -> Verdict:
    if not in_log:
        return "export_only"
    if not any(number.billed for number in quantities):
        return "log_only"
    verdicts = {number.verdict(tolerance) for number in quantities}
    return "more" if "more" in verdicts else "less" if "less" in verdicts else "agrees"


def _quantities(names: Sequence[Name], rows: Sequence[Recorded], lines: Sequence[Billed]) -> Iterable[Quantity]:
    for name in names:
        said = [value for line in lines if (value := getattr(line, name)) is not None]
        if said or not lines:
            known = sum(getattr(row, name) for row in rows)
            yield Quantity(name, known, _most(name, known, rows), sum(said))


def _most(name: Name, known: int, rows: Sequence[Recorded]) -> int | None:
    if name == "requests":
        return known + sum(row.unknown_requests for row in rows)
    if name == "cost_nusd":
        return None if any(row.unpriced for row in rows) else known + sum(row.unknown_nusd for row in rows)
    return None if any(row.unknown_requests or row.unknown_nusd for row in rows) else known
