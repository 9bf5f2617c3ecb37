"""One line of the input becomes a Record, a BadLine, or nothing where it is blank.

What is sent is always built from what was parsed here, never from the raw bytes, so a line that two parsers could
read in two ways (duplicate keys: the last one wins) has one meaning only.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import orjson

from pipeline.job import is_batch_line
from pipeline.types import BadLine, Json, Record

LINE_LIMIT = 16 * 1024 * 1024
"""The most bytes of a line, without its newline."""
ID_LIMIT = 512
"""The most bytes of a custom_id in UTF-8: it is repeated in outputs, logs and headers."""
DEPTH_LIMIT = 200
"""The deepest nesting. Lines are nested once more in bodies and dead letters, and orjson writes at most 254 levels."""
RAW_LIMIT = 64 * 1024
"""The most bytes of a bad line that its dead letter shows."""

BOM = b"\xef\xbb\xbf"

_OUTLINE = bytes.maketrans(b"0123456789{", b"0000000000[")
"""One pass that makes long numbers and deep nesting quick to rule out."""
_NINETEEN_DIGITS = b"0" * 19
_STRING = r'"(?:[^"\\]++|\\.)*+"?'  # also one that never ends, so that every scan is linear
_NUMBER = re.compile(_STRING.encode() + rb"|(-?\d++)(\.\d++)?([eE][+-]?\d++)?")
_BRACKET = re.compile(_STRING + r"|([\[{])|([\]}])")
_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")
_NOT_A_NUMBER = re.compile(r"nan|inf", re.IGNORECASE)
_SEPARATORS = frozenset(",;\t")
_OBJECT = '{"text": "…"}'
_TEXT_NUMBER = re.compile(r"-?\d++(\.\d++)?([eE][+-]?\d++)?")

Fault = tuple[str, str]
"""The code and the message of a BadLine."""


def parse_line(
    line: int, raw: bytes, id_field: str | None = None, limit: int = LINE_LIMIT, *, name: str | None = None
) -> Record | BadLine | None:
    """Return the record that a line holds, or what is wrong with it; None for a blank line.

    Args:
        line: Its number, from 1; a byte order mark is accepted on line 1 only.
        raw: The line without its newline. A carriage return at its end is white space.
        id_field: The field that holds the custom_id. Without it, a Batch line brings its own and any other record
            is named by its line number.
        limit: The most bytes; a reader may hand over the beginning alone of a longer line.
        name: What names a record without an id; its line number where there is no better name.
    """
    if line == 1:
        raw = raw.removeprefix(BOM)
    if len(raw) > limit:
        return _bad(raw, line, ("line_too_long", f"the line is longer than {limit:,} bytes"))
    try:
        data = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        return None if is_blank(raw) else _bad(raw, line, _diagnose(raw, line, error.pos))
    if type(data) is not dict:
        return _bad(raw, line, _not_an_object(data))
    outline = raw.translate(_OUTLINE)
    if _NINETEEN_DIGITS in outline and _has_wide_integer(raw):
        return _bad(raw, line, _TOO_WIDE)
    if outline.count(b"[") > DEPTH_LIMIT and _is_deep(data):
        return _bad(raw, line, _TOO_DEEP)
    return _named(line, raw, data, id_field, name)


def is_blank(raw: bytes) -> bool:
    """Whether a line holds ASCII white space alone."""
    return not raw or raw.isspace()


def count_blank(lines: Sequence[bytes], first_line: int) -> int:
    """Return how many of `lines` are blank for `parse_line`."""
    blank = lines.count(b"") + sum(map(bytes.isspace, lines))
    marked = first_line == 1 and lines[0].startswith(BOM) and is_blank(lines[0].removeprefix(BOM))
    return blank + marked


def blank_lines(lines: Sequence[bytes], first_line: int) -> list[int]:
    """Return the numbers of those of `lines` that are blank for `parse_line`."""
    return [line for line, raw in enumerate(lines, first_line) if is_blank(raw.removeprefix(BOM) if line == 1 else raw)]


def _bad(raw: bytes, line: int, fault: Fault) -> BadLine:
    return BadLine(line, *fault, raw[:RAW_LIMIT])


_TOO_DEEP = ("nested_too_deeply", f"the line is nested more than {DEPTH_LIMIT} levels deep")
_TOO_WIDE = ("integer_too_large", "an integer needs more than 64 bits: write it as a string")
_ARRAY = (
    "json_array",
    "the line is a JSON array, not an object: a JSON Lines file has one object a line (jq -c '.[]' makes one)",
)


def _not_an_object(data: Json) -> Fault:
    if isinstance(data, list):
        return _ARRAY
    return "not_an_object", f"the line must be a JSON object, such as {_OBJECT}"


def _has_wide_integer(raw: bytes) -> bool:
    """Whether an integer lies outside -2^63 … 2^64-1, where orjson would turn it into a rounded float."""
    for match in _NUMBER.finditer(raw):
        digits, fraction, exponent = match.groups()
        if digits is None or fraction is not None or exponent is not None:
            continue
        if not -(1 << 63) <= int(digits) < 1 << 64:
            return True
    return False


def _is_deep(data: Json) -> bool:
    """Whether arrays and objects are nested too deeply; walks level by level, so that it cannot recurse too far."""
    level = [data]
    for _ in range(DEPTH_LIMIT):
        inner = [node.values() if type(node) is dict else node for node in level]
        level = [child for children in inner for child in children if type(child) in (dict, list)]
    return bool(level)


def _opens_deep(text: str) -> bool:
    """Whether a text that is no JSON has too many brackets open at its end; those in strings do not count."""
    depth = 0
    for match in _BRACKET.finditer(text):
        if match.lastindex is not None:
            depth += 1 if match.lastindex == 1 else -1
    return depth > DEPTH_LIMIT


def _named(line: int, raw: bytes, data: Mapping[str, Json], id_field: str | None, name: str | None) -> Record | BadLine:
    if id_field is not None:
        custom_id = _custom_id(data, id_field)
    elif "custom_id" in data and is_batch_line(data):
        custom_id = _custom_id(data, "custom_id")
    else:
        custom_id = name or str(line)
    return Record(line, custom_id, data) if isinstance(custom_id, str) else _bad(raw, line, custom_id)


def _custom_id(data: Mapping[str, Json], field: str) -> str | Fault:
    value = data.get(field)
    if type(value) is int:  # bool is a subclass, and no name
        return str(value)
    if isinstance(value, str) and value and (len(value) <= ID_LIMIT // 4 or len(value.encode()) <= ID_LIMIT):
        return value
    names = f"the field {field!r}, which names the record,"
    if field not in data:
        return "id_missing", f"{names} is missing"
    if not isinstance(value, str):
        return "id_not_text", f"{names} must be a string or an integer"
    return ("id_too_long", f"{names} has more than {ID_LIMIT} bytes") if value else ("id_empty", f"{names} is empty")


def _diagnose(raw: bytes, line: int, position: int) -> Fault:
    """Return why orjson refused a line at character `position`, found from the line and never from its message."""
    fault = _encoding_fault(raw)
    if fault is not None:
        return fault
    text = raw.decode()
    if line == 1 and text.lstrip().startswith("["):
        return _ARRAY
    return _syntax_fault(text, position)


def _encoding_fault(raw: bytes) -> Fault | None:
    nul = raw.count(0)
    if raw.startswith((b"\xff\xfe", b"\xfe\xff")) or (len(raw) <= 3 * nul < 3 * len(raw)):
        return "wrong_encoding", "the line looks like UTF-16 or UTF-32: convert the file (iconv -f UTF-16 -t UTF-8)"
    if raw.startswith(BOM):
        return "byte_order_mark", "a byte order mark inside the file: were two files joined? Remove it"
    try:
        raw.decode()
    except UnicodeDecodeError as error:
        return "invalid_utf8", f"byte {error.start + 1} is not valid UTF-8"
    return ("nul_byte", f"byte {raw.index(0) + 1} is NUL") if nul else None


def _syntax_fault(text: str, position: int) -> Fault:
    column = f"column {position + 1}"
    if position >= len(text.rstrip()):
        return "incomplete", "the line ends in the middle of a value: a record must stand on one line"
    if _parses(text[:position]):
        hint = " (a carriage return alone does not end a line)" if "\r" in text.rstrip() else ""
        return "trailing_data", f"{column}: something follows the object{hint}: one object a line"
    if _SURROGATE.match(text, position):
        return "lone_surrogate", f"{column}: half of a surrogate pair is no character"
    number = _number_fault(text, position)
    if number is not None:
        return number[0], f"{column}: {number[1]}"
    if text[position] < " ":
        return "control_character", f"{column}: a control character must be escaped"
    if _opens_deep(text[:position]):
        return _TOO_DEEP
    if position == 0:
        table = " (is this CSV?)" if "{" not in text and not _SEPARATORS.isdisjoint(text) else ""
        return "invalid_json", f"not JSON{table}: a line must be an object, such as {_OBJECT}"
    return "invalid_json", f"{column}: not valid JSON"


def _number_fault(text: str, position: int) -> Fault | None:
    if _NOT_A_NUMBER.match(text, position):
        return "not_finite", "NaN and Infinity are not JSON: write null or a string"
    number = _TEXT_NUMBER.match(text, position)
    if number is None or abs(float(number[0])) != float("inf"):
        return None
    return ("not_finite", "the number is too large") if number.lastindex else _TOO_WIDE


def _parses(text: str) -> bool:
    try:
        orjson.loads(text)
    except orjson.JSONDecodeError:
        return False
    return True
