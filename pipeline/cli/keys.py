"""The keys of a config, read from the source of its schema: importing that takes longer than a completion may."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from pathlib import Path

_PACKAGE = "pipeline.config."
_SCHEMAS = Path(__file__).parent.parent / "config"
_SCHEMA = "groups"
_ROOT = "Config"


def config_keys() -> dict[str, tuple[str, ...]]:
    """Return every dotted key with the words that it takes; none where it takes other values."""
    return dict(_keys(_ROOT, _Classes(), ""))


class _Classes:
    """The classes of the schema, also those of modules that it imports from."""

    def __init__(self) -> None:
        self._found: dict[str, ast.ClassDef] = {}
        self._imported: dict[str, str] = {}
        self._read(_SCHEMA)

    def find(self, name: str) -> ast.ClassDef | None:
        """Return the class of that name; None where the name stands for something else."""
        if name not in self._found and name in self._imported:
            self._read(self._imported.pop(name))
        return self._found.get(name)

    def _read(self, module: str) -> None:
        path = _SCHEMAS / f"{module}.py"
        for node in ast.parse(path.read_bytes()).body:
            if isinstance(node, ast.ClassDef):
                self._found[node.name] = node
            elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith(_PACKAGE):
                self._imported |= {alias.name: str(node.module).removeprefix(_PACKAGE) for alias in node.names}


def _keys(name: str, classes: _Classes, prefix: str) -> Iterator[tuple[str, tuple[str, ...]]]:
    for key, annotation in _fields(name, classes).items():
        group = annotation.id if isinstance(annotation, ast.Name) else ""
        if group and classes.find(group) is not None:
            yield from _keys(group, classes, f"{prefix}{key}.")
        else:
            yield prefix + key, _words(annotation)


def _fields(name: str, classes: _Classes) -> Mapping[str, ast.expr]:
    """The annotations of a class and of those that it inherits from."""
    found = classes.find(name)
    if found is None:
        return {}
    fields: dict[str, ast.expr] = {}
    for base in reversed(found.bases):
        fields |= _fields(base.id, classes) if isinstance(base, ast.Name) else {}
    own = [node for node in found.body if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)]
    return fields | {node.target.id: node.annotation for node in own if isinstance(node.target, ast.Name)}


def _words(annotation: ast.expr) -> tuple[str, ...]:
    match annotation:
        case ast.Name(id="bool"):
            return ("true", "false")
        case ast.Subscript(value=ast.Name(id="Literal"), slice=ast.Tuple(elts=words)):
            return tuple(str(word.value) for word in words if isinstance(word, ast.Constant))
    return ()
