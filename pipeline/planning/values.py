"""What a plan says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field

from pipeline.config import Shutdown

Interval = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Cost:
    """What the requests cost in one tier, in nano-USD, by kind of token."""

    input_nusd: int
    """The input, none of it cached."""
    cached_nusd: int
    """The input, if all of it were read from the cache."""
    output_bound_nusd: int | None
    """The most output; None where nothing bounds it."""
    least_nusd: int
    """The input at its cheapest, and no output."""
    bound_nusd: int | None
    """The input at its dearest, and the most output."""
    price_source: str | None
    """Where the prices are from and of which day; None where there is nothing to send."""


@dataclass(frozen=True, slots=True)
class Duplicates:
    """Records that say what an earlier one says: they would be sent, and paid for, again."""

    records: int
    tokens_input: int
    cost_nusd: int | None
    """Of their input; None where a price is not known."""
    exact: bool
    """False where there were too many records to compare all: then these are estimates."""


@dataclass(frozen=True, slots=True)
class Sampled:
    """How far the figures of a plan that was made from a sample may be off: 95 % intervals."""

    drawn: int
    """Lines."""
    confidence: float
    records: Interval
    requests: Interval
    tokens_input: Interval
    tokens_output_bound: Interval | None
    cost_nusd: Interval | None


@dataclass(frozen=True, slots=True)
class Plan:
    """What a run would do now. What earlier runs of the output settled is in `records` and `settled` alone."""

    name: str
    model: str
    records: int
    """Lines that are no blank ones, settled ones included."""
    bad: Mapping[str, int]
    """Records that would become dead letters without being sent, by code."""
    requests: int
    tokens_input: int
    tokens_output_bound: int | None
    """The most output tokens; None where nothing bounds them."""
    seconds: float
    """The least time that the limits allow; 0 where no limit is known."""
    bound_by: str
    """The limit that allows least: `requests`, `tokens`, `requests a second`, or `concurrency` where none is known."""
    cost_nusd: int | None
    """The input, none of it cached, and no output; None where the price is not known."""
    cost_bound_nusd: int | None
    """The most: all output, at the dearest that may be charged; None where that or the price is not known."""
    price_source: str | None
    """Where the prices are from and of which day."""
    exact: bool
    """Whether the tokens were counted with the model's vocabulary; else they are estimated, and up to 40 % off.

    Images and the schemas of tools are estimated in any case.
    """
    cost_least_nusd: int | None
    """The least: no output, at the cheapest that may be charged. With `cost_bound_nusd` it is the interval of the cost;
    with a sample each is the far end of its own interval."""
    cost_expected_nusd: int | None = None
    """At what a record has cost so far on average; None where no earlier run of the output says."""
    cost: Cost | None = None
    """`cost_nusd` by kind of token, in the service tier that is asked for."""
    batch_api: Cost | None = None
    """What the Batch API would cost; None where no price for it is known."""
    settled: int = 0
    """Records that earlier runs of the output settled."""
    bad_examples: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """By code the first such records, as `file:line`."""
    too_long: int = 0
    """Records that are cut to what the model takes; those that are refused instead are in `bad`, as `too_long`."""
    duplicates: Duplicates | None = None
    """None where only a sample was read."""
    seconds_by: Mapping[str, float] = field(default_factory=dict)
    """The least time that each known limit allows."""
    seconds_per_latency: float = 0.0
    """The least time that the concurrency allows, for each second that an answer takes."""
    shutdowns: Sequence[Shutdown] = ()
    """Models that are switched off before the run can have ended."""
    sample: Sampled | None = None
    """How far the figures may be off; None where every record was read."""

    def as_dict(self) -> dict[str, object]:
        return asdict(self)
