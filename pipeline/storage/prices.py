"""Where prices come from: prices.yaml files, the nearest first, and behind them genai-prices."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import ROUND_CEILING, Decimal
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.core.pricing import FREE, Lookup, Price, PriceBook, PriceCard, Rates, Tier
from pipeline.storage.price_file import SOURCE, Entry, Models, read_prices

if TYPE_CHECKING:
    from genai_prices.data_snapshot import DataSnapshot
    from genai_prices.types import ModelInfo, ModelPrice, PriceVariant, TieredPrices

_GENAI_KEYS = ("input_mtok", "cache_read_mtok", "cache_write_mtok", "output_mtok", "output_reasoning_mtok")
_CONTEXTS: Mapping[Tier, Mapping[str, str]] = {
    "flex": {"service_tier": "flex"},
    "priority": {"service_tier": "priority"},
    "batch": {"processing": "batch"},
}
_NANO = 1_000_000_000
_RELEASED = {"0.2.3": date(2026, 11, 10)}
"""When a version of genai-prices was published: its prices are of that day at the latest, and have no other date."""


def load_price_book(provider: str, files: Sequence[Path]) -> PriceBook:
    """Return the prices of one provider.

    Args:
        provider: A provider in the files or of genai-prices; `free` for a server that bills nothing.
        files: prices.yaml files, the nearest first; those that do not exist are passed over.

    Raises:
        UsageError: A file cannot be read or says something that is no price; the message names file, line and key.
    """
    if provider == "free":
        return PriceBook(lambda _model, _at: PriceCard({"standard": FREE, "priority": FREE}))
    lookup = _genai_lookup(provider)
    for path in reversed(files):
        if path.is_file():
            lookup = _override(read_prices(path).get(provider.lower(), {}), lookup)
    return PriceBook(lookup)


def price_files(config_folder: Path, config_home: Path | None, builtin: Path) -> list[Path]:
    """Return where prices.yaml is looked for, the nearest first.

    Args:
        config_folder: The folder of the run's config.
        config_home: `$XDG_CONFIG_HOME`, or None where there is no home.
        builtin: The file that comes with the package.
    """
    home = [config_home / "pipeline" / "prices.yaml"] if config_home else []
    return [config_folder / "prices.yaml", *home, builtin]


def _override(models: Models, behind: Lookup) -> Lookup:
    if not models:
        return behind

    def lookup(model: str, at: float) -> PriceCard | None:
        entry = _active(models, model.lower(), datetime.fromtimestamp(at, UTC).date())
        if entry is None:
            return behind(model, at)
        if entry.standard is not None:
            return PriceCard({"standard": entry.standard, **_tiers(entry, entry.standard)})
        card = behind(model, at)
        return card and PriceCard({**card.tiers, **_tiers(entry, card.tiers["standard"])})

    return lookup


def _active(models: Models, model: str, day: date) -> Entry | None:
    """The last entry that has begun, of the most specific name that has one."""
    matching = [name for name in models if name == model or (name.endswith("*") and model.startswith(name[:-1]))]
    for name in sorted(matching, key=lambda name: (name == model, len(name)), reverse=True):
        begun = [entry for entry in models[name] if entry.since <= day]
        if begun:
            return begun[-1]
    return None


def _tiers(entry: Entry, standard: Price) -> dict[Tier, Price]:
    return {
        tier: price if isinstance(price, Price) else _scaled(standard, price, entry.checked)
        for tier, price in entry.tiers.items()
    }


def _scaled(price: Price, factor: Decimal, checked: date | None) -> Price:
    def scale(rates: Rates) -> Rates:
        return Rates(*(_ceil(rate * factor) for rate in rates))

    long_input = tuple((above, scale(rates)) for above, rates in price.long_input)
    source = SOURCE if price.source == SOURCE else f"{SOURCE} on {price.source}"
    return replace(price, rates=scale(price.rates), long_input=long_input, source=source, checked=checked)


def _ceil(value: Decimal) -> int:
    return int(value.to_integral_value(ROUND_CEILING))


def _genai_lookup(provider: str) -> Lookup:
    def lookup(model: str, at: float) -> PriceCard | None:
        snapshot = _snapshot()
        try:
            found, info = snapshot.find_provider_model(model, None, provider, None)
        except LookupError:
            return None
        own = any(info is known for known in found.models)
        return _genai_card(info, datetime.fromtimestamp(at, UTC), tiers=own)

    return lookup


@cache
def _snapshot() -> DataSnapshot:
    # Imported at the first look-up, because it takes a third of a second that `--help` and a resumed run need not wait.
    from genai_prices.data_snapshot import get_snapshot  # noqa: PLC0415

    return get_snapshot()


@cache
def _genai_source() -> tuple[str, date | None]:
    version = importlib.metadata.version("genai-prices")
    return f"genai-prices {version}", _RELEASED.get(version)


def _genai_card(info: ModelInfo, at: datetime, *, tiers: bool) -> PriceCard | None:
    """The prices of a model. Where it has none of its own for a tier, the card has none either.

    genai-prices would answer with the standard price for a tier that it does not know. A model that another provider
    lends (`tiers` False) is priced by its standard price only, as there.
    """
    standard = _genai_price(info.get_prices(at))
    if standard is None:
        return None
    card: dict[Tier, Price] = {"standard": standard}
    variants = [variant for variant in info.price_variants or () if tiers and _is_active(variant, at)]
    for tier, context in _CONTEXTS.items():
        if any(variant.when == context for variant in variants):
            price = _genai_price(info.get_prices(at, context))
            card |= {tier: price} if price else {}
    return PriceCard(card)


def _is_active(variant: PriceVariant, at: datetime) -> bool:
    return variant.constraint is None or variant.constraint.active(at)


def _genai_price(prices: ModelPrice) -> Price | None:
    """None where text tokens have no price: other units are billed, or nobody has entered one."""
    found = [vars(prices).get(key) for key in _GENAI_KEYS]
    if found[0] is None:
        return None
    starts = sorted({tier.start for price in found if price and not isinstance(price, Decimal) for tier in price.tiers})
    fee = vars(prices).get("requests_kcount") or Decimal(0)
    source, released = _genai_source()
    return Price(
        _genai_rates(found, 0),
        tuple((start, _genai_rates(found, start + 1)) for start in starts),
        request=_ceil(fee * _NANO / 1000),
        source=source,
        checked=released,
    )


def _genai_rates(found: Sequence[Decimal | TieredPrices | None], input_tokens: int) -> Rates:
    tokens_in, cached, written, out, reasoning = (_nano(price, input_tokens) for price in found)
    return Rates.of(tokens_in or 0, out or 0, cached=cached, cache_write=written, reasoning=reasoning)


def _nano(price: Decimal | TieredPrices | None, input_tokens: int) -> int | None:
    if price is None:
        return None
    if isinstance(price, Decimal):
        return _ceil(price * _NANO)
    reached = [tier.price for tier in price.tiers if input_tokens > tier.start]
    return _ceil((reached[-1] if reached else price.base) * _NANO)
