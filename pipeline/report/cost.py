"""What a run cost, taken apart: by kind of token, by kind of spend, against the budget and an estimate."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from pipeline.core.apportion import apportion
from pipeline.observers.progress import money, short
from pipeline.observers.recorded import Recorded, Sum
from pipeline.types import Json

_WIDTH, _LEAST = 1000, 4
"""Of a meter, and of a part of it that is not nothing."""
_NUSD = 1_000_000_000
"""In a dollar."""


class Share(NamedTuple):
    """A part of a meter, from 0 to 1000."""

    kind: str
    x: float
    width: float
    title: str


class Meter(NamedTuple):
    """A whole and its parts, side by side."""

    shares: Sequence[Share]


class Estimate(NamedTuple):
    """What the whole input was expected to cost, by its plan."""

    nusd: int
    """Without any output."""
    most_nusd: int | None
    """With the most output; None where nothing bounds it."""

    @property
    def short(self) -> str:
        """A few words."""
        if self.most_nusd == self.nusd:
            return f"planned: {money(self.nusd)}"
        return f"planned: ≥ {money(self.nusd)}" if self.most_nusd is None else f"planned: ≤ {money(self.most_nusd)}"

    @property
    def sentence(self) -> str:
        if self.most_nusd == self.nusd:
            return f"The plan of the whole input says {money(self.nusd)}."
        bound = f"at most {money(self.most_nusd)} with all output" if self.most_nusd else "nothing bounds its output"
        return f"The plan of the whole input says {money(self.nusd)} for the input alone, and {bound}."


class Row(NamedTuple):
    """A row of a table of costs."""

    name: str
    amount: str
    exact: str
    """The amount, not shortened."""
    price: str | None
    """None where the table has no prices."""
    cost: str


def dollars(nusd: int) -> str:
    """Return a round sum, such as a budget, without zeros that say nothing."""
    whole, point, rest = money(nusd).partition(".")
    return f"{whole}{point}{rest[:2]}{rest[2:].rstrip('0')}"


def meter(whole: float, parts: Sequence[tuple[str, float, str]]) -> Meter:
    """Return the parts (kind, amount, title) of a whole, which is at least their sum. None is too small to be seen."""
    whole = max(whole, sum(amount for _, amount, _ in parts)) or 1
    seen = [(kind, max(_LEAST, amount / whole * _WIDTH), title) for kind, amount, title in parts if amount]
    too_wide = max(0.0, sum(width for _, width, _ in seen) - _WIDTH)
    widest = max((width for _, width, _ in seen), default=0.0)
    shares: list[Share] = []
    x = 0.0
    for kind, width, title in seen:
        fitting = width - too_wide if width == widest else width
        shares.append(Share(kind, x, fitting, title))
        x += fitting
    return Meter(shares)


def budget_meter(sums: Json) -> Meter:
    """Return what is spent, perhaps spent and set aside, against the budget; against their sum where there is none."""
    spent, unknown, reserved = sums["spent_nusd"], sums["unknown_nusd"], sums["reserved_nusd"]
    cap = sums["cap_nusd"]
    left = max(0, (cap or 0) - spent - unknown - reserved)
    parts = [
        ("ok", spent - sums["retried_nusd"], f"spent {money(spent - sums['retried_nusd'])}"),
        ("again", sums["retried_nusd"], f"spent on retries {money(sums['retried_nusd'])}"),
        ("unknown", unknown, f"unknown outcome, at most {money(unknown)}"),
        ("open", reserved, f"set aside for what is in flight {money(reserved)}"),
        ("rest", left, f"{dollars(left)} left"),
    ]
    return meter(cap or 0, parts)


def cost_sentences(summary: Json, estimate: Estimate | None) -> str:
    """Return what was spent, of which budget, and how that compares with what was expected."""
    sums = summary["money"]
    cap = "; no budget was set" if sums["cap_nusd"] is None else f" of a budget of {dollars(sums['cap_nusd'])}"
    unknown = sums["unknown_nusd"]
    lost = f" At most {money(unknown)} more may have been billed for answers that were lost." if unknown else ""
    expected = estimate.sentence if estimate is not None else _projected(summary)
    return f"{money(sums['spent_nusd'])} spent{cap}.{lost} {expected}"


def _projected(summary: Json) -> str:
    """Return what the whole input will cost; empty where it is done, or nobody knows how much is left."""
    records, now, spent = summary["records"], summary.get("now"), summary["money"]["spent_nusd"]
    share = (records["ok"] + records["failed"]) / records["total"] if records["total"] else now and now["fraction"]
    if not share or share >= 1 or not spent:
        return ""
    return f"At this rate the whole input costs {money(int(spent / share))}."


def by_token(recorded: Recorded) -> list[Row]:
    """Return tokens and cost by kind of token. Costs are shares of what was spent, by list price, and add up to it."""
    sums = [each for each in recorded.sums if each.kind != "unknown"]
    kinds = _kinds(sums)
    rates = recorded.about.rates
    total = sum(each.cost for each in sums)
    weights = [tokens * rate for (_, tokens), rate in zip(kinds, rates, strict=True)] if rates else []
    costs = apportion(total, weights) if any(weights) else None
    return [
        Row(
            name,
            short(tokens),
            f"{tokens:,}",
            _price(rates[number]) if rates else "",
            money(costs[number]) if costs else "",
        )
        for number, (name, tokens) in enumerate(kinds)
        if tokens
    ]


def _price(nusd: int) -> str:
    dollars = nusd / _NUSD
    return f"${dollars:.2f}" if dollars * 100 == round(dollars * 100) else f"${dollars:.4g}"


def by_outcome(recorded: Recorded) -> list[Row]:
    """Return requests and cost by what became of them."""
    names = {
        "ok": "answered",
        "retried": "answered when sent again",
        "unknown": "outcome unknown (at most)",
    }
    rows = []
    for kind, name in names.items():
        sums = [each for each in recorded.sums if each.kind == kind]
        requests = sum(each.requests for each in sums)
        if requests:
            rows.append(Row(name, short(requests), f"{requests:,}", None, money(sum(each.cost for each in sums))))
    return rows


def _kinds(sums: Sequence[Sum]) -> list[tuple[str, int]]:
    cached, written = sum(each.cached for each in sums), sum(each.cache_write for each in sums)
    reasoning = sum(each.reasoning for each in sums)
    return [
        ("input", sum(each.input for each in sums) - cached - written),
        ("cached input", cached),
        ("written to the cache", written),
        ("output", sum(each.output for each in sums) - reasoning),
        ("reasoning", reasoning),
    ]
