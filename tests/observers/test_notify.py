from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, cast

import pytest

from pipeline.channels.base import Undelivered
from pipeline.channels.heartbeat import Heartbeat
from pipeline.core.notification import Notification, RunEvent
from pipeline.events import AttemptSent, Event, Notice, RunStarted, SoftBudgetReached
from pipeline.observers.notify import Audience, Notifier
from pipeline.observers.summary import Part, Records, Requests, Summary
from tests.cli.summaries import summary
from tests.virtual import virtual_time

ALL: Sequence[RunEvent] = (
    "complete", "dead_letters", "soft_budget", "hard_budget", "deadline", "failed", "interrupted", "locked",
)  # fmt: skip
SENT = Part(Records(5, 5, 0, 0), Requests(1, 1, 0, 0))


def ended(exit_code: int = 0, part: Part = SENT, **changes: Any) -> Summary:
    state = {0: "complete", 3: "complete", 4: "stopped", 75: "stopped", 130: "interrupted"}.get(exit_code, "failed")
    published = summary()
    fields: dict[str, Any] = {
        key: published[key] for key in ("job", "name", "started_at", "ended_at", "message", "output", "errors")
    }
    fields |= {"state": state, "exit_code": exit_code, "whole": part, "this_run": part, "seconds": 1.0}
    return Summary(**(fields | changes))


class Inbox:
    """A channel that keeps what it is given; hangs, fails or takes a while where that is wanted."""

    place = "inbox"

    def __init__(self, seconds: float = 0.0, failure: Undelivered | None = None) -> None:
        self.seconds = seconds
        self.failure = failure
        self.got: list[Notification] = []

    async def deliver(self, notification: Notification) -> None:
        await asyncio.sleep(self.seconds)
        if self.failure is not None:
            raise self.failure
        self.got.append(notification)

    @property
    def events(self) -> list[str]:
        return [each.event for each in self.got]


class Pulse:
    """A heartbeat that keeps when it was pinged, and how."""

    place = "pulse"

    def __init__(self, seconds: float = 0.0) -> None:
        self.seconds = seconds
        self.pings: list[tuple[float, str]] = []

    async def started(self) -> None:
        await self._ping("start")

    async def ended(self, exit_code: int) -> None:
        await self._ping(str(exit_code))

    async def _ping(self, what: str) -> None:
        await asyncio.sleep(self.seconds)
        self.pings.append((asyncio.get_running_loop().time(), what))


class Notes:
    def __init__(self) -> None:
        self.texts: list[str] = []

    def see(self, event: Event) -> None:
        assert isinstance(event, Notice)
        assert event.level == "warning"
        self.texts.append(event.message)


class Scene:
    """A notifier with those whom it tells."""

    def __init__(
        self,
        *inboxes: Inbox,
        on: Sequence[RunEvent] = ALL,
        pulse: Pulse | None = None,
        problems: Sequence[tuple[str, Undelivered]] = (),
    ) -> None:
        self.notes = Notes()
        heartbeat = cast("Heartbeat | None", pulse)
        audience = Audience(inboxes, on, 10.0, heartbeat, 5.0, problems)
        self.notifier = Notifier(audience, self.notes, lambda: ended(exit_code=None, state="running"), lambda: 0.0)  # type: ignore[arg-type]


def now() -> float:
    return asyncio.get_running_loop().time()


@pytest.mark.parametrize(
    ("exit_code", "stop", "event"),
    [
        (0, None, "complete"),
        (3, None, "dead_letters"),
        (4, "budget_reached", "hard_budget"),
        (4, "deadline", "deadline"),
        (6, "needs_person", "failed"),
        (130, "interrupted", "interrupted"),
        (75, "locked", "locked"),
    ],
)
async def test_the_end_is_told_once_by_its_name(exit_code: int, stop: str | None, event: str) -> None:
    asked, unasked = Inbox(), Inbox()
    await Scene(asked).notifier.ended(ended(exit_code), stop)
    await Scene(unasked, on=[each for each in ALL if each != event]).notifier.ended(ended(exit_code), stop)

    assert (asked.events, unasked.events) == ([event], [])
    assert asked.got[0].content["exit_code"] == exit_code


@pytest.mark.parametrize("exit_code", [0, 3])
async def test_a_run_that_found_nothing_to_do_tells_nobody_and_is_alive(exit_code: int) -> None:
    inbox, pulse = Inbox(), Pulse()
    scene = Scene(inbox, pulse=pulse)
    scene.notifier.see(RunStarted())
    await scene.notifier.ended(ended(exit_code, Part()), None)

    assert inbox.events == []
    assert [what for _, what in pulse.pings] == ["start", str(exit_code)]


