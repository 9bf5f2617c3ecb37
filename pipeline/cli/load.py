"""Reads a config for a command."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.types import Json

if TYPE_CHECKING:
    from pipeline.config import Loaded


def load_config(path: Path, overrides: Mapping[str, Json], environ: Mapping[str, str] = os.environ) -> Loaded:
    """Return the config at `path`, as flags, environment, `.env`, file and defaults make it.

    Its secrets then are in what is returned, and no longer in the process's environment, which every child would
    inherit.

    Raises:
        UsageError: It is refused; the message names file, line and key.
    """
    # pydantic and YAML take a fifth of a second, which --help need not wait for.
    from pipeline.config import load  # noqa: PLC0415

    loaded = load(path, overrides, dict(environ))
    for variable in loaded.secret_variables:
        os.environ.pop(variable, None)
    return loaded
