"""Circuit over an endpoint whose answers the test gives, and a clock that the test moves."""

from __future__ import annotations

import asyncio

import pytest

from pipeline.backends.fake import FakeBackend
from pipeline.core.backoff import RetryBudget, RetryPolicy
from pipeline.core.circuit import CircuitPolicy
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
from pipeline.events import Event, Paused
from pipeline.middleware.circuit import Circuit
from pipeline.middleware.retry import Retry
from pipeline.types import Request, Response
from tests.virtual import LoopClock, virtual_time

OK = Response(200, {}, b"{}")
POLICY = CircuitPolicy(failures=3)


class ManualClock:
    """Time stands still until `advance`; who sleeps until then is woken in order."""

    def __init__(self) -> None:
        self.at = 0.0
        self.sleepers: list[tuple[float, asyncio.Future[None]]] = []

    def monotonic(self) -> float:
        return self.at

    def now(self) -> float:
        return self.at

    async def sleep(self, seconds: float) -> None:
        waiter = asyncio.get_running_loop().create_future()
        self.sleepers.append((self.at + seconds, waiter))
        await waiter

    async def advance(self, seconds: float) -> None:
        self.at += seconds
        for due, waiter in sorted(self.sleepers, key=lambda sleeper: sleeper[0]):
            if due <= self.at and not waiter.done():
                waiter.set_result(None)
        self.sleepers = [sleeper for sleeper in self.sleepers if not sleeper[1].done()]
        await idle()

    def waiting(self) -> int:
        return sum(not waiter.done() for _, waiter in self.sleepers)


class OpenEndpoint:
    """Holds every request until the test answers it."""

    def __init__(self) -> None:
        self.held: list[tuple[str, asyncio.Future[Response]]] = []

    async def send(self, request: Request) -> Response:
        answer: asyncio.Future[Response] = asyncio.get_running_loop().create_future()
        self.held.append((request.path, answer))
        return await answer

    def paths(self) -> list[str]:
        return [path for path, answer in self.held if not answer.done()]

    async def answer(self, outcome: Response | PipelineError, path: str | None = None) -> None:
        answer = next(held for name, held in self.held if not held.done() and path in {None, name})
        if isinstance(outcome, Response):
            answer.set_result(outcome)
        else:
            answer.set_exception(outcome)
        await idle()


