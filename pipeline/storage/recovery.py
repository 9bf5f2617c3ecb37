"""Recovery: before any request, make ledger and output agree. Dying anywhere in it and running it again is safe.

The output may hold lines of the last commit that its transaction never saw. They are answers that were paid for: each
that an attempt in flight can have written is accepted; from the first that is not, the rest is kept aside and cut off.
An attempt whose answers were all found cost what they say; any other may have been billed, so its reservation becomes
unknown spend and its unanswered records are sent again. Either is spend of the run that recovers, on the attempt's day.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import orjson

from pipeline.core.identity import LineIdentity, line_identity
from pipeline.errors import StateMismatch
from pipeline.storage.ledger import Ledger
from pipeline.storage.results import OutputLog
from pipeline.types import Json, Usage


class Recovered(NamedTuple):
    """What recovery did."""

    lines: int
    """Output lines found beyond the last commit and accepted."""
    torn: int
    """Bytes cut off and kept aside."""
    unknown: int
    """Attempts whose outcome is unknown."""


class _Found(NamedTuple):
    identity: LineIdentity
    usage: Usage
    raw: bytes


def recover(ledger: Ledger, log: OutputLog, aside: Path) -> Recovered:
    """Roll the output's tail forward, cut what cannot be believed, and close the attempts of the dead run.

    Args:
        ledger: The open ledger.
        log: The output, open at the ledger's offset.
        aside: Where bytes that are cut off are kept.

    Raises:
        StateMismatch: The ledger is older than the output.
        StorageFailed: The disk refused.
    """
    found = _believable(ledger, log)
    by_attempt: dict[int, list[_Found]] = defaultdict(list)
    for line in found:
        by_attempt[line.identity.attempt].append(line)
    log.accept([line.raw for line in found])
    torn = log.cut_tail(aside)
    if found:
        log.sync()
    attempts = list(ledger.inflight)
    unknown = 0
    with ledger.transaction():
        ledger.begin_run()
        for attempt in attempts:
            unknown += _close(ledger, attempt, by_attempt[attempt])
        ledger.out_off, ledger.tail = log.offset, log.fingerprint
    return Recovered(len(found), torn, unknown)


def _believable(ledger: Ledger, log: OutputLog) -> list[_Found]:
    """Return the tail's lines up to the first that no attempt in flight can have written."""
    found: list[_Found] = []
    taken: set[int] = set()
    for raw in log.tail_lines():
        identity = line_identity(raw)
        if identity is not None and identity.ledger == ledger.name and identity.attempt >= ledger.next_attempt:
            raise StateMismatch(
                f"{log.path} holds answers of attempt {identity.attempt}, which {ledger.path} does not know: "
                "the ledger is older than the output (a restored backup?); "
                "restore the newer one, or start again with --fresh"
            )
        usage = usage_of(raw)
        if identity is None or usage is None or not _may_be_ours(ledger, identity, taken):
            break
        taken.add(identity.line)
        found.append(_Found(identity, usage, raw))
    return found


def _may_be_ours(ledger: Ledger, identity: LineIdentity, taken: set[int]) -> bool:
    row = ledger.inflight.get(identity.attempt)
    return (
        identity.ledger == ledger.name
        and row is not None
        and identity.line in row.lines
        and identity.line not in taken
        and identity.line not in ledger.done
    )


def _close(ledger: Ledger, attempt: int, found: list[_Found]) -> bool:
    """Close one attempt; True where its outcome stays unknown."""
    whole = len(found) == len(ledger.inflight[attempt].lines)
    cost = sum(line.identity.cost_nusd for line in found) if whole else None
    ledger.settle_recovered(attempt, cost, [line.identity.line for line in found], _total(found))
    return not whole


def _total(found: Iterable[_Found]) -> Usage:
    usages = [line.usage for line in found]
    return Usage(
        input=sum(usage.input for usage in usages),
        output=sum(usage.output for usage in usages),
        cached=sum(usage.cached for usage in usages),
        cache_write=sum(usage.cache_write for usage in usages),
        reasoning=sum(usage.reasoning for usage in usages),
    )


def usage_of(raw: bytes) -> Usage | None:
    """Read the usage of an output line; None where the line is not a whole result."""
    try:
        line = orjson.loads(raw)
    except orjson.JSONDecodeError:
        return None
    block = line if "attempt" in _object(line) else _object(_object(line).get("response")).get("body")
    return usage_in(block)


def usage_in(block: Json) -> Usage | None:
    """Read the usage of a response body, or of a line that has it as a body has; None where there is none."""
    usage = _object(block).get("usage")
    if not isinstance(usage, dict):
        return None
    prompt, completion = _object(usage.get("prompt_tokens_details")), _object(usage.get("completion_tokens_details"))
    return Usage(
        input=_count(usage, "prompt_tokens"),
        output=_count(usage, "completion_tokens"),
        cached=_count(prompt, "cached_tokens"),
        cache_write=_count(prompt, "cache_write_tokens"),
        reasoning=_count(completion, "reasoning_tokens"),
        estimated=usage.get("estimated") is True,
    )


def _object(value: Json) -> dict[str, Json]:
    return value if isinstance(value, dict) else {}


def _count(block: dict[str, Json], key: str) -> int:
    value = block.get(key, 0)
    return value if type(value) is int else 0
