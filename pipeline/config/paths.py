"""What stands in braces in a path: `{here}`, and the day or the moment of the run."""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from typing import NamedTuple

from pipeline.config.fields import nearest

_BRACES = re.compile(r"\{\{|\}\}|\{([^{}]*)\}|[{}]")
_DIRECTIVE = re.compile(r"%(.?)", re.DOTALL)
_ALLOWED = "YmdHMSyjGVu%"
"""Directives of strftime that every locale writes alike, in digits."""
_NAMES = ("here", "date", "yesterday", "now:%Y-%m-%d")
_MOVING = ("date", "yesterday", "now:")


class Filling(NamedTuple):
    """What is put into paths."""

    here: str
    """The folder of the config."""
    home: str
    """For a leading `~/`; empty where there is none."""
    moment: datetime
    """When the run began, on the clock of this machine's time zone."""


def filled(path: str, filling: Filling) -> str:
    """Return a path with everything in braces filled in; `{{` and `}}` are braces.

    Raises:
        ValueError: A brace is alone, or what is in braces is not known.
    """
    if filling.home and path.startswith("~/"):
        path = f"{filling.home}{path[1:]}"
    return _BRACES.sub(lambda found: _one(found[0], found[1], filling), path)


def moves(path: str) -> bool:
    """Whether a path changes with the day or the moment of the run."""
    return any((found[1] or "").startswith(_MOVING) for found in _BRACES.finditer(path))


def fixed_folder(path: str) -> str:
    """Return the folder of a path, or as much of it as does not change with the run."""
    moving = [found.start() for found in _BRACES.finditer(path) if moves(found[0])]
    still = path[: moving[0]] if moving else path
    folder, slash, _ = still.rpartition("/")
    return folder or slash or "."


def moment_of(text: str) -> datetime:
    """Return the moment that `now` names: a day, or a day with a time; one with an offset in local time.

    Raises:
        ValueError: It names none.
    """
    try:
        return datetime.fromisoformat(text).astimezone()
    except (ValueError, OverflowError):
        raise ValueError("must be a day such as 2026-11-25, or with a time 2026-11-25T02:30") from None


def _one(whole: str, name: str | None, filling: Filling) -> str:
    if whole in {"{{", "}}"}:
        return whole[0]
    if name is None:
        raise ValueError(f"has a lone {whole}: write {whole * 2} for a brace in a name")
    moment = filling.moment
    if name == "here":
        return filling.here
    if name == "date":
        return f"{moment:%Y-%m-%d}"
    if name == "yesterday":
        return f"{moment.date() - timedelta(days=1):%Y-%m-%d}"
    if name.startswith("now:"):
        return _formatted(moment, name.removeprefix("now:"))
    raise ValueError(f"knows no {whole}{nearest(whole, [f'{{{each}}}' for each in _NAMES])}")


def _formatted(moment: datetime, form: str) -> str:
    unknown = sorted({letter for letter in _DIRECTIVE.findall(form) if letter not in _ALLOWED or not letter})
    if unknown or not form:
        wrong = f"%{unknown[0]} is" if unknown else "it is"
        raise ValueError(f"{{now:{form}}}: {wrong} no form of a moment; there are %{', %'.join(_ALLOWED[:-1])}")
    return moment.strftime(form)
