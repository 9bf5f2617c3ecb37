"""Several limiters over one file, against one independent bucket, in virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from itertools import cycle
from pathlib import Path

import pytest

from pipeline.backends.base import Backend
from pipeline.core.limits import Limits
from pipeline.errors import Throttled
from pipeline.events import Observers
from pipeline.middleware.throttle import Throttle
from pipeline.storage.shared_limits import SharedLimits
from pipeline.types import Request, Response
from tests.middleware.test_throttle import Provider, Script, load, mixed, now, request
from tests.virtual import LoopClock, run, virtual_time


class OneRun:
    """One run on a provider that it shares: what it got, and how it ends."""

    def __init__(self, inner: Backend, limits: Limits, state: Path, key: str = "key") -> None:
        self._inner = inner
        self.requests = self.tokens = 0
        self.said: list[str] = []
        account = ("http://localhost/v1", key, None, None)
        self.shared = SharedLimits({"PIPELINE_STATE": str(state)}, account, self.said.append)
        observers = Observers([])
        self.throttle = Throttle(self, limits, LoopClock(), observers, jitter=lambda: 0.0, lanes=self.shared)

    async def send(self, request: Request) -> Response:
        response = await self._inner.send(request)
        self.requests += 1
        self.tokens += request.tokens
        return response

    async def work(self, sizes: Iterator[int], seconds: float, workers: int = 64) -> None:
        """Ask for all it can get, for `seconds`, and leave."""
        step = asyncio.create_task(self.throttle.keep_in_step())
        await load(self.throttle, sizes, seconds, workers)
        step.cancel()
        self.shared.close()


async def both(runs: list[OneRun], seconds: float, sizes: list[Iterator[int]]) -> None:
    await asyncio.gather(*(one.work(kind, seconds) for one, kind in zip(runs, sizes, strict=True)))


@pytest.mark.parametrize("jitter", [0.0, 0.1])
@pytest.mark.parametrize("rpm", [90, 600, 6000])
def test_two_runs_fill_the_limit_together_and_each_has_half(tmp_path: Path, rpm: int, jitter: float) -> None:
    provider, seconds = Provider(rpm=rpm, jitter=jitter), min(300.0, 120_000 / rpm)
    runs = [OneRun(provider, Limits(64, rpm=rpm), tmp_path) for _ in range(2)]
    run(both(runs, seconds, [cycle([1]), cycle([1])]))

    assert provider.refused == 0
    assert provider.requests >= 0.98 * rpm * seconds / 60
    assert min(one.requests for one in runs) >= 0.45 * provider.requests


@pytest.mark.parametrize("sizes", [(40, 40), (40, 400), (40, 4_000), (700, 3_000)])
def test_tokens_are_shared_evenly_whatever_the_sizes(tmp_path: Path, sizes: tuple[int, int]) -> None:
    provider = Provider(tpm=120_000)
    runs = [OneRun(provider, Limits(64, tpm=120_000), tmp_path) for _ in range(2)]
    run(both(runs, 100.0, [cycle([size]) for size in sizes]))

    assert provider.refused == 0
    assert provider.tokens >= 0.98 * 120_000 * 100 / 60
    assert min(one.tokens for one in runs) >= 0.4 * provider.tokens


def test_three_runs_with_mixed_sizes_under_both_limits_are_refused_nothing(tmp_path: Path) -> None:
    limits = Limits(64, rpm=6_000, tpm=600_000)
    provider = Provider(rpm=6_000, tpm=600_000, jitter=0.1)
    runs = [OneRun(provider, limits, tmp_path) for _ in range(3)]
    run(both(runs, 240.0, [mixed(), mixed(), mixed()]))

    assert provider.refused == 0
    assert provider.tokens >= 0.98 * 600_000 * 4
    assert min(one.tokens for one in runs) >= 0.25 * provider.tokens


def test_a_limit_that_one_run_learns_holds_for_both(tmp_path: Path) -> None:
    provider = Provider(rpm=1_200)
    runs = [OneRun(provider, Limits(8), tmp_path) for _ in range(2)]
    run(both(runs, 120.0, [cycle([1]), cycle([1])]))

    assert provider.refused <= 3
    assert provider.requests >= 0.98 * 2 * 1_200
    assert min(one.requests for one in runs) >= 0.4 * provider.requests


def test_runs_with_other_keys_do_not_share(tmp_path: Path) -> None:
    providers = [Provider(rpm=600), Provider(rpm=600)]
    keys = zip(providers, ("one key", "another"), strict=True)
    runs = [OneRun(provider, Limits(64, rpm=600), tmp_path, key) for provider, key in keys]
    run(both(runs, 60.0, [cycle([1]), cycle([1])]))

    assert min(provider.requests for provider in providers) >= 0.98 * 600


@virtual_time
async def test_a_run_that_ends_leaves_all_to_the_other(tmp_path: Path) -> None:
    provider = Provider(rpm=1_200)
    stays, ends = (OneRun(provider, Limits(64, rpm=1_200), tmp_path) for _ in range(2))
    await asyncio.gather(stays.work(cycle([1]), 60.0), ends.work(cycle([1]), 20.0))

    assert provider.refused == 0
    assert provider.requests >= 0.98 * 1_200
    assert ends.requests >= 0.4 * 400
    assert not list((tmp_path / "limits").iterdir()), "the last one clears up"


@virtual_time
async def test_a_run_that_hangs_with_the_next_turn_holds_nobody_up(tmp_path: Path) -> None:
    provider = Provider(rpm=1_200)
    stays, hangs = (OneRun(provider, Limits(64, rpm=1_200), tmp_path) for _ in range(2))
    working = asyncio.create_task(stays.work(cycle([1]), 60.0))
    hanging = asyncio.create_task(load(hangs.throttle, cycle([1]), 20.0))
    await asyncio.gather(working, hanging)

    assert provider.refused == 0
    assert provider.requests >= 0.98 * 1_200


@virtual_time
async def test_a_run_that_comes_later_begins_where_the_first_one_stands(tmp_path: Path) -> None:
    provider = Provider(rpm=600)
    first, second = (OneRun(provider, Limits(64, rpm=600), tmp_path) for _ in range(2))

    async def later() -> None:
        await asyncio.sleep(20.3)
        await second.work(cycle([1]), 39.7)

    await asyncio.gather(first.work(cycle([1]), 60.0), later())

    assert provider.refused == 0
    assert provider.requests >= 0.98 * 600
    assert second.requests >= 0.45 * 39.7 * 10


@virtual_time
async def test_a_run_with_a_lower_limit_keeps_to_it_and_the_other_has_the_rest(tmp_path: Path) -> None:
    provider = Provider(rpm=1_200)
    gentle, other = (OneRun(provider, Limits(64, rpm=rpm), tmp_path) for rpm in (120, 1_200))
    await both([gentle, other], 60.0, [cycle([1]), cycle([1])])

    assert provider.refused == 0
    assert 110 <= gentle.requests <= 122
    assert provider.requests >= 0.98 * 1_200


@virtual_time
async def test_a_pause_holds_for_both_and_so_does_the_lower_rate_after_it(tmp_path: Path) -> None:
    script = Script({"refused": Throttled("slow down", hint=7.5)})
    refused, other = (OneRun(script, Limits(64, rpm=6_000), tmp_path) for _ in range(2))
    steps = [asyncio.create_task(one.throttle.keep_in_step()) for one in (refused, other)]
    await asyncio.gather(*(one.throttle.send(request()) for one in (refused, other)))
    begun = now()
    with pytest.raises(Throttled):
        await refused.throttle.send(request(path="refused"))
    await asyncio.gather(*(other.throttle.send(request(path="after")) for _ in range(71)))
    times = [at for at, path in script.sent if path == "after"]

    assert times[0] == pytest.approx(begun + 7.5, abs=0.11)
    assert times[-1] - times[0] == pytest.approx(70 / 70, abs=0.05)
    for step in steps:
        step.cancel()


@virtual_time
async def test_a_first_run_that_has_stopped_is_waited_for_only_so_long(tmp_path: Path) -> None:
    script = Script()
    stopped, other = (OneRun(script, Limits(64, rpm=600), tmp_path) for _ in range(2))
    await stopped.throttle.send(request())
    begun = now()
    await other.throttle.send(request())

    assert 0.9 <= now() - begun <= 1.1


@virtual_time
async def test_where_there_is_no_place_each_run_keeps_its_own_limits_and_says_so_once(tmp_path: Path) -> None:
    (tmp_path / "limits").write_text("in the way")
    script = Script()
    alone = OneRun(script, Limits(64, rpm=600), tmp_path)
    for model in ("a", "b"):
        await alone.throttle.send(request(model=model))

    assert len(script.sent) == 2
    assert len(alone.said) == 1
    assert "not shared" in alone.said[0]


async def come_and_go(runs: list[OneRun]) -> None:
    """The first run works from 0 to 100, the second from 20.3 to 110, the third from 40.6 to 120."""

    async def work(one: OneRun, begin: float, end: float) -> None:
        await asyncio.sleep(begin)
        await one.work(cycle([1]), end - begin)

    await asyncio.gather(*(work(one, 20.3 * at, 100.0 + 10 * at) for at, one in enumerate(runs)))


@pytest.mark.parametrize("number", [2, 3])
@pytest.mark.usefixtures("throttler_on_loop_time")
def test_runs_that_come_and_go_keep_together_to_the_limit_of_any_second(tmp_path: Path, number: int) -> None:
    script = Script()
    runs = [OneRun(script, Limits(64, rpm=60_000, per_second=10), tmp_path) for _ in range(number)]
    run(come_and_go(runs))
    times = script.times()
    together = [at for at in times if 65 <= at < 95]

    assert all(later - earlier >= 1.0 for earlier, later in zip(times, times[10:], strict=False))
    assert len([at for at in times if at < 20]) >= 190, "the first run had all of it"
    assert len(together) >= 10 // number * number * 28
    assert min(one.requests for one in runs) >= 0.25 * len(times) / number


@pytest.mark.usefixtures("throttler_on_loop_time")
def test_more_runs_than_requests_a_second_keep_to_the_limit_over_longer_times(tmp_path: Path) -> None:
    script = Script()
    runs = [OneRun(script, Limits(64, rpm=60_000, per_second=2), tmp_path) for _ in range(3)]
    run(come_and_go(runs))
    times = script.times()

    assert all(later - earlier >= 9.0 for earlier, later in zip(times, times[20:], strict=False))
    assert len(times) >= 0.9 * 2 * 120
