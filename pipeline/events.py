"""What observers may see. Events carry numbers and names, never prompts, answers or keys."""

from __future__ import annotations

from typing import NamedTuple, Protocol


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


Event = AttemptSent | AttemptEnded | RecordsSettled | RecordFailed | Paused | SoftBudgetReached | Notice


class Observer(Protocol):
    """Sees every event. It must be quick and must not raise."""

    def see(self, event: Event) -> None:
        """Take note of `event`."""


class Observers:
    """Hands each event to every observer, in order."""

    def __init__(self, observers: list[Observer] | None = None) -> None:
        self._observers = list(observers or [])

    def add(self, observer: Observer) -> None:
        self._observers.append(observer)

    def see(self, event: Event) -> None:
        for observer in self._observers:
            observer.see(event)
