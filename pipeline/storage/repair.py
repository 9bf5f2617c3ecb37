"""Rebuilding a ledger from the output, where the two no longer agree (`--repair`).

Every whole result line counts as bought: its record is not sent again. What the ledger alone knew is lost with it: dead
letters are tried again, and what was in flight may have been billed without being known. The old files are kept.
"""

from __future__ import annotations

import os
import shutil
from collections import defaultdict
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import orjson

from pipeline.core.identity import LineIdentity
from pipeline.errors import PipelineError, StateMismatch
from pipeline.storage.bitmap import Bitmap
from pipeline.storage.ledger import Ledger
from pipeline.storage.recovery import usage_of
from pipeline.storage.rewrite import complete_rewrite, draft_of, write_draft
from pipeline.storage.state import Places, storage_errors, sync_directory
from pipeline.storage.witness import witness_path
from pipeline.types import Json, Usage


class Repaired(NamedTuple):
    """What was found."""

    records: int
    """Results that the output holds."""
    spent_nusd: int
    """What they cost, or what the old ledger says where that is more."""
    unknown_nusd: int
    """Of the old ledger, what was in flight included; 0 where it could not be read."""
    ledger_was_readable: bool

    def __str__(self) -> str:
        text = f"the ledger was rebuilt from {self.records} results, ${self.spent_nusd / 1e9:.6f} spent"
        lost = "" if self.ledger_was_readable else "; what was in flight may have been billed and is not known"
        return text + lost


class _Lines:
    """The result lines that a new ledger is built from."""

    def __init__(self) -> None:
        self.ledger = ""
        self.done = Bitmap()
        self.next_attempt = 1
        self.costs: dict[str, int] = defaultdict(int)
        self.usages: dict[str, list[Usage]] = defaultdict(list)
        self.requests: dict[str, set[int]] = defaultdict(set)

    def take(self, identity: LineIdentity, raw: bytes) -> bool:
        """Take one line; False where it is none of this output, damaged, or a second answer to its record."""
        usage = usage_of(raw)
        self.ledger = self.ledger or identity.ledger
        if usage is None or identity.ledger != self.ledger or identity.line < 1 or identity.line in self.done:
            return False
        self.done.set(identity.line)
        self.next_attempt = max(self.next_attempt, identity.attempt + 1)
        model = _model(orjson.loads(raw))
        self.costs[model] += identity.cost_nusd
        self.usages[model] = [_sum(*self.usages[model], usage)]
        self.requests[model].add(identity.attempt)
        return True


def repair(places: Places, fingerprint: str) -> Repaired:
    """Build a new ledger from the output. The lock must be held and the ledger closed.

    Args:
        places: Where everything lies.
        fingerprint: Of the config, as for `open_ledger`.

    Raises:
        StateMismatch: There is no output to repair from.
        StorageFailed: The disk refused.
    """
    source = places.partial if os.path.lexists(places.partial) else places.output
    if not os.path.lexists(source):
        raise StateMismatch(f"there is neither {places.partial} nor {places.output} to repair from; use --fresh")
    lines = _Lines()
    draft = write_draft(places, source, lines.take)
    spent, unknown, readable = _known_money(places, lines.ledger)
    _move_ledger_aside(places)
    if not lines.ledger:
        draft_of(places).unlink()
        raise StateMismatch(f"{source} holds no result of ours to repair from; use --fresh, which keeps it")
    ledger = Ledger.create(places.ledger, lines.ledger, {"config": fingerprint, "phase": "rewriting", "run_no": 0})
    total = max(spent, sum(lines.costs.values()))
    day = datetime.now(UTC).date().isoformat()
    with ledger.transaction():
        ledger.adopt(lines.done, lines.next_attempt)
        ledger.out_off, ledger.tail = draft.size, draft.tail
        for model, cost in lines.costs.items():
            ledger.book(model, day, "ok", lines.usages[model][0], cost, requests=len(lines.requests[model]))
        missing = total - sum(lines.costs.values())
        if missing:
            ledger.book("(before the repair)", day, "ok", Usage(), missing, requests=0)
        if unknown:
            ledger.book("(before the repair)", day, "unknown", Usage(), unknown, requests=0)
    complete_rewrite(ledger, places)
    ledger.close()
    return Repaired(lines.done.total, total, unknown, readable)


def _known_money(places: Places, name: str) -> tuple[int, int, bool]:
    """What was recorded as spent and as unknown, where that can still be read.

    It is the most that any ledger of this output says: a repair that died may have put the last one aside already.
    """
    kept = sorted(places.state.glob(f"old-{places.ledger.name}-[0-9]*"))
    known = [money for path in (places.ledger, *kept) if (money := _money_of(path, name)) is not None]
    return max([spent for spent, _ in known], default=0), max([unknown for _, unknown in known], default=0), bool(known)


def _money_of(path: Path, name: str) -> tuple[int, int] | None:
    if not os.path.lexists(path):
        return None
    try:
        old = Ledger.open(path)
    except PipelineError:
        return None
    ours = old.name == name
    money = old.budget.spent, old.budget.unknown + old.budget.reserved
    old.close()
    return money if ours else None


def _move_ledger_aside(places: Places) -> None:
    with storage_errors("cannot move away", places.ledger):
        sidecars = [Path(f"{places.ledger}{suffix}") for suffix in ("", "-wal", "-shm")]
        for path in (*sidecars, witness_path(places.ledger)):
            if os.path.lexists(path):
                shutil.move(path, places.aside(f"old-{path.name}"))
    sync_directory(places.state)


def _model(line: dict[str, Json]) -> str:
    body = line if "attempt" in line else line["response"]["body"]
    return str(body.get("model", ""))


def _sum(*usages: Usage) -> Usage:
    return Usage(
        input=sum(usage.input for usage in usages),
        output=sum(usage.output for usage in usages),
        cached=sum(usage.cached for usage in usages),
        cache_write=sum(usage.cache_write for usage in usages),
        reasoning=sum(usage.reasoning for usage in usages),
    )
