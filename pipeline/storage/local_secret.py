"""The secret of this user on this machine, by which end users' ids are hashed: made once, and never sent."""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Mapping
from pathlib import Path

from pipeline.errors import UsageError
from pipeline.storage.state import is_private, replace_durably, storage_errors, sync_directory
from pipeline.storage.usage import UsageLogError, usage_log_path

_BYTES = 32


def read_local_secret(environ: Mapping[str, str]) -> bytes:
    """Return the secret in `secret`, beside the usage log; it is made where there is none yet.

    Raises:
        UsageError: There is no place for it, others may read it, or it is no secret of ours.
        StorageFailed: The disk refused.
    """
    try:
        path = usage_log_path(environ).with_name("secret")
    except UsageLogError as error:
        raise UsageError(f"end users' ids are hashed with a secret, but {error}") from None
    if not path.exists():
        _make(path)
    return _read(path)


def _make(path: Path) -> None:
    """Make the secret; of two processes that make it at once, both read that of the first."""
    draft = path.with_name(f"secret.{secrets.token_hex(4)}")
    with storage_errors("cannot create", path):
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        replace_durably(draft, secrets.token_hex(_BYTES).encode())
        with contextlib.suppress(FileExistsError):
            os.link(draft, path)
        draft.unlink()
    sync_directory(path.parent)


def _read(path: Path) -> bytes:
    with storage_errors("cannot read", path):
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
        try:
            seen = os.fstat(descriptor)
            text = os.read(descriptor, 4 * _BYTES)
        finally:
            os.close(descriptor)
    if not is_private(seen):
        raise UsageError(f"{path} hides end users' ids and must be a file that only you can read: chmod 600 {path}")
    try:
        secret = bytes.fromhex(text.decode("ascii"))
    except ValueError:
        secret = b""
    if len(secret) != _BYTES:
        raise UsageError(f"{path} must hold {2 * _BYTES} hexadecimal digits: put it back, or delete it to begin anew")
    return secret
