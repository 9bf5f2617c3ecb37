"""What pydantic found, in plain words and with the place of each value."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from pipeline.config.fields import fields_at, keys, nearest
from pipeline.config.origin import Loc, dotted

_WHOLE = "must be a whole number, such as 500 or 3_000"
_TEXTS = {
    "missing": "is missing",
    "string_type": "must be text: put quotes around it",
    "string_too_short": "must not be empty",
    "int_type": _WHOLE,
    "int_from_float": _WHOLE,
    "float_type": "must be a number",
    "finite_number": "must be a finite number",
    "bool_type": "must be true or false",
    "mapping_type": "must be a mapping of keys to values",
    "dict_type": "must be a mapping of keys to values",
    "list_type": "must be a list, such as [a, b]",
    "tuple_type": "must be a list, such as [a, b]",
    "too_short": "must not be empty",
}
UNION_TAGS = ("<field>", "<list>")
"""What pydantic puts into the place of a value to say which of two shapes it took it for."""
_ENDPOINT = "it belongs to an endpoint, in endpoints.yaml"
_PARAMS = "write it under params, which are sent as they are"
_ELSEWHERE = {
    **dict.fromkeys(("base_url", "organization", "project", "provider", "headers"), _ENDPOINT),
    "api_key": f"{_ENDPOINT}, as env:NAME or file:PATH",
    **dict.fromkeys(("max_tokens", "max_completion_tokens"), "did you mean 'max_output_tokens'?"),
    **dict.fromkeys(("temperature", "top_p", "n", "stop", "seed", "dimensions", "encoding_format"), _PARAMS),
    **dict.fromkeys(("response_format", "reasoning_effort", "service_tier", "tools", "user"), _PARAMS),
}
"""Keys that people put at the top, and where they belong."""
_BOUNDS = {
    "greater_than": ("above", "gt"),
    "greater_than_equal": ("at least", "ge"),
    "less_than": ("below", "lt"),
    "less_than_equal": ("at most", "le"),
}


def found(error: ValidationError, model: type[BaseModel]) -> Iterator[tuple[Loc, str]]:
    """Yield the place and the fault of everything that `model` refused; no value is shown."""
    faults = [
        (tuple(part for part in details["loc"] if part not in UNION_TAGS), details)
        for details in error.errors(include_url=False, include_input=True)
    ]
    unknown = {loc: _meant(loc, model) for loc, details in faults if details["type"] == "extra_forbidden"}
    misspelt = {(*loc[:-1], name) for loc, name in unknown.items()}
    for loc, details in faults:
        if loc in unknown:
            yield loc, f"unknown key{_hint(loc, unknown[loc], model)}"
        elif details["type"] != "missing" or loc not in misspelt:  # a key that is there, misspelt, is not missing too
            yield loc, _text(loc, details, model)


def _meant(loc: Loc, model: type[BaseModel]) -> str | None:
    """The key of the same group that an unknown one is most like."""
    near = difflib.get_close_matches(str(loc[-1]), list(fields_at(model, loc[:-1])), n=1)
    return near[0] if near else None


def _hint(loc: Loc, near: str | None, model: type[BaseModel]) -> str:
    key = str(loc[-1])
    if len(loc) == 1 and "endpoint" in model.model_fields and key in _ELSEWHERE:
        return f": {_ELSEWHERE[key]}"
    if key.isdigit():
        return ": write a number without a comma, such as 1_000 or 0.5"
    elsewhere = [dotted(each) for each in keys(model) if len(each) > 1 and each[-1] == key]
    meant = near or (elsewhere[0] if elsewhere else None)
    return f" (did you mean {meant!r}?)" if meant else ""


def _text(loc: Loc, details: ErrorDetails, model: type[BaseModel]) -> str:
    kind, given = details["type"], details["input"]
    context = details.get("ctx", {})
    if kind == "value_error":
        return str(context["error"])
    if kind == "literal_error":
        return _choice(str(context["expected"]), given)
    if kind in _BOUNDS:
        word, bound = _BOUNDS[kind]
        return f"must be {word} {context[bound]:,}"
    if kind == "model_type":
        return f"must be a mapping of keys to values, such as {{{next(iter(fields_at(model, loc)))}: …}}"
    if kind == "string_type" and isinstance(given, list):
        return "must be one text, not a list"
    text = _TEXTS.get(kind, "is not what this key takes")
    return text + _group_with(given, model) if isinstance(given, dict) and kind != "missing" else text


def _group_with(given: Mapping[str, object], model: type[BaseModel]) -> str:
    """The group that was meant, where a mapping stands at a key that takes none."""
    for name in model.model_fields:
        fields = fields_at(model, (name,))
        if fields is not model.model_fields and given and given.keys() <= fields.keys():
            return f" (did you mean {name!r}?)"
    return ""


def _choice(expected: str, given: object) -> str:
    names = [name.strip("' ") for name in expected.replace(" or ", ", ").split(",")]
    hint = nearest(given, names) if isinstance(given, str) else ""
    return f"must be {expected}{hint}"
