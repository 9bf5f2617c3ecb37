from __future__ import annotations

from datetime import UTC, datetime
from typing import NamedTuple

import pytest

from pipeline.backends.fake import FakeBackend
from pipeline.errors import Ambiguous, Malformed, PipelineError, Rejected, Throttled, Transient
from pipeline.middleware.reservation import Reservation
from pipeline.types import Item, Record, Request, Response, Usage

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC).timestamp()


class Released(NamedTuple):
    attempt: str
    billed: bool
    ambiguous: bool


class Intents:
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.ambiguous: dict[int, int] = {}
        self.reserved: list[tuple[tuple[int, ...], int, str]] = []
        self.released: list[Released] = []

    async def reserve(self, lines: tuple[int, ...], amount: int, model: str) -> str:
        self.reserved.append((lines, amount, model))
        return f"abcdefg1-{len(self.reserved)}"

    def release(self, attempt: str, *, billed: bool, ambiguous: bool) -> None:
        self.released.append(Released(attempt, billed, ambiguous))


class Prices:
    """One nano-USD an input token of the bound, seven for any response; dearer in the afternoon."""

    def bound(self, request: Request, at: float) -> int:
        return request.input_bound * (1 if at == NOON else 1_000)

    def cost(self, request: Request, response: Response, at: float) -> int:
        return 7 if (at, request.model, response.model) == (NOON, "m", "answered") else 0


class Clock:
    def monotonic(self) -> float:
        return 0.0

    def now(self) -> float:
        return NOON

    async def sleep(self, seconds: float) -> None:
        raise AssertionError


def request(*lines: int) -> Request:
    items = tuple(Item(Record(line, str(line), {}), "x", 1) for line in lines)
    return Request("/p", b"{}", items, "m", 1, 500, 0)


ANSWER = Response(200, {}, b"", usage=Usage(1), model="answered")


async def test_a_request_is_reserved_named_and_priced() -> None:
    intents, backend = Intents(), FakeBackend([ANSWER])
    response = await Reservation(backend, intents, Prices(), Clock()).send(request(3, 4))

    assert intents.reserved == [((3, 4), 500, "m")]
    assert backend.requests[0].attempt == "abcdefg1-1" == response.attempt
    assert response.cost_nusd == 7
    assert intents.released == []


@pytest.mark.parametrize(
    ("error", "billed", "ambiguous"),
    [
        (Throttled("429"), False, False),
        (Transient("500"), False, False),
        (Transient("502", billed=True), True, True),
        (Ambiguous("reset"), True, True),
        (Malformed("short"), True, False),
        (Rejected("400"), False, False),
    ],
)
async def test_what_failed_is_released_as_what_it_was(error: PipelineError, billed: bool, ambiguous: bool) -> None:
    intents = Intents()
    with pytest.raises(type(error)):
        await Reservation(FakeBackend([error]), intents, Prices(), Clock()).send(request(3))

    assert intents.released == [Released("abcdefg1-1", billed, ambiguous)]


async def test_a_record_whose_outcome_stayed_unknown_twice_is_not_sent() -> None:
    intents, backend = Intents(), FakeBackend([ANSWER, ANSWER])
    intents.ambiguous = {3: 1, 4: 2}
    reservation = Reservation(backend, intents, Prices(), Clock())
    await reservation.send(request(3))
    with pytest.raises(Rejected, match="sent 2 times") as caught:
        await reservation.send(request(3, 4))

    assert caught.value.code == "ambiguous_limit"
    assert caught.value.halve, "its companions are not to blame"
    assert len(backend.requests) == len(intents.reserved) == 1
    assert (await Reservation(backend, intents, Prices(), Clock(), allow_rebill=True).send(request(4))).cost_nusd == 7


@pytest.mark.parametrize(("scarce", "amount"), [(True, 12), (False, 500)])
async def test_where_money_is_short_tokens_are_counted(scarce: bool, amount: int) -> None:
    intents = Intents()
    asked: list[int] = []

    def short(wanted: int) -> bool:
        asked.append(wanted)
        return scarce

    reservation = Reservation(
        FakeBackend([ANSWER]), intents, Prices(), Clock(), shrink=lambda request: 12 * len(request.items), scarce=short
    )
    await reservation.send(request(3))

    assert asked == [500]
    assert intents.reserved[0][1] == amount


async def test_without_a_way_to_count_the_bound_is_taken() -> None:
    intents = Intents()
    await Reservation(FakeBackend([ANSWER]), intents, Prices(), Clock(), scarce=lambda _: True).send(request(3))
    await Reservation(FakeBackend([ANSWER]), intents, Prices(), Clock(), shrink=lambda _: 1).send(request(3))

    assert [amount for _, amount, _ in intents.reserved] == [500, 500]


async def test_where_money_is_short_the_exact_bound_also_limits_what_an_unbelievable_usage_costs() -> None:
    intents, backend = Intents(), FakeBackend([ANSWER])
    exact = Reservation(backend, intents, Prices(), Clock(), shrink=lambda _: 20, scarce=lambda amount: amount > 100)
    await exact.send(request(3))

    assert intents.reserved == [((3,), 20, "m")]
    assert backend.requests[0].input_bound == 20


async def test_after_an_answer_that_cost_more_than_its_bound_as_much_is_set_aside() -> None:
    intents, backend = Intents(), FakeBackend([ANSWER, ANSWER, ANSWER])
    reservation = Reservation(backend, intents, Prices(), Clock(), shrink=lambda _: 2, scarce=lambda _: True)
    for line in (3, 4, 5):
        await reservation.send(request(line))

    assert [amount for _, amount, _ in intents.reserved] == [2, 7, 7]


class Bug(FakeBackend):
    async def send(self, request: Request) -> Response:
        raise ValueError("a bug")


async def test_what_a_bug_interrupts_may_have_been_billed() -> None:
    intents = Intents()
    with pytest.raises(ValueError, match="a bug"):
        await Reservation(Bug([]), intents, Prices(), Clock()).send(request(3))

    assert intents.released == [Released("abcdefg1-1", billed=True, ambiguous=False)]


async def test_a_record_that_was_never_ambiguous_goes_beside_one_that_was_once() -> None:
    intents, backend = Intents(), FakeBackend([ANSWER])
    intents.ambiguous = {3: 1}
    await Reservation(backend, intents, Prices(), Clock()).send(request(3, 4))

    assert intents.reserved == [((3, 4), 500, "m")]


async def test_a_free_request_that_cost_something_raises_nothing() -> None:
    intents, backend = Intents(), FakeBackend([ANSWER, ANSWER])
    free = Reservation(backend, intents, Prices(), Clock(), shrink=lambda _: 0, scarce=lambda _: True)
    for line in (3, 4):
        await free.send(request(line))

    assert [amount for _, amount, _ in intents.reserved] == [0, 0]
