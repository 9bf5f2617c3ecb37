from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from pipeline.core.limits import key_for
from pipeline.core.monthly import (
    SHARE,
    Caps,
    Claim,
    Key,
    MonthlyCap,
    Want,
    covered,
    grant,
    lowered,
    worth,
)

NOVEMBER, DECEMBER = "2026-11", "2026-12"
HERE = (NOVEMBER, "luna")
ALL = MonthlyCap("budget.monthly_usd", 1_000)


def nobody(_month: str) -> Sequence[Claim]:
    return ()


def want(amount: int, key: Key = HERE) -> Want:
    return key, amount


def test_attempts_are_admitted_in_order_for_as_long_as_they_fit() -> None:
    given = grant(Caps([ALL]), {}, {}, [want(600), want(400), want(1)], nobody)

    assert (given.admitted, given.claims, given.left) == (2, {HERE: 1_000}, 0)
    assert given.refusal is not None
    assert (given.refusal.cap, given.refusal.month, given.refusal.claimed) == (ALL, NOVEMBER, 1_000)
    assert given.refusal.hopeless


def test_what_others_claim_is_not_left() -> None:
    def others(_month: str) -> Sequence[Claim]:
        return [Claim("here", "luna", 300), Claim("there", "sol", 200)]

    given = grant(Caps([ALL]), {}, {}, [want(500), want(1)], others)

    assert (given.admitted, given.claims) == (1, {HERE: 500})


def test_a_run_that_could_give_back_leaves_hope_and_one_that_is_dead_does_not() -> None:
    for giving in (True, False):
        others = {NOVEMBER: [Claim("here", "luna", 900, giving=giving)]}
        given = grant(Caps([ALL]), {}, {}, [want(200)], others.__getitem__)
        assert given.refusal is not None
        assert given.refusal.hopeless is not giving


def test_hope_in_what_does_not_count_is_none() -> None:
    cap = MonthlyCap("monthly_usd of endpoint here", 100, endpoint="here")
    given = grant(Caps([cap]), {}, {}, [want(200)], lambda _: [Claim("there", "luna", 900, giving=True)])

    assert given.refusal is not None
    assert given.refusal.hopeless


def test_what_was_claimed_and_is_not_used_needs_no_room() -> None:
    caps = Caps([ALL])
    full = [Claim("here", "sol", 900)]

    assert covered(caps, {HERE: 100}, {HERE: 40}, [want(30), want(30)])
    assert not covered(caps, {HERE: 100}, {HERE: 40}, [want(30), want(31)])
    assert grant(caps, {HERE: 100}, {HERE: 40}, [want(60)], lambda _: full).claims == {HERE: 100}


def test_each_month_has_its_own_sum() -> None:
    given = grant(Caps([ALL]), {HERE: 1_000}, {HERE: 1_000}, [want(900, (DECEMBER, "luna")), want(1)], nobody)

    assert given.admitted == 1
    assert given.refusal is not None
    assert given.refusal.month == NOVEMBER


def test_every_cap_that_holds_is_kept() -> None:
    endpoint = MonthlyCap("monthly_usd of endpoint here", 500, endpoint="here")
    model = MonthlyCap("limits.luna*.monthly_usd of endpoint here", 300, endpoint="here", key="luna*")
    caps = Caps([ALL, endpoint, model], ["luna*", "default"])

    def others(_month: str) -> Sequence[Claim]:
        return [Claim("there", "luna", 400), Claim("here", "luna-2026", 50), Claim("here", "sol", 100)]

    def most(key: Key) -> int:
        return next(
            amount - 1 for amount in range(1, 2_000) if not grant(caps, {}, {}, [want(amount, key)], others).admitted
        )

    assert most(HERE) == 250, "the model's: 300 less 50"
    assert most((NOVEMBER, "terra")) == 350, "the endpoint's: 500 less 150"


def test_a_model_without_a_cap_needs_no_claim() -> None:
    caps = Caps([MonthlyCap("limits.luna.monthly_usd of endpoint here", 10, endpoint="here", key="luna")], ["luna"])
    key = (NOVEMBER, "sol")
    given = grant(caps, {}, {}, [want(500, key)], nobody, ahead=9)

    assert covered(caps, {}, {}, [want(500, key)])
    assert (given.admitted, given.claims, given.left) == (1, {}, None)


