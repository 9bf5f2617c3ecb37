"""What a run is called, and what it is held to: for the usage log, reports and the dashboard."""

from __future__ import annotations

import time

from pipeline.assembly import Parts
from pipeline.config import Loaded, values
from pipeline.observers.recorded import About, Setting
from pipeline.observers.spending import RunName
from pipeline.secret import redact_patterns


def name_of(loaded: Loaded) -> RunName:
    """Return the words by which the usage log knows a run."""
    config, limits = loaded.config, loaded.config.limits
    return RunName(
        config=str(loaded.path.absolute()),
        job=config.job,
        name=config.name,
        endpoint=config.endpoint,
        model=config.model or "",
        tags=tuple(f"{key}={value}" for key, value in sorted(config.tags.items())),
        rpm=limits.rpm,
        tpm=limits.tpm,
    )


def about(loaded: Loaded, parts: Parts) -> About:
    """Return what a report says of a run's config, limits, prices and caps. Secrets are references in it."""
    config, limits = loaded.config, parts.limits
    return About(
        model=config.model or "",
        endpoint=config.endpoint,
        rpm=limits.rpm,
        tpm=limits.tpm,
        concurrency=limits.concurrency,
        max_items=parts.max_items,
        rates=parts.prices.rates(config.model, time.time()) if config.model else None,
        settings=[Setting(key, redact_patterns(value), str(origin)) for key, value, origin in values(loaded)],
        caps=parts.caps.all,
        cap_keys=parts.caps.keys,
    )
