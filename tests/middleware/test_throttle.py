from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import cycle

import pytest

from pipeline.core.limits import Limits
from pipeline.errors import Ambiguous, BudgetReached, PipelineError, Rejected, Throttled, Transient, Unreachable
from pipeline.events import AttemptSent, Event, Observers, Paused
from pipeline.middleware.throttle import Throttle
from pipeline.types import RateLimits, Request, Response, Usage
from tests.virtual import LoopClock, VirtualLoop, run, virtual_time


def request(tokens: int = 1, model: str = "m", path: str = "/embeddings") -> Request:
    return Request(path, b"", (), model, tokens, tokens, 0)


def response(tokens: int = 1, limits: RateLimits | None = None) -> Response:
    return Response(200, {}, b"", limits=limits, usage=Usage(input=tokens))


def now() -> float:
    return asyncio.get_running_loop().time()


def loop() -> VirtualLoop:
    running = asyncio.get_running_loop()
    assert isinstance(running, VirtualLoop)
    return running


class Provider:
    """Refills all the time, holds one second's worth, and refuses what it has not got; a charge above one second's
    worth goes when the bucket is full. Written without a look at ours."""

    def __init__(
        self, rpm: float | None = None, tpm: float | None = None, jitter: float = 0.0, others: float = 0.0
    ) -> None:
        self.others = others
        """Part of the refill that others use up."""
        self.rates = [None if limit is None else limit / 60 for limit in (rpm, tpm)]
        self.sizes = [None if rate is None else max(1.0, rate) for rate in self.rates]
        self.levels = [size or 0.0 for size in self.sizes]
        self.seen_at = 0.0
        self.jitter = jitter
        self.random = random.Random(7)
        self.requests = self.tokens = self.refused = 0

    def limit(self, rpm: float) -> None:
        self.rates[0] = rpm / 60
        self.sizes[0] = max(1.0, rpm / 60)

    def headers(self) -> RateLimits:
        quotas = zip(self.rates, self.levels, strict=True)
        (limit, left), (limit_tokens, left_tokens) = [
            (None, None) if rate is None else (round(rate * 60), max(0, int(level))) for rate, level in quotas
        ]
        return RateLimits(limit, left, limit_tokens, left_tokens)

    def admits(self, tokens: int) -> bool:
        elapsed, self.seen_at = now() - self.seen_at, now()
        fits = True
        for kind, charge in enumerate((1, tokens)):
            rate, size = self.rates[kind], self.sizes[kind]
            if rate is not None and size is not None:
                self.levels[kind] = min(size, self.levels[kind] + rate * elapsed * (1 - self.others))
                fits = fits and self.levels[kind] >= min(charge, size) - 1e-6
        if fits:
            self.levels = [level - charge for level, charge in zip(self.levels, (1, tokens), strict=True)]
        return fits

    async def send(self, request: Request) -> Response:
        await asyncio.sleep(self.random.random() * self.jitter)
        admitted, headers = self.admits(request.tokens), self.headers()
        self.requests += admitted
        self.tokens += request.tokens * admitted
        self.refused += not admitted
        await asyncio.sleep(0.05 + self.random.random() * 0.3)
        if not admitted:
            raise Throttled("slow down", status=429, hint=0.5, limits=headers)
        return response(request.tokens, headers)


@dataclass
class Script:
    """Answers each request by its path: an error to raise, or seconds to take."""

    outcomes: dict[str, PipelineError | float] = field(default_factory=dict)
    sent: list[tuple[float, str]] = field(default_factory=list)
    in_flight: int = 0
    most: int = 0

    async def send(self, request: Request) -> Response:
        self.sent.append((now(), request.path))
        self.in_flight += 1
        self.most = max(self.most, self.in_flight)
        try:
            outcome = self.outcomes.get(request.path, 0.0)
            if isinstance(outcome, PipelineError):
                raise outcome
            await asyncio.sleep(outcome)
            return response(request.tokens)
        finally:
            self.in_flight -= 1

    def times(self) -> list[float]:
        return [at for at, _ in self.sent]

    def paths(self) -> list[str]:
        return [path for _, path in self.sent]


@dataclass
class Seen:
    events: list[Event] = field(default_factory=list)

    def see(self, event: Event) -> None:
        self.events.append(event)


Inner = Provider | Script


