"""What keys a schema has: for overrides, variables and the nearest right key."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Mapping
from types import NoneType, UnionType
from typing import Annotated, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from pipeline.config.origin import Loc


def keys(model: type[BaseModel], loc: Loc = ()) -> Iterator[Loc]:
    """Yield the way to every key of `model` that holds a value rather than further keys."""
    for name, field in model.model_fields.items():
        group = field.annotation
        if isinstance(group, type) and issubclass(group, BaseModel):
            yield from keys(group, (*loc, name))
        else:
            yield (*loc, name)


def fields_at(model: type[BaseModel], loc: Loc) -> Mapping[str, FieldInfo]:
    """Return the fields of the model at `loc`; indexes and free keys on the way are passed over."""
    for part in loc:
        field = model.model_fields.get(str(part))
        inner = _model_in(field.annotation) if field else None
        model = inner or model
    return model.model_fields


def takes_text(model: type[BaseModel], loc: Loc) -> bool:
    """Whether the key at `loc` takes nothing but text, so that `--set model=4` means the text `4`."""
    field = fields_at(model, loc[:-1]).get(str(loc[-1]))
    return field is not None and _is_text(field.annotation)


def nearest(key: str, names: Iterable[str]) -> str:
    """Return ` (did you mean 'x'?)` with the most similar of `names`, or nothing."""
    near = difflib.get_close_matches(key, list(names), n=1)
    return f" (did you mean {near[0]!r}?)" if near else ""


def _model_in(annotation: object) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for each in get_args(annotation) if (found := _model_in(each))), None)


def _is_text(annotation: object) -> bool:
    kind = get_origin(annotation)
    if kind is Annotated:
        return _is_text(get_args(annotation)[0])
    if kind in {Union, UnionType}:
        return all(_is_text(each) for each in get_args(annotation) if each is not NoneType)
    return annotation is str
