"""Rows 58 to 62, 66, 67 over minutes and hours: Retry, Circuit and Throttle as the runner stacks them, on virtual time.

The endpoint is the fake one, and no socket, disk or money is part of this: what a storm does to those is in the other
files, with short ones. Time is honest here where it is not there: a wait of six minutes is one of six minutes.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Callable, Mapping
from email.utils import formatdate
from itertools import pairwise

import pytest

from pipeline.backends.base import Backend
from pipeline.backends.fake import FakeBackend
from pipeline.core.backoff import RetryBudget, RetryPolicy
from pipeline.core.circuit import CircuitPolicy
from pipeline.core.classify import classify
from pipeline.core.limits import Limits
from pipeline.errors import Ambiguous, EndpointUnavailable, PipelineError, Throttled, Transient, Unreachable
from pipeline.events import Observers
from pipeline.middleware.circuit import Circuit
from pipeline.middleware.retry import Retry
from pipeline.middleware.throttle import Throttle
from pipeline.types import Request, Response, Usage
from tests.virtual import LoopClock, virtual_time

OK = Response(200, {}, b"{}", usage=Usage(input=3))
EPOCH = 1_800_000_000
"""What the endpoint's clock says when virtual time begins."""

Outcome = Callable[[float], Response | PipelineError]
"""What the endpoint answers at a time."""


def now() -> float:
    return asyncio.get_running_loop().time()


class Endpoint:
    """Answers by the time, after `latency` seconds, and remembers when it was asked."""

    def __init__(self, outcome: Outcome, latency: Callable[[], float] = lambda: 0.1, deadline: float = 600) -> None:
        self._fake = FakeBackend(self._answered)
        self._outcome = outcome
        self._latency = latency
        self._deadline = deadline
        self.asked: list[float] = []
        self.served: list[float] = []

    async def send(self, request: Request) -> Response:
        self.asked.append(now())
        try:
            async with asyncio.timeout(self._deadline):
                await asyncio.sleep(self._latency())
        except TimeoutError:
            raise Ambiguous("too late", code="timeout") from None
        return await self._fake.send(request)

    def _answered(self, _: Request) -> Response | PipelineError:
        outcome = self._outcome(now())
        if isinstance(outcome, Response):
            self.served.append(now())
        return outcome


class Stack:
    """What stands between the engine and an endpoint, without money."""

    def __init__(
        self,
        endpoint: Backend,
        *,
        limits: Limits | None = None,
        retry: RetryPolicy | None = None,
        circuit: CircuitPolicy | None = None,
    ) -> None:
        clock, observers, chance = LoopClock(), Observers([]), random.Random(3).random
        self.throttle = Throttle(endpoint, limits or Limits(64), clock, observers, jitter=chance)
        inner = Circuit(self.throttle, circuit or CircuitPolicy(proof=2.0), clock, observers)
        self.way = Retry(inner, retry or RetryPolicy(), RetryBudget(), clock, chance)

    async def work(self, requests: int, workers: int = 128) -> Counter[str]:
        """Send so many requests as the engine does, and count what became of them."""
        work, outcomes = iter(range(requests)), Counter[str]()

        async def worker() -> None:
            for _ in work:
                try:
                    await self.way.send(Request("/embeddings", b"{}", (), "m", 3, 3, 0))
                    outcomes["ok"] += 1
                except PipelineError as error:
                    outcomes[type(error).__name__] += 1

        await asyncio.gather(*(worker() for _ in range(workers)))
        return outcomes


def refusal(headers: Mapping[str, str], status: int = 429, code: str = "rate_limit_exceeded") -> PipelineError:
    body = b'{"error":{"code":"%s"}}' % code.encode()
    return classify(status, {"date": http_date(now()), **headers}, body, now=0)


def http_date(at: float) -> str:
    return formatdate(EPOCH + at, usegmt=True)


def emptied(reset: str) -> dict[str, str]:
    return {"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": reset}


HINTS: dict[str, tuple[dict[str, str], float]] = {
    "ms": ({"retry-after-ms": "1500"}, 1.5),
    "seconds": ({"retry-after": "7"}, 7),
    "float": ({"retry-after": "7.25"}, 7.25),
    "the-longer-of-both": ({"retry-after-ms": "250", "retry-after": "30"}, 30),
    "minutes": ({"retry-after": "840"}, 840),
    "http-date": ({"retry-after": http_date(90), "date": http_date(0)}, 90),
    "go": (emptied("6m0s"), 360),
    "go-ms": (emptied("120ms"), 0.12),
    "reset-seconds": (emptied("12.5"), 12.5),
    "iso": ({**emptied("2027-01-15T08:00:45Z"), "date": http_date(0)}, 45),
    "epoch": ({**emptied(str(EPOCH + 77)), "date": http_date(0)}, 77),
    "epoch-ms": ({**emptied(str((EPOCH + 77) * 1000)), "date": http_date(0)}, 77),
}
NO_HINTS = {
    "absent": {},
    "zero": {"retry-after": "0"},
    "negative": {"retry-after": "-1"},
    "nan": {"retry-after": "NaN"},
    "junk": {"retry-after": "soon"},
    "not-empty": {"x-ratelimit-remaining-requests": "3", "x-ratelimit-reset-requests": "6m0s"},
}
TOO_LONG = {
    "1e9": {"retry-after": "1000000000"},
    "go": emptied("23h47m36.648s"),
    "date": {"retry-after": http_date(86_400), "date": http_date(0)},
}