async def test_the_soft_budget_is_told_under_way_and_nothing_else_is() -> None:
    inbox = Inbox()
    notifier = Scene(inbox).notifier
    for event in (AttemptSent(0.0), SoftBudgetReached(4, 3), Notice("warning", "the soft budget is reached")):
        notifier.see(event)
    await notifier.ended(ended(), None)

    assert inbox.events == ["soft_budget", "complete"]
    content = inbox.got[0].content
    assert (content["state"], content["exit_code"]) == ("running", None)
    assert "the soft budget is reached, and the run goes on" in content["text"]


async def test_a_bug_is_told_as_a_failure() -> None:
    inbox, pulse = Inbox(), Pulse()
    scene = Scene(inbox, pulse=pulse)
    await scene.notifier.broke()

    assert inbox.events == ["failed"]
    assert (inbox.got[0].content["state"], inbox.got[0].content["exit_code"]) == ("failed", 1)
    assert [what for _, what in pulse.pings] == ["1"]


async def test_everybody_is_told_the_same_under_one_name() -> None:
    first, second = Inbox(), Inbox()
    await Scene(first, second).notifier.ended(ended(), None)

    assert first.got == second.got != []


@virtual_time
async def test_the_end_of_a_run_waits_for_its_deliveries_and_no_longer_than_their_time() -> None:
    quick, slow, silent = Inbox(), Inbox(9.0), Inbox(1_000.0)
    scene = Scene(quick, slow, silent)
    await scene.notifier.ended(ended(), None)

    assert (quick.events, slow.events, silent.events) == (["complete"], ["complete"], [])
    assert now() == 10.0
    assert scene.notes.texts == ["inbox: not delivered: not done within 10 s"]


@virtual_time
async def test_nobody_waits_for_what_is_told_under_way() -> None:
    scene = Scene(Inbox(1_000.0), pulse=Pulse(1_000.0))
    scene.notifier.see(RunStarted())
    scene.notifier.see(SoftBudgetReached(4, 3))

    assert now() == 0.0


@virtual_time
async def test_the_end_is_pinged_after_the_start_however_long_that_takes() -> None:
    pulse = Pulse(2.0)
    scene = Scene(pulse=pulse)
    scene.notifier.see(RunStarted())
    await scene.notifier.ended(ended(4), "deadline")

    assert pulse.pings == [(2.0, "start"), (4.0, "4")]


@virtual_time
async def test_a_heartbeat_that_hangs_takes_its_own_time_and_is_noticed_once() -> None:
    scene = Scene(pulse=Pulse(1_000.0))
    scene.notifier.see(RunStarted())
    await asyncio.sleep(1.0)
    await scene.notifier.ended(ended(), None)

    assert now() == 6.0
    assert scene.notes.texts == ["pulse: not delivered: not done within 5 s"]


async def test_a_run_that_found_another_at_work_pings_nothing() -> None:
    pulse = Pulse()
    await Scene(pulse=pulse).notifier.ended(ended(75, Part()), "locked")

    assert pulse.pings == []


@virtual_time
async def test_what_fails_twice_for_one_reason_is_noticed_once() -> None:
    scene = Scene(Inbox(failure=Undelivered("it answered 404 Not Found", again=False)))
    scene.notifier.see(SoftBudgetReached(4, 3))
    await scene.notifier.ended(ended(), None)

    assert scene.notes.texts == ["inbox: not delivered: it answered 404 Not Found"]


async def test_what_cannot_be_used_is_noticed_at_the_start_and_once() -> None:
    problem = ("webhook", Undelivered("the environment variable HOOK is not set", again=False))
    scene = Scene(problems=[problem])
    scene.notifier.see(RunStarted())
    at_start = list(scene.notes.texts)
    await scene.notifier.ended(ended(), None)

    assert at_start == scene.notes.texts == ["webhook: not delivered: the environment variable HOOK is not set"]


@virtual_time
async def test_whoever_asks_twice_for_the_end_waits_for_nothing() -> None:
    scene = Scene(Inbox(1_000.0), pulse=Pulse(1_000.0))
    asyncio.get_running_loop().call_later(1.0, scene.notifier.abandon)
    await scene.notifier.ended(ended(130), "interrupted")

    assert (now(), scene.notes.texts) == (1.0, [])


@virtual_time
async def test_after_that_nothing_more_is_told() -> None:
    inbox, pulse = Inbox(), Pulse()
    scene = Scene(inbox, pulse=pulse)
    scene.notifier.abandon()
    await scene.notifier.ended(ended(130), "interrupted")

    assert (inbox.events, pulse.pings) == ([], [])
