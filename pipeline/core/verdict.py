"""Why a run was not faster: from what it measured to the one cause that bound it, and what to change."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, NamedTuple

FEWEST_SECONDS, FEWEST_ATTEMPTS = 3.0, 16
"""Below either, chance says more than the figures."""
MOSTLY = 0.5
"""Share of the time from which a cause that holds things up is the one to name."""
BUSY_LOOP, BUSY_PROCESS = 0.85, 0.95
"""Seconds of CPU a second: of the thread that sends, and of the process, whose threads take turns on one core."""
FULL = 0.9
"""Share of a limit from which nothing else can have kept the limit from being used."""
BUSY_DISK, WITH_SERVER = 0.3, 0.5
"""Share of the time spent writing from which the disk is the cause, where fewer than that share of the slots were with
the server: the others waited until their intent was durable."""
CROWDED = 1.5
"""Programs that want each core, from which writing is slow because the writer's turn comes late."""
ALL = 0.9
"""Share of the configured slots from which the server is not what kept them from being used."""

Bound = Literal["requests", "tokens", "per_second", "pause", "concurrency", "server", "cpu", "disk", "input", "reader"]

_LIMITS: tuple[Bound, ...] = ("requests", "tokens", "per_second")
_CAUSES: tuple[Bound, ...] = (*_LIMITS, "pause", "concurrency")
"""What can hold up the first in line."""


class Flow(NamedTuple):
    """What went to the server and came back."""

    attempts: int
    again: int
    """Attempts that had to be made once more."""
    throttled: int
    requests_per_minute: float
    tokens_per_minute: float
    utilisation: float
    """Part of the tightest limit a minute that was used; 0 where no limit is known."""
    in_flight: float
    """Attempts with the server, on average."""
    median: float
    """Seconds that an answer took."""


class Machine(NamedTuple):
    """Seconds that this side was busy, and how busy all of it is."""

    process: float
    """CPU of the whole process."""
    loop: float
    """CPU of the thread that sends."""
    disk: float
    """What the writer needed to make things durable."""
    load: float = 0.0
    """Programs that want each core of the machine, ours included."""


class Slots(NamedTuple):
    """How many attempts could be in flight."""

    configured: int
    in_force: int
    """Fewer than configured where the server did not gain by more."""
    max_items: int
    """The most records in one request."""


class Figures(NamedTuple):
    """What is known of a run's sending."""

    seconds: float
    held: Mapping[str, float]
    """Seconds for which the first in line was held up, by requests, tokens, per_second, pause or concurrency."""
    paused: float
    """Seconds for which the endpoint was paused: refusals with a hint, or failures in a row."""
    waited_for_input: float
    """Seconds until a pipe ended; 0 for a file."""
    flow: Flow
    machine: Machine
    slots: Slots
    waited_for_reader: float = 0.0
    """Seconds for which nothing was sent because whoever reads stdout was behind."""


class Verdict(NamedTuple):
    """What bound a run; None where it was too short to say."""

    bound_by: Bound | None
    sentence: str


def verdict(figures: Figures) -> Verdict:
    """Name what bound a run and what to change, in a sentence of fewer than 120 characters."""
    if figures.seconds < FEWEST_SECONDS or figures.flow.attempts < FEWEST_ATTEMPTS:
        return Verdict(None, "too short to say what bound it")
    bound = _bound(figures)
    return Verdict(bound, _SENTENCES[bound](figures))


def _bound(figures: Figures) -> Bound:
    """The limits first: where one is used up nothing else matters. Then this side, which makes slots seem scarce."""
    flow, cause = figures.flow, _held_by(figures)
    if figures.waited_for_reader >= MOSTLY * figures.seconds:
        return "reader"
    if figures.paused >= MOSTLY * figures.seconds or cause == "pause":
        return "pause"
    busy = _is_busy(figures)
    if cause in _LIMITS and (not busy or flow.utilisation >= FULL):
        return cause
    if busy:
        return "cpu"
    if cause == "concurrency":
        return _slots(figures)
    return "input" if figures.waited_for_input >= MOSTLY * figures.seconds else "server"


def _held_by(figures: Figures) -> Bound | None:
    held = {cause: figures.held.get(cause, 0.0) for cause in _CAUSES}
    if sum(held.values()) < MOSTLY * figures.seconds:
        return None
    return max(_CAUSES, key=lambda cause: held[cause])


