"""What observers may see. Events carry numbers and names, never prompts, answers or keys."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, Protocol

from pipeline.types import Usage


class AttemptSent(NamedTuple):
    """An attempt passed the limiter and is about to be sent."""

    waited: float
    """Seconds it waited for quota."""


class AttemptEnded(NamedTuple):
    """An attempt was answered or failed."""

    seconds: float
    items: int
    input_tokens: int
    output_tokens: int
    error: str | None
    """Class name of the error (`Throttled`, `Transient` …), or None for a valid answer."""
    code: str | None
    status: int | None


class RecordsSettled(NamedTuple):
    """Records reached their end and the ledger has committed it."""

    ok: int
    failed: int


class RunStarted(NamedTuple):
    """The run holds the lock of its output and begins."""


class RecordFailed(NamedTuple):
    """A record became a dead letter; it is among those that the next `RecordsSettled` counts."""

    line: int
    custom_id: str
    code: str


class Paused(NamedTuple):
    """The endpoint is paused: a 429 with a hint, or an open circuit."""

    seconds: float
    reason: str


class SoftBudgetReached(NamedTuple):
    """What was spent, or may have been, has reached the soft budget; once for each output."""

    spent_nusd: int
    soft_nusd: int


class Notice(NamedTuple):
    """Something the user should read once."""

    level: str
    """`info`, `warning` or `error`."""
    message: str


class Exchange(NamedTuple):
    """All that can be told of an attempt but what was said in it. Made only where somebody wants to know so much."""

    attempt: str
    """Its name, `<ledger>-<number>`."""
    path: str
    model: str
    first_line: int
    last_line: int
    """Input lines of its first and last record; others may lie between."""
    items: int
    began: float
    """Seconds since the epoch."""
    seconds: float
    sent: int
    received: int
    """Bytes of the two bodies; `received` is 0 where there was no valid answer."""
    error: str | None
    code: str | None
    status: int | None
    usage: Usage | None
    """As validated; None where there was no valid answer."""
    answered_by: str | None
    """The model that answered."""


Event = AttemptSent | AttemptEnded | RecordsSettled | RecordFailed | RunStarted | SoftBudgetReached | Paused | Notice
_KINDS: tuple[type[Event], ...] = (
    AttemptSent, AttemptEnded, RecordsSettled, RecordFailed, RunStarted, SoftBudgetReached, Paused, Notice,
)  # fmt: skip


class Observer(Protocol):
    """Sees every event. It must be quick and must not raise."""

    def see(self, event: Event) -> None:
        """Take note of `event`."""


class Observers:
    """Hands each event to every observer that wants its kind, in order."""

    def __init__(self, observers: list[Observer] | None = None) -> None:
        self._wanting: dict[type[Event], list[Callable[[Event], None]]] = {kind: [] for kind in _KINDS}
        for observer in observers or []:
            self.add(observer)

    def add(self, observer: Observer, *kinds: type[Event]) -> None:
        """Let `observer` see events of these kinds; of all where none is named."""
        for kind in kinds or _KINDS:
            self._wanting[kind].append(observer.see)

    def see(self, event: Event) -> None:
        for see in self._wanting[type(event)]:
            see(event)
