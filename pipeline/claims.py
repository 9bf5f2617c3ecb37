"""What a run claims of the monthly caps before it sends anything."""

from __future__ import annotations

from pathlib import Path

from pipeline.config import Loaded
from pipeline.core.monthly import Caps
from pipeline.errors import UsageError
from pipeline.storage.commitments import Commitments
from pipeline.storage.ledger import Ledger
from pipeline.storage.usage_file import UsageLogError, usage_log_path


def claim(loaded: Loaded, caps: Caps, ledger: Ledger, lock: Path) -> Commitments | None:
    """Return a run's claims under monthly caps; None where there are none to keep. Waits for the disk.

    Args:
        loaded: The config.
        caps: Those of its endpoint and its own.
        ledger: What earlier runs of the output have committed.
        lock: Tells others that the run is alive.

    Raises:
        UsageError: There is no place for what all runs share.
        StorageFailed: It cannot be used.
    """
    if not caps:
        return None
    config = loaded.config
    try:
        path = usage_log_path(loaded.environ)
    except UsageLogError as error:
        raise UsageError(f"a monthly cap cannot be kept: {error}") from error
    commitments = Commitments(path, caps, ledger.name, config.endpoint, lock)
    if config.model is None or caps.on(config.model):
        commitments.begin(ledger.needs())
    return commitments
