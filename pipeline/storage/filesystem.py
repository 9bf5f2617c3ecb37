"""Network file systems: their locks and their fsync promise less than the ledger needs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from pipeline.errors import UsageError

NETWORK = frozenset(
    {"9p", "afs", "ceph", "cifs", "fuse.sshfs", "glusterfs", "lustre", "ncpfs", "nfs", "nfs4", "smb3", "smbfs"}
)
"""File system types, as the kernel names them, whose locks or syncs may not hold when a connection is lost."""


def type_of(path: Path, mounts: Path = Path("/proc/self/mounts")) -> str | None:
    """Return the type of the file system that holds `path`; None where the system does not say."""
    try:
        lines = mounts.read_text(errors="replace").splitlines()
    except OSError:
        return None
    real = path.resolve()
    found: tuple[int, str] | None = None
    for line in lines:
        _, place, kind, *_ = line.split(" ")
        mount = Path(place.encode().decode("unicode_escape"))
        if real.is_relative_to(mount) and (found is None or len(mount.parts) >= found[0]):
            found = (len(mount.parts), kind)
    return found[1] if found else None


def refuse_network(directory: Path, type_of: Callable[[Path], str | None] = type_of) -> None:
    """Refuse a state directory on a network file system.

    Raises:
        UsageError: It is on one.
    """
    kind = type_of(directory)
    if kind in NETWORK:
        raise UsageError(
            f"{directory} is on a network file system ({kind}), where a lock or a sync may not hold; "
            "put the state on a local disk: --state DIR"
        )
