"""What a run looks like at one moment: the source of the progress bar, of `status.json` and of the summary."""

from __future__ import annotations

from typing import NamedTuple


class Snapshot(NamedTuple):
    """One moment of a run. Counts of records are over all runs of the output; `this_run_*` are of this one."""

    state: str
    """`running`, `complete`, `stopped`, `interrupted` or `failed`."""
    total: int | None
    """Records of the input, where it has been read to its end or counted before."""
    fraction: float | None
    """Share of the input that is settled, from 0 to 1, where its size is known."""
    ok: int
    failed: int
    this_run_ok: int
    this_run_failed: int
    in_flight: int
    throttled: int
    elapsed: float
    """Seconds since the run began."""
    tokens_per_minute: float
    tpm_limit: int | None
    requests_per_minute: float
    rpm_limit: int | None
    spent_nusd: int
    unknown_nusd: int
    reserved_nusd: int
    cap_nusd: int | None
    paused: str | None
    """Why the endpoint is paused, if it is."""
    projected_nusd: int | None = None
    """What the whole input will have cost in the end; None where that cannot be said yet."""
