"""From figures to the plan: time at the limits, what is expected, and which models end too soon."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta

from pipeline.assembly import Parts
from pipeline.config import Loaded, Shutdown, shutdown_before
from pipeline.core.limits import Limits
from pipeline.core.projection import expected
from pipeline.planning.figures import Figures
from pipeline.planning.prices import Prices
from pipeline.planning.values import Cost, Plan
from pipeline.storage.progress import Progress

_MINUTE = 60.0


def conclude(loaded: Loaded, parts: Parts, settled: Progress, figures: Figures, prices: Prices) -> Plan:
    """Return the plan that figures make."""
    by = _seconds_by(parts.limits, figures)
    bound_by = max(by, key=lambda limit: by[limit], default="concurrency")
    seconds, per_latency = by.get(bound_by, 0.0), figures.requests / parts.limits.concurrency
    cost = figures.cost
    return Plan(
        name=loaded.config.name,
        model=loaded.config.model or ", ".join(sorted(prices.models)[:3]),
        records=figures.records + settled.done.total,
        bad=figures.bad,
        requests=figures.requests,
        tokens_input=figures.tokens_input,
        tokens_output_bound=None if prices.unbounded else figures.tokens_output,
        seconds=seconds,
        bound_by=bound_by if seconds else "concurrency",
        cost_nusd=None if cost is None else cost.input_nusd,
        cost_bound_nusd=None if cost is None else cost.bound_nusd,
        price_source=None if cost is None else cost.price_source,
        exact=prices.exact,
        cost_least_nusd=None if cost is None else cost.least_nusd,
        cost_expected_nusd=None if cost is None else _expected(cost, settled, figures),
        cost=cost,
        batch_api=figures.batch_api,
        settled=settled.done.total,
        bad_examples=figures.bad_examples,
        too_long=figures.too_long,
        duplicates=figures.duplicates,
        seconds_by=by,
        seconds_per_latency=per_latency,
        shutdowns=_shutdowns(loaded, prices.models, timedelta(seconds=max(seconds, per_latency))),
        sample=figures.sample,
    )


def _seconds_by(limits: Limits, figures: Figures) -> Mapping[str, float]:
    known = {
        "requests": (figures.requests * _MINUTE, limits.rpm),
        "tokens": (figures.charged * _MINUTE, limits.tpm),
        "requests a second": (figures.requests, limits.per_second),
    }
    return {name: wanted / limit for name, (wanted, limit) in known.items() if limit}


def _expected(cost: Cost, settled: Progress, figures: Figures) -> int | None:
    found = expected(settled.spent_nusd, settled.done.total, figures.records - sum(figures.bad.values()))
    if found is None:
        return None
    return max(cost.least_nusd, found if cost.bound_nusd is None else min(found, cost.bound_nusd))


def _shutdowns(loaded: Loaded, models: Iterable[str], takes: timedelta) -> list[Shutdown]:
    """The models that are switched off before a run that begins now can have ended."""
    found = [shutdown_before(loaded, model, datetime.now(UTC) + takes) for model in sorted(models)]
    return [shutdown for shutdown in found if shutdown is not None]
