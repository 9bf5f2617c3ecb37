"""Opening what earlier runs left: ledger and output are made to agree before anything is sent."""

from __future__ import annotations

import os
import secrets
from typing import NamedTuple

from pipeline.errors import StateMismatch, UsageError
from pipeline.storage.finish import reopen, resume_finish
from pipeline.storage.ledger import Ledger
from pipeline.storage.recovery import Recovered, recover
from pipeline.storage.results import OutputLog
from pipeline.storage.rewrite import complete_rewrite
from pipeline.storage.state import Places

_ALPHABET = "abcdefghijklmnopqrstuvwxyz0123456789"


class Checkpoint(NamedTuple):
    """An open ledger and output."""

    ledger: Ledger
    log: OutputLog
    recovered: Recovered


def open_ledger(places: Places, fingerprint: str) -> Ledger:
    """Open the ledger of an output, or begin one. The lock must be held.

    Args:
        places: Where everything lies.
        fingerprint: Identifies the parts of the config that answers depend on.

    Raises:
        UsageError: Somebody else's file is in the way.
        StateMismatch: The config changed in a way that matters, or ledger and output do not belong together.
    """
    if not os.path.lexists(places.ledger):
        _refuse_strangers(places)
        name = "".join(secrets.choice(_ALPHABET) for _ in range(8))
        return Ledger.create(places.ledger, name, {"config": fingerprint, "phase": "running", "run_no": 0})
    ledger = Ledger.open(places.ledger)
    if ledger.meta["config"] != fingerprint:
        ledger.close()
        raise StateMismatch(
            f"{places.output} was begun with another model, other params or another template; put the config back, "
            "choose another output, or start again with --fresh (the old files are kept)"
        )
    ledger.check()
    complete_rewrite(ledger, places)
    resume_finish(ledger, places)
    return ledger


def open_output(ledger: Ledger, places: Places) -> Checkpoint:
    """Open the output for further lines and recover what a dead run left. A finished output is reopened.

    Raises:
        StateMismatch: Ledger and output do not agree.
    """
    if ledger.meta["phase"] == "complete":
        reopen(ledger, places)
    if os.path.lexists(places.partial):
        log = OutputLog.open(places.partial, ledger.out_off, ledger.tail)
    elif ledger.out_off == 0:
        log = OutputLog.create(places.partial)
    else:
        raise StateMismatch(f"{places.partial} is gone, but answers in it were recorded; put it back, or use --fresh")
    return Checkpoint(ledger, log, recover(ledger, log, places.aside("torn")))


def _refuse_strangers(places: Places) -> None:
    if os.path.lexists(places.output):
        raise UsageError(
            f"{places.output} exists and no state of ours belongs to it; choose another output, use --fresh, which "
            "moves it into the state directory, or --repair if its answers are ours"
        )
    if os.path.lexists(places.partial):
        raise StateMismatch(
            f"{places.partial} exists, but its ledger {places.ledger} is gone; put it back, use --repair, which "
            "rebuilds it from the answers, or --fresh, which moves them into the state directory"
        )