@pytest.mark.parametrize(
    ("model", "key"),
    [("luna", "luna"), ("luna-max", "luna*"), ("luna-mini-2", "luna-mini*"), ("sol", "default"), ("lun", "default")],
)
def test_a_model_belongs_to_the_most_specific_key(model: str, key: str) -> None:
    assert key_for(model, ["luna", "luna*", "luna-mini*", "default"]) == key


def test_a_run_claims_ahead_what_it_wants_or_a_small_share_of_what_is_left() -> None:
    plenty = MonthlyCap("budget.monthly_usd", 1_000_000)

    assert grant(Caps([plenty]), {}, {}, [want(100)], nobody, ahead=50).claims == {HERE: 150}
    assert grant(Caps([ALL]), {}, {}, [want(360)], nobody, ahead=50).claims == {HERE: 360 + 640 // SHARE}
    assert grant(Caps([ALL]), {}, {}, [want(1_000)], nobody, ahead=50).claims == {HERE: 1_000}


def test_who_finds_no_room_claims_nothing_ahead() -> None:
    assert grant(Caps([ALL]), {}, {}, [want(100), want(901)], nobody, ahead=500).claims == {HERE: 100}


def test_claims_are_lowered_to_what_is_used_and_what_is_kept_ahead_in_this_month() -> None:
    old = (DECEMBER, "luna")
    claims = {HERE: 500, old: 500}

    assert lowered(claims, {HERE: 100, old: 30}, DECEMBER, 50) == {HERE: 100, old: 80}
    assert lowered({HERE: 120}, {HERE: 100}, NOVEMBER, 50) == {HERE: 120}, "it is not raised"
    assert lowered({HERE: 120}, {HERE: 170}, NOVEMBER, 50) == {HERE: 170}, "what cost more than was reserved is claimed"
    assert lowered({HERE: 120}, {}, NOVEMBER, 0) == {HERE: 0}


def test_the_worth_of_a_second_is_not_that_of_a_burst() -> None:
    assert (worth(100, 2.0), worth(100, 0.001), worth(-5, 1.0)) == (50, 400, 0)


@given(st.integers(0, 2_000), st.lists(st.integers(0, 400), max_size=8), st.integers(0, 2_000), st.integers(0, 500))
def test_a_run_can_claim_all_that_is_left_and_never_more(cap: int, amounts: list[int], other: int, ahead: int) -> None:
    caps = Caps([MonthlyCap("budget.monthly_usd", cap)])
    given = grant(caps, {}, {}, [want(amount) for amount in amounts], lambda _: [Claim("e", "m", other)], ahead)
    fitting = 0
    while fitting < len(amounts) and (not any(amounts[: fitting + 1]) or sum(amounts[: fitting + 1]) + other <= cap):
        fitting += 1

    assert given.admitted == fitting
    assert sum(given.claims.values()) <= max(0, cap - other)


class Run:
    """One ledger. What is `durable` outlives the process; `claims` is what its process last wrote of itself."""

    def __init__(self, model: str) -> None:
        self.model = model
        self.spent: Counter[Key] = Counter()
        self.inflight: dict[int, tuple[Key, int]] = {}
        self.alive = False
        self.claims: Mapping[Key, int] = {}

    def used(self) -> Counter[Key]:
        used = Counter(self.spent)
        for key, amount in self.inflight.values():
            used[key] += amount
        return used


class CapMachine(RuleBasedStateMachine):
    """Runs that share caps and are killed at any step: claims are at least what is reserved, and within the caps."""

    def __init__(self) -> None:
        super().__init__()
        self.shared: dict[int, dict[Key, int]] = {}
        self.month = NOVEMBER
        self.attempts = 0
        self.billed: Counter[Key] = Counter()

    @initialize(total=st.integers(0, 3_000), one=st.integers(0, 2_000))
    def begin(self, total: int, one: int) -> None:
        self.caps = Caps([MonthlyCap("all", total), MonthlyCap("luna", one, endpoint="e", key="luna")], ["luna"])
        self.runs = [Run(model) for model in ("luna", "luna", "sol", "sol")]

    def others(self, number: int, month: str) -> Sequence[Claim]:
        return [
            Claim("e", key[1], claim, giving=self.runs[other].alive and claim > self.runs[other].spent[key])
            for other, claims in self.shared.items()
            if other != number
            for key, claim in claims.items()
            if key[0] == month
        ]

    def write(self, number: int, claims: Mapping[Key, int]) -> None:
        self.shared[number] = dict(claims)
        self.runs[number].claims = dict(claims)

    @rule(number=st.integers(0, 3))
    def start(self, number: int) -> None:
        """Begin or resume: recovery makes unknown spend of what was in flight, then the claims are what is used."""
        run = self.runs[number]
        if run.alive:
            return
        for key, amount in run.inflight.values():
            run.spent[key] += amount
        run.inflight = {}
        run.alive = True
        self.write(number, {**dict.fromkeys(self.shared.get(number, {}), 0), **run.used()})

    @rule(
        number=st.integers(0, 3),
        amounts=st.lists(st.integers(0, 300), min_size=1, max_size=4),
        settled=st.integers(0, 3),
        share=st.fractions(0, 1),
        ahead=st.integers(0, 400),
        dies=st.sampled_from(["", "", "", "before", "between", "after"]),
    )
    def commit(self, number: int, amounts: list[int], settled: int, share: float, ahead: int, dies: str) -> None:
        """One group commit: attempts end, others begin. The process may die before, between or after the two files."""
        run = self.runs[number]
        if not run.alive:
            return
        spent, inflight = Counter(run.spent), dict(run.inflight)
        for attempt in list(inflight)[:settled]:
            key, amount = inflight.pop(attempt)
            cost = int(amount * share)
            self.billed[key] += cost
            spent[key] += cost
        used = Counter(spent)
        for key, amount in inflight.values():
            used[key] += amount
        wants = [((self.month, run.model), amount) for amount in amounts]
        admitted = len(wants)
        if not covered(self.caps, run.claims, used, wants):
            given = grant(self.caps, run.claims, used, wants, lambda month: self.others(number, month), ahead)
            assert all(claim >= run.claims.get(key, 0) for key, claim in given.claims.items())
            if dies == "before":
                run.alive = False
                return
            self.write(number, given.claims)
            admitted = given.admitted
        if dies in ("before", "between"):
            run.alive = False
            return
        run.spent, run.inflight = spent, inflight
        for want in wants[:admitted]:
            self.attempts += 1
            run.inflight[self.attempts] = want
        run.alive = dies != "after"

    @rule(number=st.integers(0, 3), ahead=st.integers(0, 100))
    def lower(self, number: int, ahead: int) -> None:
        run = self.runs[number]
        if run.alive:
            self.write(number, lowered(run.claims, run.used(), self.month, ahead))

    @rule(number=st.integers(0, 3))
    def kill(self, number: int) -> None:
        self.runs[number].alive = False

    @precondition(lambda self: self.month == NOVEMBER)
    @rule()
    def a_month_ends(self) -> None:
        self.month = DECEMBER

    @rule(number=st.integers(0, 3))
    def all_that_is_left_can_be_had(self, number: int) -> None:
        run = self.runs[number]
        if not run.alive:
            return
        key, used = (self.month, run.model), run.used()
        claims = lowered(run.claims, used, self.month, 0)
        others = lambda month: self.others(number, month)  # noqa: E731 - said once
        left = grant(self.caps, claims, used, [(key, 0)], others).left
        assert left is not None
        assert grant(self.caps, claims, used, [(key, left)], others).admitted == 1
        assert grant(self.caps, claims, used, [(key, left + 1)], others).admitted == 0

    @invariant()
    def claims_cover_what_may_be_billed_and_stay_within_every_cap(self) -> None:
        for number, run in enumerate(self.runs):
            for key, used in run.used().items():
                assert used <= self.shared.get(number, {}).get(key, 0)
        for month in (NOVEMBER, DECEMBER):
            claimed = [
                (key[1], claim) for claims in self.shared.values() for key, claim in claims.items() if key[0] == month
            ]
            total, luna = self.caps._caps
            assert sum(claim for _, claim in claimed) <= total.nusd
            assert sum(claim for model, claim in claimed if model == "luna") <= luna.nusd
        used_by_all: Counter[Key] = Counter()
        for run in self.runs:
            used_by_all.update(run.used())
        assert all(billed <= used_by_all[key] for key, billed in self.billed.items())


TestCapMachine = CapMachine.TestCase
TestCapMachine.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
