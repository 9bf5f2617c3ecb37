"""References to secrets, `env:NAME` and `file:PATH`, and reading them. No message ever shows a value."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Mapping
from pathlib import Path

from pipeline.errors import UsageError

_VARIABLE = re.compile(r"env:([A-Za-z_][A-Za-z0-9_]*)", re.ASCII)
_VISIBLE = re.compile(r"[!-~]+", re.ASCII)
_WAYS = "; export it, or write it into a .env beside the config"
_MOST_BYTES = 64 * 1024
_OTHERS = stat.S_IRWXG | stat.S_IRWXO


def check_reference(value: str) -> str:
    """Return a reference as it is. Raises ValueError for anything else, which may be a secret itself."""
    if _VARIABLE.fullmatch(value) or (value.startswith("file:") and value != "file:" and "\0" not in value):
        return value
    raise ValueError("must be env:NAME or file:PATH; a key itself must not be in a config")


def variable_of(reference: str) -> str | None:
    """Return the variable that an `env:` reference names; None for a `file:`."""
    match = _VARIABLE.fullmatch(reference)
    return match and match[1]


def is_reference(value: str) -> bool:
    """Whether a value names a secret, rather than being what it says."""
    return value.startswith(("env:", "file:"))


def read_secret(
    reference: str, environ: Mapping[str, str], what: str = "API key", allowed: re.Pattern[str] = _VISIBLE
) -> str:
    """Return the secret that `reference` names, without white space around it.

    Args:
        reference: `env:NAME` or `file:PATH`.
        environ: For the former.
        what: What the secret is, for messages.
        allowed: What matches all of it.

    Raises:
        UsageError: It is no reference, or the variable is unset or empty, or the file is missing, is readable by
            others, or holds no key.
    """
    try:
        name = variable_of(check_reference(reference))
    except ValueError as error:
        raise UsageError(f"api_key: {error}", code="invalid_key") from None
    place = f"the environment variable {name}" if name else reference.removeprefix("file:")
    if name and name not in environ:
        raise UsageError(f"{place} is not set: it must hold the {what}{_WAYS}", code="missing_key")
    secret = environ[name].strip() if name else _read_file(Path(place))
    if not secret:
        raise UsageError(f"{place} is empty: it must hold the {what}", code="missing_key")
    if not allowed.fullmatch(secret):
        raise UsageError(f"{place} holds characters that no {what} has", code="invalid_key")
    return secret


def require_private(path: Path, descriptor: int | None = None) -> None:
    """Raise UsageError unless `path` is a file of this user or root that nobody else may read."""
    try:
        status = path.stat() if descriptor is None else os.fstat(descriptor)
    except OSError as error:
        raise _unreadable(path, error) from None
    if not stat.S_ISREG(status.st_mode):
        raise UsageError(f"{path} holds a key but is no regular file", code="invalid_key")
    if status.st_mode & _OTHERS or status.st_uid not in {os.geteuid(), 0}:
        raise UsageError(f"{path} holds a key, and others may read it: chmod 600 {path}", code="exposed_key")


def _read_file(path: Path) -> str:
    """The text of a private file; characters that are not UTF-8 are replaced by one that no secret has."""
    try:
        # O_NONBLOCK: a FIFO must not keep the program waiting before it is refused.
        with open(os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK), "rb") as file:  # noqa: PTH123 - a descriptor
            require_private(path, file.fileno())
            return file.read(_MOST_BYTES).decode(errors="replace").strip()
    except OSError as error:
        raise _unreadable(path, error) from None


def _unreadable(path: Path, error: OSError) -> UsageError:
    return UsageError(f"{path}: {(error.strerror or 'cannot be read').lower()}", code="missing_key")
