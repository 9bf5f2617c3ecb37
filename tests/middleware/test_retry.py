"""Retry over a scripted endpoint and a clock that only sleeping moves."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from pipeline.backends.fake import FakeBackend, Outcome
from pipeline.core.backoff import RetryBudget, RetryPolicy
from pipeline.errors import (
    Ambiguous,
    BudgetReached,
    EndpointUnavailable,
    Malformed,
    NeedsPerson,
    PipelineError,
    Rejected,
    Throttled,
    Transient,
    Unreachable,
)
from pipeline.middleware.retry import Retry
from pipeline.types import Item, Record, Request, Response

EPOCH = 1_794_225_600.0
OK = Response(200, {}, b"{}")


class SleepClock:
    """Sleeping moves it and is remembered."""

    def __init__(self) -> None:
        self.at = 100.0
        self.slept: list[float] = []

    def monotonic(self) -> float:
        return self.at

    def now(self) -> float:
        return EPOCH + self.at

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.at += seconds


def request(items: int = 1, *, attempts: int = 0, first_at: float | None = None) -> Request:
    batch = tuple(Item(Record(line, str(line), {}), "text", 1) for line in range(1, items + 1))
    return Request("/embeddings", b"{}", batch, "model", items, 2, 0, attempts=attempts, first_at=first_at)


def retrying(
    script: Iterable[Outcome],
    clock: SleepClock,
    *,
    policy: RetryPolicy | None = None,
    budget: RetryBudget | None = None,
) -> tuple[Retry, FakeBackend]:
    endpoint = FakeBackend(script)
    return Retry(endpoint, policy or RetryPolicy(), budget or RetryBudget(), clock, lambda: 0.5), endpoint


async def failure(retry: Retry, sent: Request) -> PipelineError:
    with pytest.raises(PipelineError) as caught:
        await retry.send(sent)
    return caught.value


async def test_an_answer_passes_without_waiting() -> None:
    clock = SleepClock()
    retry, endpoint = retrying([OK], clock)

    assert await retry.send(request()) is OK
    assert clock.slept == []
    assert len(endpoint.requests) == 1


async def test_transient_failures_are_tried_again_after_doubling_waits() -> None:
    clock = SleepClock()
    retry, _ = retrying([Transient("no")] * 5 + [OK], clock)

    assert await retry.send(request()) is OK
    assert clock.slept == [0.25, 0.5, 1.0, 2.0, 4.0]


async def test_a_request_that_always_fails_is_given_up_after_its_attempts() -> None:
    clock = SleepClock()
    retry, endpoint = retrying([Transient("no", code="http_500")] * 100, clock)

    error = await failure(retry, request(20))

    assert isinstance(error, Rejected)
    assert (error.code, error.halve, error.attempts, error.first_at) == ("http_500", False, 6, EPOCH + 100)
    assert len(endpoint.requests) == 6


async def test_throttling_and_lost_connections_do_not_use_up_attempts() -> None:
    clock = SleepClock()
    retry, endpoint = retrying([Throttled("no", hint=1.0), Unreachable("no")] * 20 + [OK], clock)

    assert await retry.send(request()) is OK
    assert len(endpoint.requests) == 41


async def test_a_hint_is_waited_out_with_its_spread() -> None:
    clock = SleepClock()
    retry, _ = retrying([Throttled("no", hint=10.0), OK], clock)

    await retry.send(request())

    assert clock.slept == [10.5]


async def test_a_hint_above_the_longest_wait_ends_the_run_at_once() -> None:
    clock = SleepClock()
    retry, endpoint = retrying([Throttled("no", hint=1e9)], clock)

    assert isinstance(await failure(retry, request()), EndpointUnavailable)
    assert clock.slept == []
    assert len(endpoint.requests) == 1


async def test_a_throttled_request_is_given_up_after_a_day() -> None:
    clock = SleepClock()
    retry, _ = retrying((Throttled("no", hint=600.0) for _ in range(1_000)), clock)

    error = await failure(retry, request())

    assert isinstance(error, Rejected)
    assert 86_400 - 606 < sum(clock.slept) <= 86_400


@pytest.mark.parametrize("error", [Rejected("bad"), NeedsPerson("key"), BudgetReached("full")])
async def test_what_no_retry_can_mend_passes_at_once(error: PipelineError) -> None:
    clock = SleepClock()
    retry, endpoint = retrying([Transient("no"), error], clock)

    assert await failure(retry, request()) is error
    assert (error.attempts, error.first_at) == (2, EPOCH + 100)
    assert len(endpoint.requests) == 2


async def test_a_malformed_batch_is_left_to_the_engine() -> None:
    clock = SleepClock()
    error = Malformed("wrong count")
    retry, _ = retrying([error], clock)

    assert await failure(retry, request(2)) is error
    assert error.attempts == 1


async def test_attempts_of_larger_batches_are_added_and_their_time_kept() -> None:
    clock = SleepClock()
    retry, _ = retrying([Transient("no"), Rejected("bad")], clock)

    error = await failure(retry, request(attempts=3, first_at=5.0))

    assert (error.attempts, error.first_at) == (5, 5.0)


async def test_retries_wait_their_turn_once_the_budget_is_spent() -> None:
    clock = SleepClock()
    budget = RetryBudget()
    for _ in range(110):
        budget.spend(clock.monotonic())
    retry, _ = retrying([Transient("no"), OK], clock, budget=budget)

    await retry.send(request())

    assert clock.slept == [1.0]


async def test_only_counted_retries_draw_on_the_budget() -> None:
    clock = SleepClock()
    budget = RetryBudget()
    retry, _ = retrying([Throttled("no"), Unreachable("no"), OK], clock, budget=budget)
    await retry.send(request())

    assert [budget.spend(clock.monotonic()) for _ in range(110)] == [0.0] * 110


async def test_only_what_succeeds_at_first_earns_retries() -> None:
    clock = SleepClock()
    budget = RetryBudget()
    for _ in range(110):
        budget.spend(clock.monotonic())
    late: list[Outcome] = [Throttled("no"), OK]
    at_once: list[Outcome] = [OK]
    retry, _ = retrying(late * 5 + at_once * 4, clock, policy=RetryPolicy(base=0.0), budget=budget)
    for _ in range(9):
        await retry.send(request())

    assert budget.spend(clock.monotonic()) > 0

    budget.earn()

    assert budget.spend(clock.monotonic()) == 0.0


async def test_total_failure_of_many_requests_multiplies_them_little() -> None:
    clock = SleepClock()
    retry, endpoint = retrying((Ambiguous("no", code="timeout") for _ in range(100_000)), clock)

    for _ in range(1_000):
        await failure(retry, request())

    extra = len(endpoint.requests) - 1_000
    assert extra <= 110 + (clock.at - 100) + 1


async def test_every_attempt_sends_the_request_itself() -> None:
    wanted = request()
    retry, endpoint = retrying([Ambiguous("no", code="timeout"), OK], SleepClock())
    await retry.send(wanted)

    assert endpoint.requests == [wanted, wanted]


async def test_the_time_of_a_record_is_counted_from_its_first_attempt() -> None:
    clock = SleepClock()
    policy = RetryPolicy(base=40.0, cap=40.0, wall=150.0)
    retry, endpoint = retrying((Unreachable("no") for _ in range(100)), clock, policy=policy)
    await failure(retry, request())

    assert 1 < len(endpoint.requests) < 100
    assert clock.at - 100.0 <= 150.0
    assert clock.at - 100.0 > 100.0


async def test_the_error_that_is_given_up_on_shows_what_led_to_it() -> None:
    retry, _ = retrying((Ambiguous("no", code="timeout") for _ in range(100)), SleepClock())
    final = await failure(retry, request())

    assert isinstance(final, Rejected)
    assert isinstance(final.__cause__, Ambiguous)
