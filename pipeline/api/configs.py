"""Configs as programs give them: a path, a mapping, keyword arguments, and rows in place of an input file."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from decimal import Decimal
from os import PathLike
from pathlib import Path
from typing import Any, Literal, TypedDict, Unpack

from pydantic import BaseModel

from pipeline.assembly import places_of
from pipeline.config import Loaded
from pipeline.config.document import Document, read_document
from pipeline.config.groups import Config
from pipeline.config.loading import Given, load_document
from pipeline.config.origin import Loc, Origin
from pipeline.sources import begun_or_last
from pipeline.storage.rows import write_rows
from pipeline.types import Json

_MAPPING = "config"
"""What messages call a config that is no file."""
_ARGUMENT = Origin("argument")
_NO_NAME = re.compile(r"[^A-Za-z0-9._-]+", re.ASCII)
_SHORT: Mapping[str, Loc] = {"id": ("input", "id"), "keep": ("output", "keep"), "budget_usd": ("budget", "hard_usd")}

Rows = Iterable[Mapping[str, Any]]
PathText = str | PathLike[str]


class Keys(TypedDict, total=False):
    """The keys of a config as keyword arguments. A group (`limits`, `budget` …) is merged key by key."""

    job: str
    name: str
    endpoint: str
    tags: Mapping[str, str]
    input: PathText | Rows | Mapping[str, Any]
    """A file, rows, or the group `input`. Rows are written to `input.jsonl` in the state directory first."""
    id: str
    """`input.id`: the field that names a record."""
    output: PathText | Mapping[str, Any]
    """A file, or the group `output`. Not needed where `state` is given: the output then lies in it."""
    keep: Sequence[str]
    """`output.keep`: fields of the record that its result repeats."""
    state: PathText
    model: str | None
    params: Mapping[str, Any]
    max_output_tokens: int | None
    max_input_tokens: int | None
    too_long: Literal["error", "truncate"]
    vectors: Literal["floats", "base64"]
    text: str
    prompt: str
    system: str
    messages: str | Sequence[Mapping[str, str]]
    batch: Mapping[str, int]
    limits: Mapping[str, int | None]
    retry: Mapping[str, int | float | str]
    budget: Mapping[str, int | float | Decimal | None]
    budget_usd: int | float | Decimal | None
    """`budget.hard_usd`: never spend more, over all runs of the output."""
    timeout: float | str
    deadline: float | str | None
    drain: float | str
    lock_wait: float | str
    max_failures: int | str | None
    limit: int | None
    strict: bool
    now: str
    notify: Mapping[str, Any]
    heartbeat: Mapping[str, Any]
    log: Mapping[str, Any]
    joblog: PathText
    metrics: Mapping[str, Any]


ConfigLike = PathText | Mapping[str, Any] | Loaded
"""A YAML file, a mapping with its keys, or what `load` returned."""


def load(
    config: ConfigLike | None = None, /, *, environ: Mapping[str, str] | None = None, **keys: Unpack[Keys]
) -> Loaded:
    """Return a checked config.

    Args:
        config: A YAML file, a mapping with its keys, or None where the keywords say it all. Of a mapping, `.env` and
            `endpoints.yaml` are looked for in the working directory.
        environ: Variables in place of the process's own.
        keys: Values that come before those of the file, of `.env` and of the environment.

    Raises:
        UsageError: Something is wrong; the message has one line for each fault, with its place.
        StorageFailed: Rows could not be written.
    """
    if isinstance(config, Loaded):
        if keys or environ is not None:
            raise TypeError("this config is loaded already: give its keys to load()")
        return config
    given = dict(_plain(keys))
    rows = given["input"] if _is_rows(given.get("input")) else None
    if rows is not None:
        given["input"] = {"path": "-"}
    document = _document(config)
    values = dict(_values(given))
    _fill_in(document, values)
    variables = os.environ.copy() if environ is None else environ
    loaded = _loaded(document, variables, values)
    if loaded.config.input.since_last and loaded.config.now is None:
        begun, _ = begun_or_last(loaded)
        loaded = _loaded(document, variables, {**values, ("now",): begun}) if begun is not None else loaded
    return loaded if rows is None else _with_rows(loaded, rows)


def _loaded(document: Document, environ: Mapping[str, str], values: Mapping[Loc, Json]) -> Loaded:
    return load_document(document, environ, values=[Given(loc, value, _ARGUMENT) for loc, value in values.items()])


def _document(config: PathText | Mapping[str, Any] | None) -> Document:
    if config is None or isinstance(config, Mapping):
        return Document(Path(_MAPPING), dict(_plain(config or {})), {}, first_line=None)
    return read_document(Path(config))


def _plain(value: Mapping[str, Any]) -> Iterator[tuple[str, Json]]:
    """The entries of a mapping as YAML would give them: paths are text. Mappings are copied, because we add to them."""
    for key, each in value.items():
        yield key, _plain_value(each)


def _plain_value(value: object) -> Json:
    if isinstance(value, PathLike):
        return os.fspath(value)
    if isinstance(value, Mapping):
        return dict(_plain(value))
    return list(value) if isinstance(value, tuple) else value


def _is_rows(value: object) -> bool:
    return isinstance(value, Iterable) and not isinstance(value, str | bytes | Mapping)


def _values(given: Mapping[str, Json]) -> Iterator[tuple[Loc, Json]]:
    """The keys that the arguments set: those of a group one by one, as `--set` would set them."""
    for name, value in given.items():
        if name in _SHORT:
            yield _SHORT[name], value
        elif name in ("input", "output") and isinstance(value, str):
            yield (name, "path"), value
        elif isinstance(value, Mapping) and _is_group(name):
            yield from (((name, key), each) for key, each in value.items())
        else:
            yield (name,), value


def _is_group(name: str) -> bool:
    field = Config.model_fields.get(name)
    return field is not None and isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel)


def _fill_in(document: Document, values: Mapping[Loc, Json]) -> None:
    """A state directory is place enough for an output; a mapping has the name of its output, as a file has its own."""
    group = document.data.get("output")
    output = values.get(("output", "path")) or (group.get("path") if isinstance(group, dict) else None)
    state = values.get(("state",)) or document.data.get("state")
    if state and not group and ("output", "path") not in values:
        document.data["output"] = {"path": "-"}
    if document.first_line is None:
        document.data.setdefault("name", _name(output if output and output != "-" else state))


def _name(place: Json) -> str:
    return _NO_NAME.sub("-", Path(place).stem)[:64] if isinstance(place, str) and Path(place).stem else _MAPPING


def _with_rows(loaded: Loaded, rows: Rows) -> Loaded:
    path = write_rows(places_of(loaded), rows)
    source = loaded.config.input.model_copy(update={"path": str(path)})
    return replace(loaded, config=loaded.config.model_copy(update={"input": source}))