def _is_busy(figures: Figures) -> bool:
    machine, seconds = figures.machine, figures.seconds
    return machine.loop >= BUSY_LOOP * seconds or machine.process >= BUSY_PROCESS * seconds


def _slots(figures: Figures) -> Bound:
    """What kept the slots, where they were scarce."""
    slots, machine = figures.slots, figures.machine
    if figures.flow.in_flight < WITH_SERVER * slots.in_force and machine.disk >= BUSY_DISK * figures.seconds:
        return "cpu" if machine.load >= CROWDED else "disk"
    return "concurrency" if slots.in_force >= ALL * slots.configured else "server"


def _requests(figures: Figures) -> str:
    used = _used(figures, figures.flow.requests_per_minute)
    packs = figures.slots.max_items > 1
    change = "raise batch.max_items, or get a higher limit" if packs else "get a higher limit (limits.rpm)"
    return f"bound by requests a minute ({used}): {_taken(figures.flow) or change}"


def _tokens(figures: Figures) -> str:
    used = _used(figures, figures.flow.tokens_per_minute)
    change = "shorten prompts, or get a higher limit (limits.tpm)"
    return f"bound by tokens a minute ({used}): {_taken(figures.flow) or change}"


def _per_second(_: Figures) -> str:
    return "bound by limits.per_second: raise it if the server takes more"


def _pause(figures: Figures) -> str:
    seconds = max(figures.paused, figures.held.get("pause", 0.0))
    of = f"{seconds:.0f} s of {figures.seconds:.0f} s"
    if figures.flow.throttled:
        return f"bound by pauses after refusals ({of}): set limits.rpm and limits.tpm to what the account has"
    return f"bound by pauses after the server's failures ({of}): find out what fails there (-v shows it)"


def _concurrency(figures: Figures) -> str:
    slots, median = figures.slots.in_force, _seconds(figures.flow.median)
    return f"bound by concurrency ({slots} in flight, answers took {median} at the median): raise limits.concurrency"


def _server(figures: Figures) -> str:
    flow, slots = figures.flow, figures.slots
    median = f"{_seconds(flow.median)} at the median"
    if flow.again >= MOSTLY * flow.attempts:
        share = flow.again / flow.attempts
        return f"bound by the server's failures ({share:.0%} of attempts were in vain): find out why (-v shows it)"
    if _held_by(figures) == "concurrency":
        return f"bound by the server (no faster with more than {slots.in_force} in flight, {median}): use a larger one"
    return f"bound by the server's latency (answers took {median}, nothing waited): use a faster model"


def _cpu(figures: Figures) -> str:
    share, load = figures.machine.process / figures.seconds, figures.machine.load
    if not _is_busy(figures):
        return f"bound by this machine's CPU ({load:.1f} programs want each core): end some, or use another machine"
    return f"bound by this machine's CPU ({share:.0%} of a core): use a faster one, or split the input over several"


def _disk(figures: Figures) -> str:
    share = figures.machine.disk / figures.seconds
    return f"bound by the disk (writing took {share:.0%} of the time): use a faster one, or raise limits.concurrency"


def _input(figures: Figures) -> str:
    share = min(1.0, figures.waited_for_input / figures.seconds)
    return f"bound by the input (it came in for {share:.0%} of the time and nothing waited): feed the pipe faster"


def _reader(figures: Figures) -> str:
    share = min(1.0, figures.waited_for_reader / figures.seconds)
    return f"bound by the reader of stdout (it was behind for {share:.0%} of the time): let it read faster"


_SENTENCES = {
    "requests": _requests,
    "tokens": _tokens,
    "per_second": _per_second,
    "pause": _pause,
    "concurrency": _concurrency,
    "server": _server,
    "cpu": _cpu,
    "disk": _disk,
    "input": _input,
    "reader": _reader,
}


def _taken(flow: Flow) -> str:
    """What took the rest of a limit that held things up before it was used; empty where it was used."""
    if not 0 < flow.utilisation < FULL:
        return ""
    return "refusals cut the pace, set the account's limits" if flow.throttled else "others use the same limit"


def _used(figures: Figures, per_minute: float) -> str:
    utilisation = figures.flow.utilisation
    return f"{per_minute:,.0f}" + (f", {utilisation:.0%} of the limit" if utilisation else "")


def _seconds(seconds: float) -> str:
    return f"{seconds:.2g} s" if seconds < 10 else f"{seconds:.0f} s"
