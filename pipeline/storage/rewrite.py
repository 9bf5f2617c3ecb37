"""Replacing an output by a part of itself, so that dying anywhere in between loses nothing.

The new output is written beside the old one first. One transaction then makes the ledger say what is in the new one,
in the phase `rewriting`; only then does the old output go aside and the new one take its name. A run that finds that
phase does what is left of it.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from pipeline.core.identity import LineIdentity, line_identity
from pipeline.storage.compression import inflated
from pipeline.storage.draft import new_draft
from pipeline.storage.ledger import Ledger
from pipeline.storage.lines import DamagedError
from pipeline.storage.results import tail_fingerprint
from pipeline.storage.state import Places, storage_errors, sync_directory


class Written(NamedTuple):
    """A draft of a new output."""

    size: int
    tail: bytes


def draft_of(places: Places) -> Path:
    """Where the new output is until it takes the old one's name."""
    return places.partial.with_name(places.partial.name + ".new")


def write_draft(places: Places, source: Path, wanted: Callable[[LineIdentity, bytes], bool]) -> Written:
    """Write the result lines of `source` that are `wanted` to the draft, durably.

    Raises:
        StorageFailed: The disk refused.
    """
    path = draft_of(places)
    with storage_errors("cannot write", path):
        with new_draft(path) as draft:
            for identity, line in result_lines(source):
                if wanted(identity, line):
                    draft.write(line)
        found = tail_fingerprint(path)
    return Written(*found) if found is not None else Written(0, b"")


def result_lines(path: Path) -> Iterator[tuple[LineIdentity, bytes]]:
    """Yield the whole lines of a file that say who made them; of a damaged compressed file, those before the damage."""
    with inflated(path) as file, suppress(DamagedError):
        for line in file:
            identity = line_identity(line) if line.endswith(b"\n") else None
            if identity is not None:
                yield identity, line


def complete_rewrite(ledger: Ledger, places: Places) -> None:
    """Give the draft the output's name, where a rewrite has been committed. Safe to do again."""
    if ledger.meta["phase"] != "rewriting":
        return
    draft = draft_of(places)
    with storage_errors("cannot replace", places.partial):
        if os.path.lexists(draft):
            if os.path.lexists(places.partial):
                shutil.move(places.partial, places.aside("old-output"))
                sync_directory(places.state)
            draft.replace(places.partial)
    sync_directory(places.partial.parent)
    with ledger.transaction():
        ledger.set_meta(phase="running")