def throttle(inner: Inner, limits: Limits, seen: Seen | None = None, **models: Limits) -> Throttle:
    observers = Observers([seen] if seen else [])
    return Throttle(inner, limits, LoopClock(), observers, models=models, jitter=lambda: 0.0)


async def load(limiter: Throttle, sizes: Iterator[int], seconds: float, workers: int = 128) -> None:
    """Keep `workers` requests waiting or in flight for `seconds`."""

    async def work() -> None:
        while True:
            try:
                await limiter.send(request(next(sizes)))
            except Throttled:
                continue

    tasks = [asyncio.create_task(work()) for _ in range(workers)]
    await asyncio.sleep(seconds)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def mixed() -> Iterator[int]:
    """Sizes from 5 to 5,000 tokens, most of them small."""
    numbers = random.Random(11)
    while True:
        yield round(5 * 1000 ** numbers.random())


@pytest.mark.parametrize("jitter", [0.0, 0.1])
@pytest.mark.parametrize("rpm", [90, 120, 600, 3000, 30_000])
def test_requests_fill_the_limit_and_none_is_refused(rpm: int, jitter: float) -> None:
    provider, seconds = Provider(rpm=rpm, jitter=jitter), min(600.0, 300_000 / rpm)
    run(load(throttle(provider, Limits(256, rpm=rpm)), cycle([1]), seconds, 512))

    assert provider.refused == 0
    assert provider.requests >= 0.98 * rpm * seconds / 60


@pytest.mark.parametrize("rpm", [1, 6, 30, 60])
def test_single_requests_fill_the_limit_and_none_is_refused(rpm: int) -> None:
    provider, seconds = Provider(rpm=rpm, jitter=0.01), 60 / rpm * 300
    run(load(throttle(provider, Limits(8, rpm=rpm)), cycle([1]), seconds, 16))

    assert provider.refused == 0
    assert provider.requests >= 0.98 * rpm * seconds / 60


@pytest.mark.parametrize(("tpm", "jitter"), [(100_000, 0.0), (600_000, 0.1), (2_000_000, 0.1)])
def test_mixed_sizes_fill_the_token_limit_and_none_is_refused(tpm: int, jitter: float) -> None:
    provider, seconds = Provider(tpm=tpm, jitter=jitter), 600.0
    run(load(throttle(provider, Limits(64, tpm=tpm)), mixed(), seconds))

    assert provider.refused == 0
    assert provider.tokens >= 0.98 * tpm * seconds / 60


def test_both_limits_in_turn_are_filled_and_none_is_refused() -> None:
    """Stretches of small requests are bound by the first limit, stretches of large ones by the second."""
    provider, seconds = Provider(rpm=3000, tpm=600_000, jitter=0.05), 300.0
    sizes = cycle([20] * 500 + [1000] * 500)
    run(load(throttle(provider, Limits(64, rpm=3000, tpm=600_000)), sizes, seconds))

    needed = 500 / 50 + 500_000 / 10_000
    assert provider.refused == 0
    assert provider.requests >= 0.98 * seconds / needed * 1000


def test_without_configured_limits_the_headers_are_filled() -> None:
    provider = Provider(rpm=600, tpm=60_000, jitter=0.02)
    run(load(throttle(provider, Limits(64)), cycle([50]), 300.0))

    assert provider.refused <= 8
    assert provider.requests >= 0.97 * 3000


def test_a_limit_that_changes_under_way_is_followed() -> None:
    provider = Provider(rpm=3000, jitter=0.02)

    async def main() -> tuple[int, int]:
        limiter = throttle(provider, Limits(64, rpm=3000))
        running = asyncio.create_task(load(limiter, cycle([1]), 240.0))
        await asyncio.sleep(60.0)
        provider.limit(600)
        await asyncio.sleep(60.0)
        lower = provider.requests
        await asyncio.sleep(60.0)
        lower = provider.requests - lower
        provider.limit(3000)
        await asyncio.sleep(20.0)
        higher = provider.requests
        await running
        return lower, provider.requests - higher

    lower, higher = run(main())
    assert lower >= 0.98 * 600
    assert higher >= 0.95 * 40 * 50
    assert provider.refused <= 10


