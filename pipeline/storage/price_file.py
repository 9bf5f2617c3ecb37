"""What a prices.yaml says.

By provider and model it holds dated entries; they are appended and never changed, for an old entry is what an old
request cost:

    openai:
      text-embedding-3-*:                # a model, or a prefix ending in *; the longest that matches counts
        - from: 2026-01-01               # the first day, in UTC
          checked: 2026-11-20            # optional: when it was compared with the provider's page
          input_usd_per_mtok: 0.02       # USD per million tokens; `output_…` must be there too, 0 where there is none
          cached_usd_per_mtok: 0.01      # also cache_write_…; like `input_…` where absent
          output_usd_per_mtok: 0         # also reasoning_…; like `output_…` where absent
          batch: 0.5                     # or flex, priority: a factor on the standard price, or prices of its own
          long_input: {above: 272_000, input_usd_per_mtok: 0.04, output_usd_per_mtok: 0}

An entry without a price per token changes only the tiers that it names; the others come from the sources behind it.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import NamedTuple

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.error import MarkedYAMLError, YAMLError

from pipeline.core.pricing import Price, Rates, Tier
from pipeline.errors import UsageError

SOURCE = "prices.yaml"

_KINDS = ("input", "cached", "cache_write", "output", "reasoning")
_RATE_KEYS = tuple(f"{kind}_usd_per_mtok" for kind in _KINDS)
_TIER_KEYS: tuple[Tier, ...] = ("flex", "priority", "batch")
_ENTRY_KEYS = ("from", "checked", *_RATE_KEYS, "long_input", *_TIER_KEYS)
_NANO = 1_000_000_000
_MOST_USD = 1_000_000
_MOST_FACTOR = 100


class Entry(NamedTuple):
    """The prices of a model from a day on."""

    since: date
    checked: date | None
    standard: Price | None
    """None where the entry changes only tiers."""
    tiers: Mapping[Tier, Decimal | Price]
    """A price, or a factor on the standard price."""


Models = Mapping[str, Sequence[Entry]]
"""Entries by ascending date, by model or by prefix ending in `*`."""


def read_prices(path: Path) -> Mapping[str, Models]:
    """Return the entries of a prices.yaml by provider, both names in lower case.

    Raises:
        UsageError: The file cannot be read or says something that is no price; the message names file, line and key.
    """
    try:
        document = YAML(typ="rt").load(path.read_bytes())
    except MarkedYAMLError as error:
        line = error.problem_mark.line if error.problem_mark else 0
        raise _error(path, line, "not YAML", str(error.problem)) from None
    except (YAMLError, OSError, ValueError) as error:
        raise _error(path, 0, "cannot be read", type(error).__name__) from None
    if document is None:
        return {}
    if not isinstance(document, CommentedMap):
        raise _error(path, 0, "prices.yaml", "must be a mapping of providers")
    root = _Place(path, "", document)
    return {provider.lower(): dict(_models(root.within(provider))) for provider in _names(root)}


def _models(provider: _Place) -> Iterator[tuple[str, Sequence[Entry]]]:
    for model in _names(provider):
        nodes = provider.node[model]
        if not isinstance(nodes, CommentedSeq) or not all(isinstance(node, CommentedMap) for node in nodes):
            raise provider.error(model, "must be a list of dated entries")
        places = [_Place(provider.path, f"{provider.name}.{model}", node) for node in nodes]
        entries = [_entry(place) for place in places]
        for earlier, later, place in zip(entries, entries[1:], places[1:], strict=False):
            if later.since <= earlier.since:
                raise place.error("from", "must be later than in the entry above")
        yield model.lower(), entries


def _names(place: _Place) -> Iterator[str]:
    for key in place.node:
        if not isinstance(key, str) or "*" in key[:-1]:
            raise place.error(key, "must be a name, or a prefix that ends in *")
        yield key


def _entry(place: _Place) -> Entry:
    place.only(_ENTRY_KEYS)
    since = _date(place, "from")
    if since is None:
        raise place.error("from", "is missing: the first day of the price, such as 2026-11-01")
    checked = _date(place, "checked")
    has_price = any(key in place.node for key in (*_RATE_KEYS, "long_input"))
    standard = _price(place, checked) if has_price else None
    tiers = {tier: _tier(place, tier, checked) for tier in _TIER_KEYS if tier in place.node}
    if standard is None and not tiers:
        raise place.error("from", "the entry has no price")
    return Entry(since, checked, standard, tiers)


def _tier(place: _Place, tier: Tier, checked: date | None) -> Decimal | Price:
    if isinstance(place.node[tier], CommentedMap):
        own = place.within(tier)
        own.only((*_RATE_KEYS, "long_input"))
        return _price(own, checked)
    return _number(place, tier, most=_MOST_FACTOR)


def _price(place: _Place, checked: date | None) -> Price:
    if "long_input" not in place.node:
        return Price(_read_rates(place), source=SOURCE, checked=checked)
    long_input = place.within("long_input")
    long_input.only(("above", *_RATE_KEYS))
    above = long_input.node.get("above")
    if type(above) is bool or not isinstance(above, int) or above < 1:
        raise long_input.error("above", "must be a number of input tokens")
    return Price(_read_rates(place), ((int(above), _read_rates(long_input)),), source=SOURCE, checked=checked)


def _read_rates(place: _Place) -> Rates:
    tokens_in, cached, written, out, reasoning = (_usd(place, key) for key in _RATE_KEYS)
    if tokens_in is None:
        raise place.error(_RATE_KEYS[0], "is missing")
    if out is None:
        raise place.error(_RATE_KEYS[3], "is missing; write 0 where there is no output")
    return Rates.of(tokens_in, out, cached=cached, cache_write=written, reasoning=reasoning)


def _usd(place: _Place, key: str) -> int | None:
    if key not in place.node:
        return None
    nano = _number(place, key, most=_MOST_USD) * _NANO
    if nano % 1:
        raise place.error(key, "has more than nine decimals")
    return int(nano)


def _number(place: _Place, key: str, *, most: int) -> Decimal:
    value = place.node[key]
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise place.error(key, "must be a number")
    if not 0 <= value <= most:
        raise place.error(key, f"must be from 0 to {most:,}")
    return Decimal(repr(float(value)))


def _date(place: _Place, key: str) -> date | None:
    value: object = place.node.get(key)
    if value is None or type(value) is date:
        return value
    raise place.error(key, "must be a day, such as 2026-11-01")


class _Place(NamedTuple):
    """A mapping of the file and how to name what is wrong in it."""

    path: Path
    name: str
    node: CommentedMap

    def error(self, key: object, problem: str) -> UsageError:
        line = self.node.lc.key(key)[0] if key in self.node else self.node.lc.line
        return _error(self.path, line, f"{self.name}.{key}" if self.name else str(key), problem)

    def within(self, key: str) -> _Place:
        value = self.node[key]
        if not isinstance(value, CommentedMap):
            raise self.error(key, "must be a mapping")
        return _Place(self.path, f"{self.name}.{key}" if self.name else key, value)

    def only(self, keys: Sequence[str]) -> None:
        for key in self.node:
            if key not in keys:
                near = difflib.get_close_matches(str(key), keys, n=1)
                raise self.error(key, "unknown key" + (f" (did you mean {near[0]!r}?)" if near else ""))


def _error(path: Path, line: int, name: str, problem: str) -> UsageError:
    return UsageError(f"{path}:{line + 1}: {name}: {problem}", code="invalid_prices")
