"""A config as `pipeline config` prints it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from decimal import Decimal
from urllib.parse import urlsplit

import orjson

from pipeline.config.base_url import host_of
from pipeline.config.groups import Message
from pipeline.config.keys import is_reference
from pipeline.config.loading import Loaded, leaves
from pipeline.config.origin import DEFAULT, Origin, dotted
from pipeline.config.quantities import FailureLimit
from pipeline.secret import MASK
from pipeline.types import Json

_WIDEST = 48
_URLS = frozenset({"notify.webhook.url", "heartbeat.url"})
"""Keys whose URL may be a secret, though it stands in the config."""


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
            key = dotted(loc)
            yield key, _json(_hidden(value) if key in _URLS else value), loaded.origins[key]
    for key, value in asdict(loaded.endpoint).items():
        if value is not None and key != "name":
            yield f"endpoint.{key}", _json(value), loaded.origins.get(f"endpoint.{key}", DEFAULT)


def _hidden(url: object) -> str:
    """A reference as it is, and no more than the host of a URL."""
    text = str(url)
    return text if is_reference(text) else f"{urlsplit(text).scheme}://{host_of(text)}/{MASK}"


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
