"""The summary: one schema for `run.json`, `status.json` and `--json`, over all runs of an output."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import Protocol, Self

from pipeline.errors import JobStopped

SCHEMA_VERSION = 1


@dataclass(frozen=True, slots=True)
class Records:
    """`total` and `remaining` are None until the input has been read to its end."""

    total: int | None = None
    ok: int = 0
    failed: int = 0
    remaining: int | None = None


@dataclass(frozen=True, slots=True)
class Requests:
    """Attempts: all that were sent, those answered, those that had to be sent again, those refused by a limit."""

    sent: int = 0
    ok: int = 0
    retried: int = 0
    throttled: int = 0

    def __add__(self, other: Requests) -> Requests:
        return Requests(
            self.sent + other.sent, self.ok + other.ok, self.retried + other.retried, self.throttled + other.throttled
        )


@dataclass(frozen=True, slots=True)
class Tokens:
    """As reported by the answers; `cached` is a part of `input`, `reasoning` of `output`."""

    input: int = 0
    cached: int = 0
    output: int = 0
    reasoning: int = 0


@dataclass(frozen=True, slots=True)
class Money:
    """Nano-USD. `retried_nusd` is the part of `spent_nusd` that paid for records a second time.

    `projected_nusd` is what all will have cost when every record is settled, of which the settled ones are taken to be
    typical; None until enough of them are.
    """

    spent_nusd: int = 0
    unknown_nusd: int = 0
    reserved_nusd: int = 0
    retried_nusd: int = 0
    cap_nusd: int | None = None
    price_source: str | None = None
    """Where the prices came from and of which day they are."""
    projected_nusd: int | None = None

    @property
    def spent_usd(self) -> float:
        """`spent_nusd` in US dollars."""
        return self.spent_nusd / 1e9


@dataclass(frozen=True, slots=True)
class Part:
    """What was done, over all runs of the output or by one of them."""

    records: Records = field(default_factory=Records)
    requests: Requests = field(default_factory=Requests)
    tokens: Tokens = field(default_factory=Tokens)
    money: Money = field(default_factory=Money)


@dataclass(frozen=True, slots=True)
class Now:
    """How a run that is under way moves. Rates are of the last seconds, limits None where none is known."""

    fraction: float | None
    """Share of the input that is settled, from 0 to 1, where its size is known."""
    records_per_second: float
    seconds_left: float | None
    in_flight: int
    requests_per_minute: float
    rpm: int | None
    tokens_per_minute: float
    tpm: int | None
    paused: str | None
    """Why the endpoint is paused, if it is."""


@dataclass(frozen=True, slots=True)
class Summary:
    """How a run stands or ended."""

    job: str
    name: str
    state: str
    """`running`, `complete`, `stopped`, `interrupted` or `failed`."""
    exit_code: int | None
    started_at: str
    ended_at: str | None
    message: str | None
    """Why it stopped, where it did."""
    output: str
    errors: str
    """Where the dead letters are; the file is there only where a record failed."""
    whole: Part
    this_run: Part
    seconds: float
    codes: dict[str, int] = field(default_factory=dict)
    """Dead letters by code."""
    notices: tuple[str, ...] = ()
    pace: dict[str, object] | None = None
    """How fast this run was, and why it was not faster; None where nothing was sent."""
    now: Now | None = None
    """None where it has ended."""
    stopped: JobStopped | None = field(default=None, repr=False)
    """What stopped the run before its end."""

    @property
    def records(self) -> Records:
        """Over all runs of the output, as are `money` and `tokens`."""
        return self.whole.records

    @property
    def money(self) -> Money:
        return self.whole.money

    @property
    def tokens(self) -> Tokens:
        return self.whole.tokens

    def raise_for_state(self) -> Self:
        """Return the summary of a run that came to its end. Dead letters do not keep it from that.

        Raises:
            JobStopped: What stopped it; the same run again goes on from there.
        """
        if self.stopped is not None:
            raise self.stopped
        return self

    def as_dict(self) -> dict[str, object]:
        """The published schema."""
        return {
            "schema_version": SCHEMA_VERSION,
            "job": self.job,
            "name": self.name,
            "state": self.state,
            "exit_code": self.exit_code,
            "started_at": self.started_at,
            "ended_at": self.ended_at,
            "message": self.message,
            "output": self.output,
            "errors": self.errors,
            **asdict(self.whole),
            "codes": self.codes,
            "notices": list(self.notices),
            "pace": self.pace,
            "now": asdict(self.now) if self.now is not None else None,
            "this_run": {"seconds": round(self.seconds, 3), **asdict(self.this_run)},
        }


class SpendRow(Protocol):
    """One row of the ledger's rollup."""

    @property
    def kind(self) -> str: ...
    @property
    def cost(self) -> int: ...
    @property
    def usage(self) -> tuple[int, int, int, int, int, bool]: ...


def tokens_of(rows: Iterable[SpendRow]) -> Tokens:
    """Sum the tokens of a rollup."""
    usages = [row.usage for row in rows]
    return Tokens(
        input=sum(usage[0] for usage in usages),
        cached=sum(usage[2] for usage in usages),
        output=sum(usage[1] for usage in usages),
        reasoning=sum(usage[4] for usage in usages),
    )


def retried_nusd(rows: Iterable[SpendRow]) -> int:
    """What was paid for records that may have been paid for before."""
    return sum(row.cost for row in rows if row.kind == "retried")


def less(whole: Part, before: Part) -> Part:
    """What was added since `before`."""
    return Part(
        records=Records(
            whole.records.total,
            whole.records.ok - before.records.ok,
            whole.records.failed - before.records.failed,
            whole.records.remaining,
        ),
        requests=Requests(
            whole.requests.sent - before.requests.sent,
            whole.requests.ok - before.requests.ok,
            whole.requests.retried - before.requests.retried,
            whole.requests.throttled - before.requests.throttled,
        ),
        tokens=Tokens(
            whole.tokens.input - before.tokens.input,
            whole.tokens.cached - before.tokens.cached,
            whole.tokens.output - before.tokens.output,
            whole.tokens.reasoning - before.tokens.reasoning,
        ),
        money=Money(
            whole.money.spent_nusd - before.money.spent_nusd,
            whole.money.unknown_nusd - before.money.unknown_nusd,
            whole.money.reserved_nusd,
            whole.money.retried_nusd - before.money.retried_nusd,
            whole.money.cap_nusd,
            whole.money.price_source,
            whole.money.projected_nusd,
        ),
    )
