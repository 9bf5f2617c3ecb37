"""Why a record cannot fill a template, without showing what it holds."""

from __future__ import annotations

from pipeline.errors import Rejected


def missing(key: str, name: str | None) -> Rejected:
    """A field that the record lacks; None where the template computed its name from a value."""
    field = "a field that it asks for" if name is None else f"the field {name!r}"
    return Rejected(f"the template {key} cannot be filled: the record lacks {field}", code="template")


def unusable(key: str, error: Exception) -> Rejected:
    """A value on which the template fails."""
    return Rejected(f"the template {key} cannot use what the record holds ({type(error).__name__})", code="template")
