"""The values of a run, merged from layers; each remembers where it came from."""

from __future__ import annotations

from typing import TypeVar

from pydantic import BaseModel, ValidationError

from pipeline.config.document import Document
from pipeline.config.fields import fields_at
from pipeline.config.forbidden import forbidden
from pipeline.config.origin import DEFAULT, Loc, Origin, Problem, dotted
from pipeline.config.problems import found
from pipeline.types import Json


class Settings:
    """Values by key, from the file up to the command line. A later layer wins."""

    def __init__(self, document: Document) -> None:
        self.data: dict[str, Json] = document.data
        self._document = document
        self._origins = {loc: document.origin(loc) for loc in document.lines}

    def put(self, loc: Loc, value: Json, origin: Origin) -> bool:
        """Set the value at `loc`; None takes back what lower layers said. False where something there has no keys."""
        node: Json = self.data
        for depth, part in enumerate(loc[:-1], start=1):
            if node.get(part) is None:
                node[part] = {}
                self._origins[loc[:depth]] = origin
            node = node[part]
            if not isinstance(node, dict):
                return False
        node[loc[-1]] = value
        self._note(loc, value, origin)
        return True

    def _note(self, loc: Loc, value: Json, origin: Origin) -> None:
        self._origins[loc] = origin
        for key, each in value.items() if isinstance(value, dict) else ():
            self._note((*loc, key), each, origin)

    def drop_nulls(self, model: type[BaseModel]) -> None:
        """Take a key of `model` without a value as absent, except below `params`, where null is a value."""
        self.data = _without_nulls(self.data, model, ())

    def origin(self, loc: Loc) -> Origin:
        """Return where the value at `loc` came from, or what is nearest around it."""
        while loc and loc not in self._origins:
            loc = loc[:-1]
        return self._origins.get(loc) or self._document.origin(loc)

    def source(self, loc: Loc) -> Origin:
        """Return where the value at `loc` came from; DEFAULT where no layer has it."""
        node: Json = self.data
        for part in loc:
            if not isinstance(node, dict) or part not in node:
                return DEFAULT
            node = node[part]
        return self._origins.get(loc) or (DEFAULT if self._document.first_line else self._document.origin(loc))

    def problem(self, loc: Loc, text: str) -> Problem:
        """Return what is wrong at `loc`, with its place."""
        return Problem(self.origin(loc), dotted(loc), text)


Checked = TypeVar("Checked", bound=BaseModel)


def check(data: Json, model: type[Checked], context: object = None) -> tuple[Checked | None, list[tuple[Loc, str]]]:
    """Return the checked values, or None and all that is wrong with them."""
    faults = dict(forbidden(data))
    try:
        checked = model.model_validate(data, context=context)
    except ValidationError as error:
        return None, list((faults | dict(found(error, model))).items())
    return (None if faults else checked), list(faults.items())


def _without_nulls(data: dict[str, Json], model: type[BaseModel], loc: Loc) -> dict[str, Json]:
    """Unknown keys stay, for the schema to refuse: `{rpm: 1,000}` is a key `000` without a value."""
    kept = {}
    for key, value in data.items():
        if isinstance(value, dict) and key != "params":
            kept[key] = _without_nulls(value, model, (*loc, key))
        elif value is not None or key not in fields_at(model, loc):
            kept[key] = value
    return kept