def test_a_provider_that_others_use_too_is_shared_without_refusals() -> None:
    """Half of its minute's worth goes to others: we take the other half."""
    provider = Provider(rpm=600, others=0.5)
    provider.sizes[0] = provider.levels[0] = 600.0
    run(load(throttle(provider, Limits(64, rpm=600)), cycle([1]), 600.0))

    assert provider.refused == 0
    assert provider.requests >= 0.98 * (600 + 3000)


def test_a_local_server_without_limits_gets_the_concurrency_it_can_use() -> None:
    class Slots(Script):
        def __init__(self, slots: int) -> None:
            super().__init__()
            self.slots = asyncio.Semaphore(slots)
            self.random = random.Random(5)
            self.served = 0

        async def send(self, request: Request) -> Response:
            async with self.slots:
                await asyncio.sleep(0.5 + self.random.random())
            self.served += 1
            return response()

    async def served(limits: Limits, concurrency: int) -> int:
        server = Slots(24)
        await load(throttle(server, limits), cycle([1]), 1200.0, concurrency)
        return server.served

    best = run(served(Limits(24, rpm=10**6), 24))
    assert run(served(Limits(256), 300)) >= 0.95 * best


@virtual_time
async def test_what_fits_goes_at_once() -> None:
    script, seen = Script(), Seen()
    limiter = throttle(script, Limits(4, rpm=60), seen)
    await limiter.send(request())

    assert script.times() == [0.0]
    assert seen.events == [AttemptSent(0.0)]


@virtual_time
async def test_the_wait_is_reported_to_observers() -> None:
    seen = Seen()
    limiter = throttle(Script(), Limits(4, rpm=60), seen)
    await limiter.send(request())
    await limiter.send(request())

    first, second = [event for event in seen.events if isinstance(event, AttemptSent)]
    assert first.waited == 0
    assert second.waited == pytest.approx(1.016, abs=0.001)


@virtual_time
async def test_first_come_first_served_whatever_the_size() -> None:
    script = Script()
    limiter = throttle(script, Limits(64, tpm=60_000))
    sizes = [5000, 1, 700, 20_000, 3, 3, 900]
    await asyncio.gather(*(limiter.send(request(size, path=str(number))) for number, size in enumerate(sizes)))

    assert script.paths() == [str(number) for number in range(len(sizes))]


@virtual_time
async def test_a_large_charge_is_not_starved_by_small_ones() -> None:
    script = Script()
    limiter = throttle(script, Limits(64, tpm=60_000))
    running = asyncio.create_task(load(limiter, cycle([50]), 30.0))
    await asyncio.sleep(10.0)
    await limiter.send(request(20_000, path="large"))
    waited = now() - 10.0
    await running

    assert waited < 8.0


@virtual_time
async def test_models_do_not_wait_for_each_other() -> None:
    script = Script()
    limiter = throttle(script, Limits(64, rpm=60))
    await asyncio.gather(*(limiter.send(request(model=model)) for model in "abcd"))

    assert now() == 0.0


@virtual_time
async def test_a_short_wait_is_not_held_up_by_a_longer_one() -> None:
    script = Script()
    limiter = throttle(script, Limits(64, tpm=60_000))
    await limiter.send(request(50_000, model="a"))
    long = asyncio.create_task(limiter.send(request(path="long", model="a")))
    await asyncio.sleep(1.0)
    await limiter.send(request(model="b"))
    await limiter.send(request(500, path="short", model="b"))
    await long

    assert script.paths()[-2:] == ["short", "long"]
    assert script.times()[-2] < 3.0


@virtual_time
async def test_a_local_server_that_refuses_gets_less_at_once() -> None:
    limiter = throttle(Script({"bad": Throttled("x", hint=0.1)}), Limits(64))
    before = limiter.statistics().concurrency
    with pytest.raises(Throttled):
        await limiter.send(request(path="bad"))

    assert (before, limiter.statistics().concurrency) == (8, 5)


@virtual_time
async def test_a_model_may_have_limits_of_its_own() -> None:
    limiter = throttle(Script(), Limits(64, tpm=1000), b=Limits(64, tpm=10_000))

    await limiter.send(request(5000, model="b"))
    with pytest.raises(Rejected):
        await limiter.send(request(5000, model="a"))


@virtual_time
async def test_a_charge_above_the_limit_is_rejected_at_once() -> None:
    script = Script()
    with pytest.raises(Rejected) as caught:
        await throttle(script, Limits(64, tpm=1000)).send(request(1001))

    assert (caught.value.code, script.sent, now()) == ("request_too_large", [], 0.0)


