"""A config as `pipeline config` prints it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from decimal import Decimal

import orjson

from pipeline.config.groups import Message
from pipeline.config.loading import Loaded, leaves
from pipeline.config.origin import DEFAULT, Origin, dotted
from pipeline.config.quantities import FailureLimit
from pipeline.types import Json

_WIDEST = 48


def show(loaded: Loaded, *, origin: bool = True) -> list[str]:
    """Return a line for every value that holds: key, value as JSON, and with `origin` where it came from.

    Of secrets the references are shown; the values are not even read.
    """
    rows = list(values(loaded))
    keys = max(len(key) for key, _, _ in rows)
    width = min(_WIDEST, max(len(value) for _, value, _ in rows))
    if not origin:
        return [f"{key:{keys}}  {value}" for key, value, _ in rows]
    return [f"{key:{keys}}  {value:{width}}  {place}" for key, value, place in rows]


def values(loaded: Loaded) -> Iterator[tuple[str, str, Origin]]:
    """Yield every value that holds: key, value as JSON, and where it came from. Of secrets the references only."""
    for loc, value in leaves(loaded.config):
        if value is not None:
            yield dotted(loc), _json(value), loaded.origins[dotted(loc)]
    for key, value in asdict(loaded.endpoint).items():
        if value is not None and key != "name":
            yield f"endpoint.{key}", _json(value), loaded.origins.get(f"endpoint.{key}", DEFAULT)


def _json(value: object) -> str:
    if isinstance(value, Decimal | FailureLimit):
        return str(value)
    return orjson.dumps(value, default=_plain).decode()


def _plain(value: object) -> Json:
    if isinstance(value, Message):
        return value.model_dump()
    if isinstance(value, Decimal):
        return float(value)
    raise TypeError(f"a config holds no {type(value).__name__}")
