"""The one field of an output line from which recovery knows who made it: attempt, input line and cost.

`<ledger>-<attempt>-<line>-<nano-USD>`, all numbers decimal: the ledger's name, the number of the attempt in that
ledger, the input line from 1, and the line's share of the attempt's cost. It is the first field of every line.
"""

from __future__ import annotations

import re
from typing import NamedTuple

TEMPLATED_PREFIX = b'{"attempt":"'
BATCH_PREFIX = b'{"id":"batch_req_'
_IDENTITY = re.compile(rb'\{"(?:attempt":"|id":"batch_req_)([a-z0-9]{8})-(\d{1,18})-(\d{1,18})-(\d{1,18})"')


class LineIdentity(NamedTuple):
    """Who made an output line."""

    ledger: str
    attempt: int
    line: int
    cost_nusd: int


def attempt_name(ledger: str, attempt: int) -> str:
    """The attempt's name on the wire (`X-Client-Request-Id`)."""
    return f"{ledger}-{attempt}"


def attempt_number(name: str) -> int:
    """The number within `attempt_name`."""
    return int(name[9:])


def line_identity(line: bytes) -> LineIdentity | None:
    """Read the identity from the start of an output line; None where the line is not one of ours."""
    found = _IDENTITY.match(line)
    if found is None:
        return None
    ledger, attempt, number, cost = found.groups()
    return LineIdentity(ledger.decode(), int(attempt), int(number), int(cost))
