"""What pydantic found, in plain words and with the place of each value."""

from __future__ import annotations

from collections.abc import Iterator

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from pipeline.config.fields import fields_at, keys, nearest
from pipeline.config.origin import Loc, dotted

_TEXTS = {
    "missing": "is missing",
    "string_type": "must be text",
    "string_too_short": "must not be empty",
    "int_type": "must be a whole number",
    "int_from_float": "must be a whole number",
    "float_type": "must be a number",
    "finite_number": "must be a finite number",
    "bool_type": "must be true or false",
    "model_type": "must be a mapping of keys to values",
    "mapping_type": "must be a mapping of keys to values",
    "dict_type": "must be a mapping of keys to values",
    "list_type": "must be a list",
    "tuple_type": "must be a list",
    "too_short": "must not be empty",
}
UNION_TAGS = ("<field>", "<list>")
"""What pydantic puts into the place of a value to say which of two shapes it took it for."""
_BOUNDS = {
    "greater_than": ("above", "gt"),
    "greater_than_equal": ("at least", "ge"),
    "less_than": ("below", "lt"),
    "less_than_equal": ("at most", "le"),
}


def found(error: ValidationError, model: type[BaseModel]) -> Iterator[tuple[Loc, str]]:
    """Yield the place and the fault of everything that `model` refused; no value is shown."""
    for details in error.errors(include_url=False, include_input=True):
        loc = tuple(part for part in details["loc"] if part not in UNION_TAGS)
        yield loc, _unknown(loc, model) if details["type"] == "extra_forbidden" else _text(details)


def _unknown(loc: Loc, model: type[BaseModel]) -> str:
    key = str(loc[-1])
    names = fields_at(model, loc[:-1])
    elsewhere = [dotted(each) for each in keys(model) if len(each) > 1 and each[-1] == key]
    hint = nearest(key, names) or (f" (did you mean {elsewhere[0]!r}?)" if elsewhere else "")
    return f"unknown key{hint}"


def _text(details: ErrorDetails) -> str:
    kind = details["type"]
    context = details.get("ctx", {})
    if kind == "value_error":
        return str(context["error"])
    if kind == "literal_error":
        return _choice(str(context["expected"]), details["input"])
    if kind in _BOUNDS:
        word, bound = _BOUNDS[kind]
        return f"must be {word} {context[bound]:,}"
    return _TEXTS.get(kind, "is not what this key takes")


def _choice(expected: str, given: object) -> str:
    names = [name.strip("' ") for name in expected.replace(" or ", ", ").split(",")]
    hint = nearest(given, names) if isinstance(given, str) else ""
    return f"must be {expected}{hint}"
