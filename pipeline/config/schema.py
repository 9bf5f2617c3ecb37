"""The JSON schema of a config, with what the source says of each key."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Mapping

from pipeline.config import groups, notify
from pipeline.types import Json


def schema() -> dict[str, Json]:
    """Return the JSON schema of a config, for editors."""
    found = {"$schema": "https://json-schema.org/draft/2020-12/schema", **groups.Config.model_json_schema()}
    texts = _texts()
    _describe(groups.Config, found, texts)
    for name, definition in found["$defs"].items():
        _describe((vars(groups) | vars(notify)).get(name, object), definition, texts)
    return found


def _describe(model: type, definition: Json, texts: Mapping[str, Mapping[str, str]]) -> None:
    for base in model.__mro__:
        for key, text in texts.get(base.__name__, {}).items():
            if key in definition["properties"]:
                definition["properties"][key].setdefault("description", text)


def _texts() -> dict[str, dict[str, str]]:
    """Return class → key → the string below the field. pydantic can read them too, but does it on every start."""
    nodes = [node for module in (groups, notify) for node in ast.parse(inspect.getsource(module)).body]
    classes = [node for node in nodes if isinstance(node, ast.ClassDef)]
    return {node.name: dict(filter(None, map(_documented, node.body, node.body[1:]))) for node in classes}


def _documented(field: ast.stmt, below: ast.stmt) -> tuple[str, str] | None:
    match field, below:
        case ast.AnnAssign(target=ast.Name(id=key)), ast.Expr(value=ast.Constant(value=str(text))):
            return key, inspect.cleandoc(text)
    return None
