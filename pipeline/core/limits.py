"""What an endpoint or a user allows."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

OTHERS = "default"
"""The key of an endpoint's limits for all models that have none of their own."""


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits of one endpoint. None where nothing is known or wanted.

    Raises:
        ValueError: A limit is below 1: it would let nothing through, ever.
    """

    concurrency: int
    """The most attempts in flight at once."""
    rpm: int | None = None
    """Requests a minute, for each model."""
    tpm: int | None = None
    """Tokens a minute, for each model."""
    per_second: int | None = None
    """The most requests in any one second, over all models."""

    def __post_init__(self) -> None:
        values = {"concurrency": self.concurrency, "rpm": self.rpm, "tpm": self.tpm, "per_second": self.per_second}
        for name, value in values.items():
            if value is not None and value < 1:
                raise ValueError(f"{name} must be at least 1, not {value}")


def key_for(model: str, keys: Collection[str]) -> str:
    """Return which key of an endpoint's limits is for a model: its own, else the longest prefix*, else `default`."""
    matching = [key for key in keys if key == model or (key.endswith("*") and model.startswith(key[:-1]))]
    return max(matching, key=lambda key: (key == model, len(key)), default=OTHERS)
