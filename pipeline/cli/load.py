"""Reads a config for a command."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.types import Json

if TYPE_CHECKING:
    from pipeline.config import Loaded


def load_config(
    path: Path,
    overrides: Mapping[str, Json],
    environ: Mapping[str, str] = os.environ,
    *,
    looks_back: bool = False,
) -> Loaded:
    """Return the config at `path`, as flags, environment, `.env`, file and defaults make it.

    Its secrets then are in what is returned, and no longer in the process's environment, which every child would
    inherit.

    Args:
        path: The config.
        overrides: Values by dotted key, from the command line.
        environ: The process's variables.
        looks_back: Whether the command is about an earlier run. Where each run has an output of its own, it is about
            the last one; any other command goes on with a run that is not complete, if there is one.

    Raises:
        UsageError: It is refused; the message names file, line and key.
    """
    # pydantic and YAML take a fifth of a second, which --help need not wait for.
    from pipeline.config import load  # noqa: PLC0415

    loaded = load(path, overrides, dict(environ))
    if loaded.config.input.since_last and loaded.config.now is None:
        from pipeline.sources import begun_or_last  # noqa: PLC0415 - brings tokenizers and prices, and is rarely needed

        begun, last = begun_or_last(loaded)
        moment = begun or (last if looks_back else None)
        loaded = load(path, {**overrides, "now": moment}, dict(environ)) if moment is not None else loaded
    for variable in loaded.secret_variables:
        os.environ.pop(variable, None)
    return loaded
