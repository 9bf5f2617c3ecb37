"""YAML 1.2 as plain values that know their lines.

Values are built from ruamel's nodes rather than by a loader: every key keeps its line, no tag can create an object,
a key given twice is an error, and what aliases expand to is counted while it grows.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from ruamel.yaml import YAML
from ruamel.yaml.composer import Composer
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.events import CollectionStartEvent
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode
from ruamel.yaml.reader import ReaderError

from pipeline.config.origin import Loc, Origin, unreadable
from pipeline.errors import UsageError
from pipeline.types import Json

MOST_BYTES = 256 * 1024
"""The largest config. The parser takes some 10 µs a byte for the worst of texts."""
MOST_VALUES = 10_000
MOST_DEPTH = 64
_TAG = "tag:yaml.org,2002:"
_TEXT = {f"{_TAG}str", f"{_TAG}timestamp", f"{_TAG}merge", f"{_TAG}value"}
"""Plain words; the last three are other kinds only in YAML 1.1."""


class Document(NamedTuple):
    """A YAML file that holds a mapping."""

    path: Path
    data: dict[str, Json]
    lines: Mapping[Loc, int]
    """The line of every key and list entry, from 1."""
    first_line: int | None = 1
    """None where the mapping was never written in a file."""

    def origin(self, loc: Loc) -> Origin:
        """Return the line of `loc`, or of the nearest thing around it."""
        while loc and loc not in self.lines:
            loc = loc[:-1]
        return Origin(str(self.path), self.lines.get(loc, self.first_line))


class NotYamlError(ValueError):
    """The text cannot be read. `line` counts from 1."""

    def __init__(self, line: int, problem: str) -> None:
        super().__init__(problem)
        self.line = line


def read_document(path: Path) -> Document:
    """Return the mapping that the file holds; an empty file is refused.

    Raises:
        UsageError: The file cannot be read, is no YAML or no mapping; the message names file and line.
    """
    text = read_text(path)
    try:
        data, lines = _parse(text)
    except NotYamlError as error:
        raise _refused(path, error.line, str(error)) from None
    if data is None:
        raise _refused(path, 1, "the file is empty: it must hold keys and values")
    if not isinstance(data, dict):
        raise _refused(path, 1, "must be a mapping of keys to values: `key: value`")
    return Document(path, data, lines)


def _refused(path: Path, line: int, problem: str) -> UsageError:
    return UsageError(f"{path}:{line}: {problem}", code="invalid_config")


def read_text(path: Path) -> str:
    """Return a small UTF-8 file. Raises UsageError where it is not that."""
    try:
        with path.open("rb") as file:
            raw = file.read(MOST_BYTES + 1)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else "not a file name"
        raise unreadable(path, reason.lower()) from None
    if len(raw) > MOST_BYTES:
        raise unreadable(path, f"is larger than {MOST_BYTES // 1024} KiB: no config is; is it the input?")
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise _refused(path, line, "is not UTF-8: save it as that") from None


def parse_value(text: str) -> Json:
    """Return the value of a YAML text, as `--set` takes it. Raises NotYamlError."""
    return _parse(text)[0]


def _parse(text: str) -> tuple[Json, Mapping[Loc, int]]:
    try:
        yaml = YAML(typ="safe", pure=True)
        yaml.Composer = _BoundedComposer
        # An anchor may be defined twice; the warning would be printed in the midst of ours.
        yaml.composer.warn_double_anchors = False
        root = yaml.compose(text)
    except ReaderError as error:
        raise NotYamlError(
            text.count("\n", 0, error.position) + 1, "holds a character that YAML does not allow"
        ) from None
    except MarkedYAMLError as error:
        from pipeline.config.yaml_faults import explain  # noqa: PLC0415 - patterns that a sound config need not wait for

        index, problem = explain(error, text)
        raise NotYamlError(index + 1, problem) from None
    except (YAMLError, RecursionError):
        raise NotYamlError(1, "cannot be read as YAML") from None
    builder = _Builder()
    return (None if root is None else builder.build(root, (), 0)), builder.lines


class _BoundedComposer(Composer):
    """Stops before it recurses too deeply or holds too much."""

    _depth = _events = 0

    def compose_node(self, parent: Node | None, index: object) -> Node:
        event = self.parser.peek_event()
        is_collection = isinstance(event, CollectionStartEvent)
        if self._events > 2 * MOST_VALUES:
            raise NotYamlError(event.start_mark.line + 1, f"holds more than {MOST_VALUES:,} values")
        self._events += 1 + is_collection  # a collection begins and ends
        self._depth += 1
        if self._depth > MOST_DEPTH and is_collection:
            raise NotYamlError(event.start_mark.line + 1, f"is nested deeper than {MOST_DEPTH} levels")
        node: Node = super().compose_node(parent, index)
        self._depth -= 1
        return node


class _Builder:
    """Builds plain values from nodes and notes the line of each."""

    def __init__(self) -> None:
        self.lines: dict[Loc, int] = {}
        self._values = 0

    def build(self, node: Node, loc: Loc, depth: int) -> Json:
        self._values += 1
        if self._values > MOST_VALUES or depth > MOST_DEPTH:
            raise NotYamlError(_line(node), f"expands to more than {MOST_VALUES:,} values or {MOST_DEPTH} levels")
        if isinstance(node, MappingNode) and node.tag == f"{_TAG}map":
            return {key: self.build(value, (*loc, key), depth + 1) for key, value in self._pairs(node, loc)}
        if isinstance(node, SequenceNode) and node.tag == f"{_TAG}seq":
            return [self._entry(value, (*loc, index), depth + 1) for index, value in enumerate(node.value)]
        if isinstance(node, ScalarNode):
            return _scalar(node)
        raise _strange_tag(node)

    def _pairs(self, node: MappingNode, loc: Loc) -> list[tuple[str, Node]]:
        pairs: dict[str, Node] = {}
        for key, value in node.value:
            if isinstance(key, MappingNode):
                raise NotYamlError(_line(key), 'put quotes around a text that begins with {{: "{{ … }}"')
            if not isinstance(key, ScalarNode):
                raise NotYamlError(_line(key), "a key must be a plain word")
            if key.value in pairs:
                raise NotYamlError(_line(key), f"{'.'.join(map(str, (*loc, key.value)))}: is given twice")
            pairs[key.value] = value
            self.lines[(*loc, key.value)] = _line(key)
        return list(pairs.items())

    def _entry(self, node: Node, loc: Loc, depth: int) -> Json:
        self.lines[loc] = _line(node)
        return self.build(node, loc, depth)


def _scalar(node: ScalarNode) -> Json:
    text: str = node.value
    tag = node.tag
    if tag in _TEXT:
        return text
    if tag == f"{_TAG}null":
        return None
    if tag == f"{_TAG}bool" and text.lower() in {"true", "false"}:
        return text.lower() == "true"
    try:
        if tag == f"{_TAG}int":
            return _whole(text.replace("_", ""))
        if tag == f"{_TAG}float":
            return float(text.replace("_", "").lower().replace(".inf", "inf").replace(".nan", "nan"))
    except ValueError:
        raise NotYamlError(_line(node), "is not a number of YAML 1.2") from None
    raise _strange_tag(node)


def _whole(digits: str) -> int:
    return int(digits, 0 if digits.lstrip("+-")[:2].lower() in {"0o", "0x", "0b"} else 10)


def _strange_tag(node: Node) -> NotYamlError:
    return NotYamlError(_line(node), "has a tag (`!…`), which no key takes")


def _line(node: Node) -> int:
    line: int = node.start_mark.line
    return line + 1