@virtual_time
async def test_a_charge_that_a_lowered_limit_forbids_is_rejected_in_the_queue() -> None:
    provider = Provider(tpm=6000)
    limiter = throttle(provider, Limits(4, tpm=60_000))
    first = asyncio.create_task(limiter.send(request(700)))
    await asyncio.sleep(0)
    with pytest.raises(Rejected) as caught:
        await limiter.send(request(20_000))

    assert caught.value.code == "request_too_large"
    await first


@virtual_time
async def test_slots_are_held_from_the_grant_to_the_answer() -> None:
    script = Script({"/embeddings": 10.0})
    limiter = throttle(script, Limits(3, rpm=60_000))
    await asyncio.gather(*(limiter.send(request()) for _ in range(9)))

    assert script.most == 3
    assert now() == pytest.approx(30.0, abs=0.1)


@pytest.mark.parametrize("error", [Transient("x"), Rejected("x", status=400), Throttled("x"), RuntimeError("bug")])
def test_every_failure_frees_its_slot(error: Exception) -> None:
    class Failing(Script):
        async def send(self, request: Request) -> Response:
            raise error

    async def main() -> int:
        limiter = throttle(Failing(), Limits(1, rpm=60_000))
        for _ in range(3):
            with pytest.raises(type(error)):
                await limiter.send(request())
        return limiter.statistics().in_flight

    assert run(main()) == 0


@virtual_time
async def test_cancelling_an_attempt_frees_its_slot() -> None:
    script = Script({"slow": 1000.0})
    limiter = throttle(script, Limits(1, rpm=60_000))
    slow = asyncio.create_task(limiter.send(request(path="slow")))
    await asyncio.sleep(1.0)
    waiting = asyncio.create_task(limiter.send(request(path="next")))
    await asyncio.sleep(1.0)
    slow.cancel()
    await waiting

    assert script.sent[1] == (2.0, "next")


@virtual_time
async def test_a_cancelled_waiter_leaves_no_hole() -> None:
    script = Script()
    limiter = throttle(script, Limits(8, tpm=60_000))
    tasks = [asyncio.create_task(limiter.send(request(size, path=str(size)))) for size in (750, 50_000, 60)]
    await asyncio.sleep(1.0)
    tasks[1].cancel()
    await asyncio.wait(tasks)

    assert script.paths() == ["750", "60"]
    assert now() < 1.1
    assert limiter.statistics().waiting == 0


@virtual_time
async def test_cancelling_after_the_grant_gives_back_slot_and_charge() -> None:
    script = Script({"slow": 5.0})
    limiter = throttle(script, Limits(1, rpm=60))

    async def cancel_whom_it_lets_through() -> None:
        await limiter.send(request(path="slow"))
        granted.cancel()

    first = asyncio.create_task(cancel_whom_it_lets_through())
    await asyncio.sleep(1.0)
    granted = asyncio.create_task(limiter.send(request(path="granted")))
    after = asyncio.create_task(limiter.send(request(path="after")))
    await asyncio.wait([first, granted, after])

    assert granted.cancelled()
    assert script.sent[1:] == [(5.0, "after")]
    assert limiter.statistics().in_flight == 0


@virtual_time
async def test_cancelling_many_at_random_loses_no_slot_and_no_charge() -> None:
    numbers = random.Random(3)
    script = Script({"/embeddings": 0.2})
    limiter = throttle(script, Limits(4, rpm=6000, tpm=600_000))
    for _ in range(200):
        tasks = [asyncio.create_task(limiter.send(request(numbers.randrange(1, 9000)))) for _ in range(20)]
        await asyncio.sleep(numbers.random())
        for task in numbers.sample(tasks, 12):
            task.cancel()
        await asyncio.wait(tasks)

    statistics = limiter.statistics()
    assert (statistics.waiting, statistics.in_flight) == (0, 0)
    await asyncio.sleep(10.0)
    before = now()
    await limiter.send(request(7000))
    assert now() == pytest.approx(before + 0.2)


