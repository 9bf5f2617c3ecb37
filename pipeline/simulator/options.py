"""What a simulator is told before it starts."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from pipeline.simulator.faults import Faults


@dataclass(frozen=True, slots=True)
class Options:
    """The settings of one simulator. Times are seconds.

    Raises:
        ValueError: A host that is not this machine, or a number out of its range.
    """

    host: str = "127.0.0.1"
    """A loopback address: the simulator is for this machine only."""
    port: int = 0
    """0 takes a free one."""
    rpm: int | None = None
    """Requests a minute; None is no limit."""
    tpm: int | None = None
    """Tokens a minute, charged as prompt tokens plus the most output tokens; None is no limit."""
    burst_seconds: float = 1.0
    """How many seconds' worth of a limit may be used at once."""
    count_refused: bool = True
    """Whether a request refused by a limit counts against the requests limit."""
    latency: float = 0.0
    """Mean time that a served request takes."""
    jitter: float = 0.0
    """A served request takes `latency` plus or minus up to this."""
    seed: int = 0
    """Decides faults and jitter, in the order of the requests."""
    faults: Faults = field(default_factory=Faults)
    record: Path | None = None
    """Where the record is kept, one JSON line a request; None keeps it in memory."""
    require_key: str | None = None
    """The only key that is let in; None lets in every key."""
    cached_share: float = 0.0
    """Share of the prompt tokens of completions and chats that is reported, and billed, as cached."""
    reasoning_tokens: int = 0
    """Reasoning tokens of each chat answer, billed as output."""
    max_items: int = 2048
    """The most inputs or prompts of one request."""
    engine: Literal["auto", "wordllama", "hashing"] = "auto"
    """Where vectors come from; `auto` is wordllama where its weights are installed."""

    def __post_init__(self) -> None:
        if not is_loopback(self.host):
            raise ValueError(
                f"host {self.host!r}: the simulator serves this machine only (127.0.0.1, ::1 or localhost)"
            )
        _at_least("rpm", 1, self.rpm)
        _at_least("tpm", 1, self.tpm)
        _at_least("latency", 0, self.latency)
        if self.burst_seconds <= 0:
            raise ValueError(f"burst_seconds must be above 0, not {self.burst_seconds}")
        if not 0 <= self.cached_share <= 1:
            raise ValueError(f"cached_share must lie in 0 to 1, not {self.cached_share}")


def _at_least(name: str, least: int, value: float | None) -> None:
    if value is not None and value < least:
        raise ValueError(f"{name} must be at least {least}, not {value}")


def is_loopback(host: str) -> bool:
    """Whether `host` is an address of this machine alone."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
