import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, multiple, rule

from pipeline.core.budget import Budget, parse_usd
from pipeline.errors import UsageError

USD = 1_000_000_000
CAP = 1000


def test_five_dollars_less_what_is_spent_unknown_and_reserved_remain() -> None:
    budget = Budget(5 * USD, spent=2 * USD, unknown=1 * USD)
    budget.reserve(USD // 2)

    assert budget.remaining == 5 * USD - 2 * USD - 1 * USD - USD // 2


def test_the_last_nano_dollar_can_be_reserved_and_no_more() -> None:
    budget = Budget(100, spent=40)
    budget.reserve(59)

    assert budget.fits(1)
    assert not budget.fits(2)


def test_a_reservation_that_does_not_fit_is_refused_and_changes_nothing() -> None:
    budget = Budget(100)
    budget.reserve(60)

    with pytest.raises(ValueError, match="cannot be reserved"):
        budget.reserve(41)
    assert budget.reserved == 60


def test_without_a_cap_everything_fits() -> None:
    budget = Budget(None, spent=10**18)

    assert budget.fits(10**18)
    assert budget.remaining is None


def test_settling_frees_what_was_reserved_too_much() -> None:
    budget = Budget(100)
    budget.reserve(80)
    budget.settle(80, 30)

    assert (budget.spent, budget.reserved, budget.remaining) == (30, 0, 70)


def test_an_attempt_without_an_answer_costs_its_whole_reservation() -> None:
    budget = Budget(100)
    budget.reserve(80)
    budget.charge_unknown(80)

    assert (budget.spent, budget.unknown, budget.remaining) == (0, 80, 20)


def test_a_cost_above_its_reservation_is_recorded_in_full_and_blocks_new_reservations() -> None:
    budget = Budget(100)
    budget.reserve(80)
    budget.settle(80, 130)

    assert (budget.spent, budget.remaining) == (130, 0)
    assert not budget.fits(0)


@pytest.mark.parametrize("amount", [-1, 11])
def test_only_what_is_reserved_can_be_released(amount: int) -> None:
    budget = Budget(100)
    budget.reserve(10)

    with pytest.raises(ValueError, match="not reserved"):
        budget.release(amount)


def test_a_negative_reservation_is_refused() -> None:
    with pytest.raises(ValueError, match="cannot be reserved"):
        Budget(100).reserve(-1)


def test_the_soft_limit_is_reported_once() -> None:
    budget = Budget(100, soft=50)
    budget.reserve(60)
    before = budget.crossed_soft()
    budget.settle(60, 49)
    just_below = budget.crossed_soft()
    budget.reserve(1)
    budget.charge_unknown(1)

    assert (before, just_below) == (False, False)
    assert [budget.crossed_soft(), budget.crossed_soft()] == [True, False]


def test_a_soft_limit_that_an_earlier_run_warned_of_is_not_reported_again_but_a_higher_one_is() -> None:
    warned = {}
    for soft in (40, 50, 60):
        budget = Budget(100, soft=soft, spent=70)
        budget.warned = 50
        warned[soft] = budget.crossed_soft()

    assert warned == {40: False, 50: False, 60: True}


def test_without_a_soft_limit_none_is_crossed() -> None:
    assert not Budget(100, spent=100).crossed_soft()


class BudgetMachine(RuleBasedStateMachine):
    """Invariant I2: as long as costs stay within reservations, what is recorded stays within the cap."""

    reservations = Bundle("reservations")

    def __init__(self) -> None:
        super().__init__()
        self.budget = Budget(CAP)
        self.recorded = 0

    @rule(target=reservations, amount=st.integers(0, CAP + 10))
    def reserve(self, amount: int) -> object:
        if not self.budget.fits(amount):
            return multiple()
        self.budget.reserve(amount)
        return amount

    @rule(reserve=consumes(reservations), share=st.fractions(0, 1))
    def settle(self, reserve: int, share: float) -> None:
        cost = int(reserve * share)
        self.budget.settle(reserve, cost)
        self.recorded += cost

    @rule(reserve=consumes(reservations))
    def charge_unknown(self, reserve: int) -> None:
        self.budget.charge_unknown(reserve)
        self.recorded += reserve

    @rule(reserve=consumes(reservations))
    def release(self, reserve: int) -> None:
        self.budget.release(reserve)

    @invariant()
    def recorded_stays_within_the_cap(self) -> None:
        budget = self.budget
        assert budget.spent + budget.unknown + budget.reserved <= CAP
        assert budget.spent + budget.unknown == self.recorded
        assert budget.remaining == CAP - budget.spent - budget.unknown - budget.reserved


TestBudgetMachine = BudgetMachine.TestCase
TestBudgetMachine.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)


@pytest.mark.parametrize(
    ("text", "nusd"),
    [
        ("5", 5 * USD),
        ("0.50", USD // 2),
        (4, 4 * USD),
        (0.1, 100_000_000),
        ("0.000001", 1000),
        (0.000001, 1000),
        ("1.2345678919", 1_234_567_891),
        ("1000000000", 10**18),
    ],
)
def test_a_budget_is_read_to_the_nano_dollar_and_never_rounded_up(text: str | float, nusd: int) -> None:
    assert parse_usd(text) == nusd


@pytest.mark.parametrize(
    "text",
    ["0", 0, "-1", -1, "NaN", float("nan"), "inf", float("inf"), "1e400", 10**400, 1e300, "1e-9", 1e-9, "1e2"],
)
def test_a_budget_out_of_range_is_refused(text: str | float) -> None:
    with pytest.raises(UsageError, match="is no budget") as refused:
        parse_usd(text)

    assert refused.value.exit_code == 2


@pytest.mark.parametrize(
    "text",
    ["", " 5", "$5", "5 USD", "5,00", "1_000", "\u0665", ".5", "5.", "+5", True, "1000000000.01", "9" * 5000],
)
def test_a_budget_that_is_no_plain_number_is_refused(text: str | float) -> None:
    with pytest.raises(UsageError, match="is no budget"):
        parse_usd(text)


@given(st.integers(1000, 10**18))
def test_every_whole_number_of_nano_dollars_is_read_back(nusd: int) -> None:
    assert parse_usd(f"{nusd // USD}.{nusd % USD:09}") == nusd
