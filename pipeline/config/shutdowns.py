"""When a model is switched off, by a dated table: `models.yaml` in the user's config folder, then the built-in one."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator

from pipeline.builtin_files import builtin, config_home
from pipeline.config.document import read_document, read_text
from pipeline.config.group import FieldName, Group
from pipeline.config.loading import Loaded
from pipeline.config.origin import Problem, dotted, refusal
from pipeline.config.settings import check

FILE = "models.yaml"
_SNAPSHOT = re.compile(r"-(\d{4}-\d\d-\d\d|\d{4})$", re.ASCII)


def _day(value: str) -> str:
    try:
        return date.fromisoformat(value).isoformat()
    except ValueError:
        raise ValueError("must be a day, such as 2027-01-14") from None


Day = Annotated[str, AfterValidator(_day)]

_LONGEST_RUN = 7 * 86_400.0
"""Seconds that a run without a deadline is taken to last at most: nothing has been read yet that would tell."""


class Entry(Group):
    """What models.yaml says of one model."""

    shutdown: Day
    """The first day without it, in UTC."""
    checked: Day
    """When it was last compared with the provider's page."""
    replacement: FieldName | None = None


@dataclass(frozen=True, slots=True)
class Shutdown:
    """When the provider switches a model off."""

    model: str
    day: str
    """The first day without it, in UTC."""
    replacement: str | None
    checked: str
    """When that was last compared with the provider's page."""

    def warning(self, today: date) -> str:
        """Return what the user should read."""
        gone = date.fromisoformat(self.day) <= today
        when = f"was to be switched off on {self.day}" if gone else f"is switched off on {self.day}"
        use = f": {self.replacement} replaces it" if self.replacement else ""
        return f"model {self.model} {when}{use} ({FILE}, {self.checked})"


def shutdown_warning(loaded: Loaded, now: datetime) -> str | None:
    """Return what to say where the config's model is switched off before a run can be expected to have ended.

    Raises:
        UsageError: As `shutdown_before`.
    """
    model, end = loaded.config.model, now + timedelta(seconds=loaded.config.deadline or _LONGEST_RUN)
    shutdown = shutdown_before(loaded, model, end) if model is not None else None
    return shutdown.warning(now.date()) if shutdown is not None else None


def shutdown_before(loaded: Loaded, model: str, end: datetime) -> Shutdown | None:
    """Return when the endpoint's provider switches `model` off, if that is known and not after the day of `end`.

    Raises:
        UsageError: A table says something that is none; the message names file, line and key.
    """
    for name in _names(model):
        for path in _files(loaded):
            # Looked for before it is parsed: that takes milliseconds, and most models are not in it.
            if not re.search(rf"\b{re.escape(name)}['\"]?\s*:", read_text(path)):
                continue
            found = _entry(path, loaded.endpoint.provider, name)
            if found is not None:
                too_soon = found.shutdown <= end.astimezone(UTC).date().isoformat()
                return Shutdown(model, found.shutdown, found.replacement, found.checked) if too_soon else None
    return None


def _names(model: str) -> Iterator[str]:
    """The model's own name, and that of the model it is a snapshot of."""
    base = model.split(":")[1] if model.startswith("ft:") else model
    yield base
    if _SNAPSHOT.search(base):
        yield _SNAPSHOT.sub("", base)


def _files(loaded: Loaded) -> list[Path]:
    home = config_home(loaded.environ)
    return [*filter(Path.is_file, [home / "pipeline" / FILE] if home else []), builtin(FILE)]


def _entry(path: Path, provider: str, name: str) -> Entry | None:
    document = read_document(path)
    models = document.data.get(provider)
    if not isinstance(models, dict) or name not in models:
        return None
    entry, faults = check(models[name], Entry)
    if entry is None:
        raise refusal(
            Problem(document.origin((provider, name, *loc)), dotted((provider, name, *loc)), text)
            for loc, text in faults
        )
    return entry