class Seen:
    """Remembers the events."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    def see(self, event: Event) -> None:
        self.events.append(event)


async def idle() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


def request(name: str = "/embeddings") -> Request:
    return Request(name, b"{}", (), "model", 1, 2, 0)


async def started(circuit: Circuit, *names: str) -> list[asyncio.Task[Response]]:
    tasks = [asyncio.create_task(circuit.send(request(name))) for name in names]
    await idle()
    return tasks


async def failure(task: asyncio.Task[Response]) -> PipelineError:
    with pytest.raises(PipelineError) as caught:
        await task
    return caught.value


async def open_circuit(circuit: Circuit, endpoint: OpenEndpoint) -> None:
    tasks = await started(circuit, *["/failing"] * 3)
    for _ in tasks:
        await endpoint.answer(Unreachable("no"), "/failing")
    for task in tasks:
        await failure(task)


async def test_answers_pass_through() -> None:
    circuit = Circuit(FakeBackend([OK, OK]), POLICY, ManualClock())

    assert await circuit.send(request()) is OK
    assert await circuit.send(request()) is OK


async def test_while_open_nothing_is_sent_and_then_one_probe() -> None:
    clock, endpoint = ManualClock(), OpenEndpoint()
    circuit = Circuit(endpoint, POLICY, clock)
    await open_circuit(circuit, endpoint)
    tasks = await started(circuit, "/a", "/b", "/c")

    assert endpoint.paths() == []
    await clock.advance(4.9)
    assert endpoint.paths() == []
    await clock.advance(0.1)
    assert endpoint.paths() == ["/a"]
    await clock.advance(1_000)
    assert endpoint.paths() == ["/a"]

    for task in tasks:
        task.cancel()


async def test_after_the_probe_the_others_follow_in_their_order_and_ever_more_at_once() -> None:
    clock, endpoint = ManualClock(), OpenEndpoint()
    circuit = Circuit(endpoint, POLICY, clock)
    await open_circuit(circuit, endpoint)
    tasks = await started(circuit, *"abcdefghi")
    await clock.advance(5)
    await endpoint.answer(OK, "a")

    assert endpoint.paths() == ["b", "c"]
    await endpoint.answer(OK, "b")
    assert endpoint.paths() == ["c", "d"]
    await clock.advance(5)
    assert endpoint.paths() == ["c", "d", "e", "f"]
    await clock.advance(5)
    assert endpoint.paths() == ["c", "d", "e", "f", "g", "h", "i"]

    for name in "cdefghi":
        await endpoint.answer(OK, name)
    assert await asyncio.gather(*tasks) == [OK] * 9
    assert clock.waiting() == 0


@pytest.mark.parametrize("error", [Throttled("slow down", status=429), Rejected("bad", status=400)])
async def test_a_probe_that_is_answered_with_a_refusal_is_answered(error: PipelineError) -> None:
    clock, endpoint = ManualClock(), OpenEndpoint()
    circuit = Circuit(endpoint, POLICY, clock)
    await open_circuit(circuit, endpoint)
    tasks = await started(circuit, *"abc")
    await clock.advance(5)
    await endpoint.answer(error, "a")

    assert endpoint.paths() == ["b", "c"]

    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def test_a_newcomer_does_not_overtake_those_who_wait() -> None:
    clock, endpoint = ManualClock(), OpenEndpoint()
    circuit = Circuit(endpoint, POLICY, clock)
    await open_circuit(circuit, endpoint)
    tasks = await started(circuit, "a", "b", "c", "d")
    clock.at = 5.0  # the timer has not fired yet
    tasks += await started(circuit, "late")

    assert endpoint.paths() == ["a"]

    for task in tasks:
        task.cancel()


async def test_a_failed_probe_doubles_the_wait() -> None:
    clock, endpoint, seen = ManualClock(), OpenEndpoint(), Seen()
    circuit = Circuit(endpoint, POLICY, clock, seen)
    await open_circuit(circuit, endpoint)
    tasks = await started(circuit, "a", "b")
    await clock.advance(5)
    await endpoint.answer(Transient("no", code="http_503"))

    assert endpoint.paths() == []
    await clock.advance(9.9)
    assert endpoint.paths() == []
    await clock.advance(0.1)
    assert endpoint.paths() == ["b"]
    assert seen.events == [
        Paused(5.0, "the endpoint fails (unreachable)"),
        Paused(10.0, "the endpoint fails (http_503)"),
    ]

    await endpoint.answer(OK)
    assert isinstance(await failure(tasks[0]), Transient)
    assert await tasks[1] is OK


@pytest.mark.parametrize("error", [Transient("no"), Unreachable("no"), Ambiguous("no", code="timeout")])
async def test_failures_in_a_row_open_it(error: PipelineError) -> None:
    clock, endpoint = ManualClock(), FakeBackend(lambda _: error)
    circuit = Circuit(endpoint, POLICY, clock)
    for _ in range(3):
        with pytest.raises(type(error)):
            await circuit.send(request())
    waiting = (await started(circuit, "a"))[0]

    assert len(endpoint.requests) == 3

    waiting.cancel()


@pytest.mark.parametrize(
    "error",
    [
        Throttled("slow down", status=429),
        Rejected("bad", status=400),
        Malformed("wrong count", status=200),
        Rejected("above the limit"),
        BudgetReached("does not fit"),
    ],
)
async def test_what_is_no_failure_of_the_endpoint_leaves_it_closed(error: PipelineError) -> None:
    endpoint = FakeBackend(lambda _: error)
    circuit = Circuit(endpoint, POLICY, ManualClock())

    async with asyncio.timeout(10):
        for _ in range(50):
            with pytest.raises(type(error)):
                await circuit.send(request())
    assert len(endpoint.requests) == 50


async def test_a_refused_key_ends_it_for_good_and_for_everyone() -> None:
    clock, endpoint = ManualClock(), OpenEndpoint()
    circuit = Circuit(endpoint, POLICY, clock)
    first, second = await started(circuit, "a", "b")
    await endpoint.answer(NeedsPerson("the key is refused", code="invalid_api_key", status=401), "a")
    later = (await started(circuit, "c"))[0]
    await endpoint.answer(OK, "b")

    assert isinstance(await failure(first), NeedsPerson)
    assert await second is OK
    error = await failure(later)
    assert isinstance(error, NeedsPerson)
    assert (error.message, error.code, error.status) == ("the key is refused", "invalid_api_key", 401)
    assert len(endpoint.held) == 2


async def test_a_refused_key_also_ends_the_waiting() -> None:
    clock, endpoint = ManualClock(), OpenEndpoint()
    circuit = Circuit(endpoint, POLICY, clock)
    late = (await started(circuit, "late"))[0]
    await open_circuit(circuit, endpoint)
    waiting = await started(circuit, "a", "b")
    await endpoint.answer(NeedsPerson("the key is refused"), "late")

    for task in [late, *waiting]:
        assert isinstance(await failure(task), NeedsPerson)
    assert clock.waiting() == 0


async def test_an_outage_of_half_an_hour_ends_the_run() -> None:
    clock, endpoint = ManualClock(), OpenEndpoint()
    circuit = Circuit(endpoint, POLICY, clock)
    await open_circuit(circuit, endpoint)
    tasks = await started(circuit, *[f"/{number}" for number in range(40)])
    probes = 0
    while clock.waiting():
        await clock.advance(min(due for due, waiter in clock.sleepers if not waiter.done()) - clock.at)
        if endpoint.paths():
            await endpoint.answer(Unreachable("connection refused", code="unreachable"))
            probes += 1

    errors = [await failure(task) for task in tasks]
    assert [type(error) for error in errors[: probes - 1]] == [Unreachable] * (probes - 1)
    assert [type(error) for error in errors[probes - 1 :]] == [EndpointUnavailable] * (40 - probes + 1)
    assert clock.at == 1_800.0
    assert probes == 11
    assert errors[-1].message == (
        "the endpoint has answered nothing for 1800 s: run again when it does; connection refused"
    )


async def test_an_outage_too_long_ends_the_run_even_where_few_requests_see_it() -> None:
    clock = ManualClock()
    circuit = Circuit(FakeBackend(lambda _: Unreachable("no")), CircuitPolicy(max_outage=10.0), clock)
    with pytest.raises(Unreachable):
        await circuit.send(request())
    await clock.advance(10.0)

    with pytest.raises(EndpointUnavailable):
        await circuit.send(request())


async def test_cancelled_waiters_and_probes_leave_their_place_to_the_next() -> None:
    clock, endpoint = ManualClock(), OpenEndpoint()
    circuit = Circuit(endpoint, POLICY, clock)
    await open_circuit(circuit, endpoint)
    first, second, third = await started(circuit, "a", "b", "c")
    first.cancel()
    await clock.advance(5)
    assert endpoint.paths() == ["b"]
    second.cancel()
    await idle()

    assert endpoint.paths()[-1] == "c"

    third.cancel()
    await idle()
    assert clock.waiting() == 0


async def test_the_timer_ends_with_the_last_waiter() -> None:
    clock, endpoint = ManualClock(), OpenEndpoint()
    circuit = Circuit(endpoint, POLICY, clock)
    await open_circuit(circuit, endpoint)
    (waiting,) = await started(circuit, "a")
    assert clock.waiting() == 1
    waiting.cancel()
    await idle()

    assert clock.waiting() == 0


async def test_a_permit_given_to_a_waiter_that_is_cancelled_at_that_moment_is_not_lost() -> None:
    clock, endpoint = ManualClock(), OpenEndpoint()
    circuit = Circuit(endpoint, POLICY, clock)
    await open_circuit(circuit, endpoint)
    first, _second = tasks = await started(circuit, "a", "b")
    clock.at = 5.0
    circuit._wake()  # gives the probe to the first, which has no turn to run before it is cancelled
    first.cancel()
    await idle()

    assert endpoint.paths() == ["b"]

    for task in tasks:
        task.cancel()


@virtual_time
async def test_ten_minutes_of_total_failure_cost_few_requests_and_then_the_rest_goes_quickly() -> None:
    loop = asyncio.get_running_loop()
    endpoint = FakeBackend(lambda _: OK if loop.time() >= 600 else Transient("no", code="http_500", status=500))
    clock = LoopClock()
    retry = Retry(Circuit(endpoint, CircuitPolicy(), clock), RetryPolicy(), RetryBudget(), clock, lambda: 0.5)
    work = iter(range(2_000))

    async def worker() -> None:
        for _ in work:
            await retry.send(request())

    await asyncio.gather(*[worker() for _ in range(100)])

    assert len(endpoint.requests) <= 2_000 + 100 + 10  # what was in flight when it began, and the probes
    assert loop.time() <= 600 + 310 + 60  # the next probe is at most five minutes away