@pytest.mark.parametrize(
    ("error", "requests_back", "tokens_back"),
    [
        (Unreachable("x"), True, True),
        (BudgetReached("x"), True, True),
        (Rejected("x", code="reserved"), True, True),
        (Rejected("x", status=400), False, False),
        (Transient("x", status=500), False, False),
        (Ambiguous("x"), False, False),
        (Throttled("x", hint=0.0001), False, True),
    ],
)
def test_only_what_the_provider_did_not_count_is_given_back(
    error: PipelineError, requests_back: bool, tokens_back: bool
) -> None:
    async def waited(limits: Limits) -> float:
        limiter = throttle(Script({"bad": error}), limits)
        await asyncio.sleep(10.0)
        with pytest.raises(type(error)):
            await limiter.send(request(700, path="bad"))
        await asyncio.sleep(0.001)
        before = now()
        await limiter.send(request(700))
        return now() - before

    assert (run(waited(Limits(8, rpm=60))) < 0.1) == requests_back
    assert (run(waited(Limits(8, tpm=60_000))) < 0.1) == tokens_back


@virtual_time
async def test_a_charge_is_settled_by_the_usage_reported() -> None:
    class Frugal(Script):
        async def send(self, request: Request) -> Response:
            return (await super().send(request))._replace(usage=Usage(input=10, output=10))

    limiter = throttle(Frugal(), Limits(8, tpm=60_000))
    for _ in range(100):
        await limiter.send(request(700))

    assert now() < 100 * 20 / 1000 + 1.0


@virtual_time
async def test_a_usage_that_was_only_estimated_settles_nothing() -> None:
    class Silent(Script):
        async def send(self, request: Request) -> Response:
            return (await super().send(request))._replace(usage=Usage(input=10, estimated=True))

    limiter = throttle(Silent(), Limits(8, tpm=60_000))
    for _ in range(100):
        await limiter.send(request(700))

    assert now() > 69.0


@virtual_time
async def test_a_hint_pauses_everybody_for_exactly_as_long() -> None:
    script, seen = Script({"bad": Throttled("x", hint=7.5)}), Seen()
    limiter = throttle(script, Limits(64, rpm=6000), seen)
    await asyncio.sleep(10.0)
    with pytest.raises(Throttled):
        await limiter.send(request(path="bad"))
    await asyncio.gather(*(limiter.send(request()) for _ in range(50)))

    first, second = script.times()[1:3]
    assert first == 17.5
    assert second - first == pytest.approx(1 / (0.7 * 99.9), abs=0.001)
    assert [event for event in seen.events if isinstance(event, Paused)] == [Paused(7.5, "rate_limit_exceeded")]


@virtual_time
async def test_many_refusals_of_one_episode_are_one_pause() -> None:
    class Refusing(Script):
        async def send(self, request: Request) -> Response:
            await super().send(request)
            raise Throttled("x", hint=5.0)

    script, seen = Refusing({"/embeddings": 0.2}), Seen()
    limiter = throttle(script, Limits(64, rpm=60_000), seen)
    await asyncio.gather(*(limiter.send(request()) for _ in range(40)), return_exceptions=True)

    assert len([event for event in seen.events if isinstance(event, Paused)]) == 1


@virtual_time
async def test_another_model_goes_on_while_one_is_paused() -> None:
    script = Script({"bad": Throttled("x", hint=60.0)})
    limiter = throttle(script, Limits(64, rpm=6000))
    with pytest.raises(Throttled):
        await limiter.send(request(path="bad", model="a"))
    await limiter.send(request(model="b"))

    assert now() < 1.0


@pytest.mark.parametrize(("code", "status"), [("slow_down", 429), ("server_is_overloaded", 503), ("x", 529)])
def test_an_overloaded_endpoint_pauses_every_model_known_or_new(code: str, status: int) -> None:
    async def main() -> list[float]:
        script = Script({"bad": Throttled("x", code=code, status=status, hint=60.0)})
        limiter = throttle(script, Limits(64, rpm=6000))
        await limiter.send(request(model="known"))
        with pytest.raises(Throttled):
            await limiter.send(request(path="bad", model="a"))
        await asyncio.gather(*(limiter.send(request(model=model)) for model in ("known", "new")))
        return script.times()[2:]

    assert run(main()) == [60.0, 60.0]


