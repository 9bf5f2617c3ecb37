"""A plan in words."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from pipeline.observers.progress import duration, money, short

if TYPE_CHECKING:
    from pipeline.planning import Cost, Plan
    from pipeline.planning.values import Interval


def plan_block(made: Plan) -> str:
    """Return a plan for people."""
    rows = [
        ("records", _records(made)),
        ("settled", _settled(made)),
        ("failing", _failing(made)),
        ("too long", f"{made.too_long:,} are cut to what the model takes" if made.too_long else ""),
        ("repeated", _repeated(made)),
        ("requests", f"{made.requests:,}"),
        ("tokens", _tokens(made)),
        ("time", _time(made)),
        ("cost", _cost(made)),
        ("", _kinds(made)),
        ("so far", _expected(made)),
        ("batch API", _batch_api(made)),
        *(("warning", shutdown.warning(datetime.now(UTC).date())) for shutdown in made.shutdowns),
        ("sample", _sample(made)),
    ]
    lines = [f"  {name:<9} {text}" for name, text in rows if text]
    return "\n".join([f"{made.name}: {made.model}; nothing was sent", *lines])


def _records(made: Plan) -> str:
    return f"{'' if made.sample is None else 'about '}{made.records:,}"


def _settled(made: Plan) -> str:
    if not made.settled:
        return ""
    return f"{made.settled:,} by earlier runs; what follows is of the {made.records - made.settled:,} that are left"


def _failing(made: Plan) -> str:
    if not made.bad:
        return ""
    codes = [f"{code}: {count:,} ({', '.join(made.bad_examples[code])})" for code, count in sorted(made.bad.items())]
    return f"{sum(made.bad.values()):,} become dead letters without being sent: {'; '.join(codes)}"


def _repeated(made: Plan) -> str:
    same = made.duplicates
    if same is None or not same.records:
        return ""
    about = "" if same.exact else "about "
    cost = "" if same.cost_nusd is None else f"; {about}{money(same.cost_nusd)} of the input's cost"
    return f"{about}{same.records:,} say what an earlier one says{cost}"


def _tokens(made: Plan) -> str:
    about = "" if made.exact and made.sample is None else "about "
    if made.tokens_output_bound is None:
        return f"{about}{short(made.tokens_input)} in, and nothing bounds the output (set max_output_tokens)"
    most = f", at most {short(made.tokens_output_bound)} out" if made.tokens_output_bound else ""
    off = "" if made.exact else "; estimated, up to 40% off"
    return f"{about}{short(made.tokens_input)} in{most}{off}"


def _time(made: Plan) -> str:
    flight = f"{duration(made.seconds_per_latency)} for each second of an answer"
    if not made.seconds:
        return f"not bound by a known limit, but by the endpoint and `concurrency`: {flight}"
    others = [f"{name}: {duration(each)}" for name, each in made.seconds_by.items() if name != made.bound_by]
    others.append(f"concurrency: {flight}")
    return f"at least {duration(made.seconds)}, bound by the limit of {made.bound_by} ({', '.join(others)})"


def _cost(made: Plan) -> str:
    if made.cost_nusd is None:
        return "unknown: no price is known for this model"
    about = "" if made.sample is None else "about "
    source = f" ({made.price_source})" if made.price_source else ""
    if made.cost_bound_nusd is None:
        return f"{about}{money(made.cost_nusd)} for the input, and nothing bounds the output{source}"
    if made.cost_bound_nusd == made.cost_nusd == made.cost_least_nusd:
        return f"{money(made.cost_nusd)}{source}"
    least = money(made.cost_least_nusd or 0)
    return f"{about}{money(made.cost_nusd)} for the input; from {least} to {money(made.cost_bound_nusd)} in all{source}"


def _kinds(made: Plan) -> str:
    """What the cost is made of, where that is more than the input."""
    cost = made.cost
    if cost is None:
        return ""
    parts = []
    if cost.cached_nusd < cost.input_nusd:
        parts.append(f"the input at most {money(cost.input_nusd - cost.cached_nusd)} less where it is cached")
    if cost.output_bound_nusd:
        parts.append(f"the output at most {money(cost.output_bound_nusd)}")
    return ", ".join(parts)


def _expected(made: Plan) -> str:
    if made.cost_expected_nusd is None:
        return ""
    return f"about {money(made.cost_expected_nusd)}, if the rest costs what the settled records did on average"


def _batch_api(made: Plan) -> str:
    cost = made.batch_api
    if cost is None or not cost.input_nusd:
        return ""
    return f"{_range(cost)}: what the Batch API would cost ({cost.price_source})"


def _range(cost: Cost) -> str:
    if cost.bound_nusd is None:
        return f"{money(cost.input_nusd)} for the input"
    if cost.least_nusd == cost.bound_nusd:
        return money(cost.bound_nusd)
    return f"{money(cost.least_nusd)} to {money(cost.bound_nusd)}"


def _sample(made: Plan) -> str:
    sample = made.sample
    if sample is None:
        return ""
    within = [
        f"records {_within(sample.records)}",
        f"requests {_within(sample.requests)}",
        f"tokens in {_within(sample.tokens_input)}",
    ]
    if sample.cost_nusd is not None:
        least, most = sample.cost_nusd
        within.append(f"cost of the input {money(least)} to {money(most)}")
    return (
        f"{sample.drawn:,} lines were read, all else is estimated from them; with 95% confidence: {', '.join(within)}. "
        "Repeated records were not looked for, and rare dead letters may not be among these"
    )


def _within(interval: Interval) -> str:
    return f"{interval[0]:,} to {interval[1]:,}"
