"""Environment variables, and the `.env` beside a config: `PIPELINE_LIMITS_RPM` is `limits.rpm`."""

from __future__ import annotations

import difflib
import io
from collections.abc import Iterator, Mapping
from pathlib import Path

from pydantic import BaseModel

from pipeline.config.document import read_text
from pipeline.config.fields import keys
from pipeline.config.origin import Loc, Origin, Problem

_PREFIX = "PIPELINE_"
_RESERVED = {"PIPELINE_STATE"}
"""Where the usage log is kept; not the key `state`."""


def read_dotenv(path: Path) -> Mapping[str, str]:
    """Return the variables of a `.env` file; none where there is no such file. Nothing enters the process's own.

    Raises:
        UsageError: The file cannot be read.
    """
    if not path.is_file():
        return {}
    from dotenv import dotenv_values  # noqa: PLC0415 - few configs have such a file

    values = dotenv_values(stream=io.StringIO(read_text(path)), interpolate=False)
    return {name: value for name, value in values.items() if value}


def settings_in(
    variables: Mapping[str, str], model: type[BaseModel], file: Path | None = None
) -> Iterator[tuple[Loc, str, Origin]]:
    """Yield the key, text and origin of every variable that sets a key. An empty one sets nothing.

    Args:
        variables: The process's, or those of a file.
        model: The schema.
        file: Where they are from; None for the process.
    """
    for name, loc in _names(model).items():
        text = variables.get(name)
        if text:
            yield loc, text, Origin(name if file is None else f"{file}: {name}")


def misspelt(variables: Mapping[str, str], model: type[BaseModel], file: Path | None = None) -> Iterator[Problem]:
    """Yield the variables that are nearly a key of a group: a budget misspelt must not be a budget ignored."""
    names = _names(model)
    origin = Origin("environment" if file is None else str(file))
    for group in {loc[0] for loc in names.values() if len(loc) > 1}:
        prefix = f"{_PREFIX}{group}_".upper()
        there = {name.removeprefix(prefix) for name in names if name.startswith(prefix)}
        for variable in sorted(name for name in variables.keys() - names.keys() if name.startswith(prefix)):
            near = difflib.get_close_matches(variable.removeprefix(prefix), there, n=1)
            if near:
                yield Problem(origin, variable, f"unknown variable (did you mean {prefix + near[0]!r}?)")


def _names(model: type[BaseModel]) -> dict[str, Loc]:
    names = {_PREFIX + "_".join(map(str, loc)).upper(): loc for loc in keys(model)}
    return {name: loc for name, loc in names.items() if name not in _RESERVED}
