"""What no config may hold, whatever the key: credentials, and end users' names."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator

from pipeline.config.origin import Loc
from pipeline.types import Json

_KEY = re.compile(r"\bsk-[A-Za-z0-9_-]{16,}|\bBearer +[A-Za-z0-9._~+/-]{16,}")
_CREDENTIALS = frozenset({"api_key", "authorization", "headers", "extra_headers"})
_END_USER = frozenset({"user", "safety_identifier"})
_LONGEST_END_USER = 64
"""https://platform.openai.com/docs/api-reference: the limit of `safety_identifier`."""


def forbidden(value: Json, loc: Loc = ()) -> Iterator[tuple[Loc, str]]:
    """Yield the place and the fault of everything in `value` that a config must not hold."""
    if isinstance(value, str) and _KEY.search(value):
        yield loc, "looks like a secret: a config holds only env:NAME or file:PATH, in endpoints.yaml"
    elif isinstance(value, dict):
        for key, each in value.items():
            yield from forbidden(each, (*loc, key))
    elif isinstance(value, list):
        for index, each in enumerate(value):
            yield from forbidden(each, (*loc, index))
    elif isinstance(value, float) and not math.isfinite(value):
        yield loc, "must be a finite number"


def forbidden_params(params: Json) -> Iterator[tuple[Loc, str]]:
    """Yield the fields that must not be sent with every request."""
    for key in params if isinstance(params, dict) else ():
        value = params[key]
        if key in _CREDENTIALS:
            yield ("params", key), "credentials belong in endpoints.yaml, as env:NAME or file:PATH"
        elif key in _END_USER and isinstance(value, str) and ("@" in value or len(value) > _LONGEST_END_USER):
            yield ("params", key), "must not name a person: give a hash of at most 64 characters"