def test_a_storm_of_refusals_sends_little_and_full_speed_returns_within_a_minute() -> None:
    class Storm(Provider):
        async def send(self, request: Request) -> Response:
            if now() < 600.0:
                self.refused += 1
                await asyncio.sleep(0.2)
                raise Throttled("x", status=429)
            return await super().send(request)

    async def main() -> tuple[int, int]:
        running = asyncio.create_task(load(limiter, cycle([1]), 800.0))
        await asyncio.sleep(720.0)
        before = provider.requests
        await asyncio.sleep(60.0)
        after = provider.requests - before
        await running
        return provider.refused, after

    provider = Storm(rpm=3000)
    limiter = throttle(provider, Limits(64, rpm=3000))
    refused, after = run(main())
    assert refused <= 40
    assert after >= 0.98 * 3000


def test_a_stopped_process_gets_no_burst() -> None:
    provider = Provider(rpm=3000)

    async def main() -> None:
        limiter = throttle(provider, Limits(64, rpm=3000))
        asyncio.get_running_loop().call_at(30.0, lambda: loop().advance(600.0))
        await load(limiter, cycle([1]), 660.0)

    run(main())
    assert provider.refused == 0
    assert provider.requests <= 3000 * 60 / 60 + 50


@virtual_time
async def test_per_second_caps_every_second(throttler_on_loop_time: None) -> None:
    script = Script()
    limiter = throttle(script, Limits(64, rpm=60_000, per_second=10))
    await asyncio.gather(*(limiter.send(request()) for _ in range(100)))

    times = script.times()
    assert all(later - earlier >= 1.0 for earlier, later in zip(times, times[10:], strict=False))
    assert times[-1] == pytest.approx(9.0, abs=0.2)


@virtual_time
async def test_per_second_keeps_to_pauses_and_limits(throttler_on_loop_time: None) -> None:
    script = Script({"bad": Throttled("x", hint=30.0)})
    limiter = throttle(script, Limits(64, rpm=60, per_second=10))
    with pytest.raises(Throttled):
        await limiter.send(request(path="bad"))
    await asyncio.gather(*(limiter.send(request()) for _ in range(3)))

    assert script.times()[1] == pytest.approx(30.0, abs=0.002)
    assert script.times()[2] >= 31.0


@virtual_time
async def test_per_second_survives_one_who_leaves_while_it_waits(throttler_on_loop_time: None) -> None:
    script, failures = Script(), []
    loop().set_exception_handler(lambda _, context: failures.append(context))
    limiter = throttle(script, Limits(64, rpm=60_000, per_second=1))
    await limiter.send(request())
    leaving = asyncio.create_task(limiter.send(request()))
    await asyncio.sleep(0.5)
    leaving.cancel()
    await asyncio.sleep(5.0)
    await limiter.send(request(path="last"))

    assert script.paths() == ["/embeddings", "last"]
    assert failures == []


@virtual_time
async def test_statistics_say_what_the_work_waits_for() -> None:
    script = Script({"/embeddings": 0.1})
    limiter = throttle(script, Limits(64, rpm=6000, tpm=60_000))
    running = asyncio.create_task(load(limiter, cycle([100]), 120.0))
    await asyncio.sleep(119.0)
    statistics = limiter.statistics()
    await running

    assert statistics.waiting > 100
    assert statistics.utilisation == pytest.approx(1.0, abs=0.02)
    assert statistics.tokens_per_minute == pytest.approx(60_000, rel=0.02)
    assert statistics.requests_per_minute == pytest.approx(600, rel=0.02)
    assert not statistics.paused
    assert statistics.blocked == {"tokens": pytest.approx(119.0, abs=1.0)}


@virtual_time
async def test_statistics_know_pauses_and_slots() -> None:
    script = Script({"bad": Throttled("x", hint=10.0), "slow": 5.0})
    limiter = throttle(script, Limits(1, rpm=6000))
    with pytest.raises(Throttled):
        await limiter.send(request(path="bad"))
    waiting = [asyncio.create_task(limiter.send(request(path="slow"))) for _ in range(2)]
    await asyncio.sleep(1.0)

    assert limiter.statistics().paused
    await asyncio.gather(*waiting)
    assert limiter.statistics().blocked == {
        "pause": pytest.approx(10.0),
        "concurrency": pytest.approx(5.0),
    }


@virtual_time
async def test_repr_shows_slots_queue_and_lanes() -> None:
    limiter = throttle(Script(), Limits(4, rpm=60))
    await limiter.send(request())

    assert repr(limiter).startswith("<Throttle [0 of 4 in flight, 0 waiting | m: <Lane at 100%, requests <TokenBucket")