@virtual_time
async def waited(headers: Mapping[str, str], found: list[float]) -> None:
    first = iter([True])
    endpoint = Endpoint(lambda _: refusal(headers) if next(first, False) else OK, lambda: 0.0)
    stack = Stack(endpoint)
    assert await stack.work(40) == {"ok": 40}
    assert len(endpoint.asked) == 41, "the whole endpoint pauses, not the one request"
    found.extend(after - before for before, after in list(pairwise(endpoint.asked))[:1])


@pytest.mark.row(60, 61)
@pytest.mark.parametrize(("headers", "hint"), HINTS.values(), ids=HINTS)
def test_the_wait_is_what_was_asked_for_and_never_less(headers: Mapping[str, str], hint: float) -> None:
    found: list[float] = []
    waited(headers, found)

    assert hint <= found[0] <= hint + min(5, hint / 10) + 0.01


@pytest.mark.row(60, 61)
@pytest.mark.parametrize("headers", NO_HINTS.values(), ids=NO_HINTS)
def test_what_is_no_hint_is_ignored(headers: Mapping[str, str]) -> None:
    found: list[float] = []
    waited(headers, found)

    assert 0.5 <= found[0] <= 0.75, "our own first pause"


@pytest.mark.row(60, 61)
@pytest.mark.parametrize("headers", TOO_LONG.values(), ids=TOO_LONG)
def test_a_wait_beyond_the_limit_is_7_and_names_the_time(headers: Mapping[str, str]) -> None:
    @virtual_time
    async def refused() -> None:
        endpoint = Endpoint(lambda _: refusal(headers))
        with pytest.raises(EndpointUnavailable, match=r"until \d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC") as caught:
            await Stack(endpoint).way.send(Request("/embeddings", b"{}", (), "m", 3, 3, 0))
        assert (caught.value.exit_code, len(endpoint.asked)) == (7, 1)

    refused()


@pytest.mark.row(62)
@pytest.mark.parametrize("headers", [{}, {"retry-after": "1"}], ids=["bare", "with-a-hint"])
def test_ten_minutes_of_refusals_cost_few_requests_and_no_record(headers: Mapping[str, str]) -> None:
    """At 6,000 requests a minute, half of the work is done after the storm: its amplification is of 3,000 requests."""

    @virtual_time
    async def storm() -> None:
        endpoint = Endpoint(lambda at: refusal(headers) if at < 600 else OK)
        outcomes = await Stack(endpoint, limits=Limits(64, rpm=6_000)).work(3_000)
        sent, first = len(endpoint.asked), endpoint.served[0]
        print(
            f"\n{sent} sent for 3000; first answer {first - 600:.1f} s after the storm, all after {now() - first:.1f} s"
        )

        assert outcomes == {"ok": 3_000}, "a refusal is no attempt of a record"
        assert sent <= 1.2 * 3_000
        assert first - 600 <= 90, "the longest pause"
        assert now() - first <= 60 + 3_000 / 100

    storm()


@pytest.mark.row(59)
@virtual_time
async def test_half_an_hour_of_outage_costs_a_probe_each_five_minutes_and_then_a_minute_of_warming_up() -> None:
    """An outage longer than allowed is the next test; here it is allowed. Warming up counts from the first answer:
    until the probe that finds the endpoint well again, nobody can know."""
    down = Unreachable("refused")
    endpoint = Endpoint(lambda at: down if 60 <= at < 60 + 1_860 else OK)
    circuit = CircuitPolicy(max_outage=7_200, proof=2.0)
    outcomes = await Stack(endpoint, limits=Limits(64, rpm=6_000), circuit=circuit).work(20_000)
    probes = [at for at in endpoint.asked if 100 <= at < 60 + 1_860]
    recovered = next(at for at in endpoint.served if at >= 60 + 1_860)
    minute = sum(recovered + 60 <= at < recovered + 90 for at in endpoint.served)
    print(f"\n{len(endpoint.asked)} sent for 20000, {len(probes)} probes; then {minute * 2} a minute after a minute")

    assert outcomes == {"ok": 20_000}
    assert len(probes) <= 12
    assert min(after - before for before, after in list(pairwise(probes))[-3:]) >= 300
    assert len(endpoint.asked) <= 1.2 * 20_000
    assert minute >= 0.95 * 3_000


