"""The values that travel through the pipeline: Record → Item → Request → Response → Result or DeadLetter."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any, NamedTuple

Json = Any
"""What `orjson.loads` returns: dict, list, str, int, float, bool or None."""


class RateLimits(NamedTuple):
    """What a response said about its limits. None where it said nothing."""

    limit_requests: int | None = None
    remaining_requests: int | None = None
    limit_tokens: int | None = None
    remaining_tokens: int | None = None


class Usage(NamedTuple):
    """Tokens of one request or of one record's share of it.

    `cached` and `cache_write` are parts of `input`; `reasoning` is a part of `output`.
    """

    input: int = 0
    output: int = 0
    cached: int = 0
    cache_write: int = 0
    reasoning: int = 0
    estimated: bool = False
    """True where the server reported nothing that could be believed and the upper bound was taken."""


class Record(NamedTuple):
    """One line of the input."""

    line: int
    """Number of the line in the input, from 1; blank lines are counted."""
    custom_id: str
    data: Mapping[str, Json]


class BadLine(NamedTuple):
    """A line that is not a record: it becomes a dead letter without being sent."""

    line: int
    code: str
    message: str
    raw: bytes
    """The line as it was read, cut to at most 64 KiB."""


class Item(NamedTuple):
    """A rendered record: its share of a request."""

    record: Record
    content: Json
    """What the job puts into the request body for this record: a text, a prompt, messages, or a whole body."""
    input_tokens: int
    """Estimated input tokens: what pacing charges."""
    output_tokens: int | None = 0
    """The most tokens the answer may have, over all choices; 0 where there are none, None where nothing bounds them."""
    group: Hashable = None
    """Only items of one group share a request."""


class Request(NamedTuple):
    """One HTTP exchange as asked for."""

    path: str
    """Path below the endpoint's base URL, such as `/embeddings`."""
    body: bytes
    items: tuple[Item, ...]
    model: str
    tokens: int
    """Charge to the tokens bucket: estimated input plus the most output."""
    input_bound: int
    """Input tokens that the provider cannot exceed (UTF-8 bytes of the body)."""
    output_bound: int
    """Output tokens that the provider cannot exceed; 0 where there are none."""
    service_tier: str | None = None
    """The tier asked for; prices depend on it."""
    attempts: int = 0
    """Attempts already made for these records in earlier, larger requests."""
    first_at: float | None = None
    """When the first of those began, in seconds since the epoch."""
    attempt: str = ""
    """Name of the attempt, `<ledger>-<number>`; set by the reservation, sent as `X-Client-Request-Id`."""

    def named(self, attempt: str) -> Request:
        """Return the request as this attempt sends it; `_replace` would take twice as long."""
        return Request._make((*self[:-1], attempt))


class Response(NamedTuple):
    """What came back, growing on its way up: HTTP sets the first fields, validation and reservation the others."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    limits: RateLimits | None = None
    answers: tuple[Mapping[str, Json] | Exception, ...] = ()
    """One per item, in the order of the items: a single-record response body, or the Rejected that it became."""
    usage: Usage = Usage()
    model: str = ""
    """The model that answered; priced by it."""
    service_tier: str | None = None
    received: int = 0
    """Bytes of the body, which is let go of once it has been read."""
    attempt: str = ""
    cost_nusd: int = 0

    def priced(self, attempt: str, cost_nusd: int) -> Response:
        """Return the response as that to `attempt`, which cost so much; `_replace` would take twice as long."""
        return Response._make((*self[:-2], attempt, cost_nusd))


class Result(NamedTuple):
    """The answer to one record, as a line of the output."""

    line: int
    content: bytes
    """The output line, ending in a newline."""


class DeadLetter(NamedTuple):
    """A record given up on, with the reason."""

    line: int
    custom_id: str
    code: str
    message: str
    attempts: int
    first_at: float | None
    last_at: float | None
    record: bytes
    """The record as JSON, or the bad line as it was read (at most 64 KiB)."""