@pytest.mark.row(43, 45, 59)
@virtual_time
async def test_an_outage_longer_than_allowed_ends_with_7_when_it_is() -> None:
    endpoint = Endpoint(lambda at: Unreachable("refused") if at >= 60 else OK)
    outcomes = await Stack(endpoint, limits=Limits(64, rpm=6_000)).work(12_000, workers=64)

    assert outcomes["EndpointUnavailable"] > 0
    assert set(outcomes) == {"ok", "EndpointUnavailable"}, "no record is given up on"
    assert 60 + 1_800 <= now() <= 60 + 1_800 + 5


@pytest.mark.row(58)
@virtual_time
async def test_a_slow_and_lossy_network_shrinks_concurrency_and_starts_no_storm() -> None:
    """Latency rises tenfold after five seconds, and one answer in a hundred takes 30 s where the deadline is 20 s."""
    chance = random.Random(11)
    slots: list[tuple[float, int]] = []

    def latency() -> float:
        slots.append((now(), stack.throttle.statistics().concurrency))
        if now() < 5:
            return 0.1
        return 30.0 if chance.random() < 0.01 else 1.0

    endpoint = Endpoint(lambda _: OK, latency, deadline=20)
    stack = Stack(endpoint, limits=Limits(256))
    outcomes = await stack.work(40_000, workers=512)
    before = max(limit for at, limit in slots if at < 5)
    after = [limit for at, limit in slots if at > 30]
    print(f"\n{len(endpoint.asked)} sent for 40000; {before} slots before, {min(after)} to {max(after)} after")

    assert outcomes == {"ok": 40_000}
    assert len(endpoint.asked) <= 1.05 * 40_000
    assert min(after) <= 0.7 * before


@pytest.mark.row(66)
@pytest.mark.parametrize("share", [0.1, 0.3, 0.5])
def test_an_endpoint_that_fails_at_random_serves_all_in_the_end(share: float) -> None:
    """With 6 attempts, half of all requests failing would lose one in 64 of them: here 30 are allowed."""
    chance = random.Random(5)

    @virtual_time
    async def flapping() -> None:
        endpoint = Endpoint(lambda _: Transient("no", code="http_503", status=503) if chance.random() < share else OK)
        outcomes = await Stack(endpoint, retry=RetryPolicy(attempts=30)).work(2_000)
        print(f"\n{share:.0%}: {len(endpoint.asked) / 2_000:.2f} sent for each, in {now():.0f} s")

        assert outcomes == {"ok": 2_000}
        assert len(endpoint.asked) <= 2_000 / (1 - share) * 1.1

    flapping()


@pytest.mark.row(66)
@pytest.mark.parametrize("down", [1.0, 3.0, 5.0])
def test_an_endpoint_that_is_down_part_of_the_time_serves_all_with_the_usual_six_attempts(down: float) -> None:
    @virtual_time
    async def flapping() -> None:
        endpoint = Endpoint(lambda at: Transient("no", code="http_502", status=502) if at % 9.3 < down else OK)
        outcomes = await Stack(endpoint).work(5_000)
        print(f"\n{down:.0f} of 9.3 s: {len(endpoint.asked) / 5_000:.2f} sent for each, in {now():.0f} s")

        assert outcomes == {"ok": 5_000}
        assert len(endpoint.asked) <= 1.5 * 5_000

    flapping()


@pytest.mark.row(67)
@pytest.mark.parametrize(
    ("status", "code"), [(429, "slow_down"), (503, "slow_down"), (503, "server_is_overloaded"), (529, "x")]
)
def test_an_overloaded_endpoint_is_no_attempt_and_after_slow_down_the_rate_grows_by_half_in_15_minutes_at_most(
    status: int, code: str
) -> None:
    @virtual_time
    async def overloaded() -> None:
        first = iter([True])
        endpoint = Endpoint(lambda at: refusal({}, status, code) if at > 60 and next(first, False) else OK)
        outcomes = await Stack(endpoint, limits=Limits(64, rpm=600), retry=RetryPolicy(attempts=1)).work(10_000)
        per_minute = Counter(int(at // 60) for at in endpoint.served)
        print(f"\n{status} {code}: {[per_minute[minute] for minute in range(18)]} a minute")

        assert isinstance(refusal({}, status, code), Throttled)
        assert outcomes == {"ok": 10_000}
        if code == "slow_down":
            assert per_minute[2] <= 0.75 * per_minute[0]
            assert all(per_minute[at + 15] <= 1.55 * per_minute[at] for at in range(2, 10) if at + 16 < max(per_minute))
        else:
            assert per_minute[4] >= 0.98 * 600, "without `slow_down`, the rate is back within two minutes"

    overloaded()
