"""What a text that is no YAML was meant to be: the parser's own words name tokens, and people write lines."""

from __future__ import annotations

import re

import orjson
from ruamel.yaml.error import MarkedYAMLError, StringMark

Fault = tuple[int, str]
"""The index of a line, from 0, and what is wrong there."""

_RECORDS = (
    "holds JSON records, not a config: name the file under input.path of a config; `pipeline init NAME` writes one"
)
_QUOTES = 'put quotes around a text that holds {{ or a colon: "…"'
_HINTS = (
    (re.compile(r" *\t"), "a tab cannot indent YAML: use spaces"),
    (re.compile(r".*\u00a0"), "holds a no-break space: write a plain one"),
    (re.compile(r"---"), "begins a second document: a config is one"),
    (re.compile(r".*\$[{(]"), "variables are not filled in here: set PIPELINE_…, or use --set"),
    (re.compile(r" *[\w.-]+ *=( |$)"), "a key ends in a colon: write `key: value`"),
    (re.compile(r" *[\w.-]+:[^\s/:]"), "a space is missing behind the colon: write `key: value`"),
    (re.compile(r".*:\s+\{\{"), _QUOTES),
    (re.compile(r" *[\w.-]+:\s+[^\s\"'|>{}#&*!\[\]][^\"']*:(\s|$)"), _QUOTES),
    (re.compile(r" *[\w.-]+:\s+[*&%@`]"), 'put quotes around a text that begins so: "…"'),
)
_KEY = re.compile(r"( *)(?:- +)?[\w.-]+ *:")


def explain(error: MarkedYAMLError, text: str) -> Fault:
    """Return what is wrong with `text`, and where, in words that show no value."""
    if _holds_records(text):
        return 0, _RECORDS
    lines = text.splitlines()
    at = _index(error.problem_mark) if error.problem_mark else _index(error.context_mark)
    for index in (at, _index(error.context_mark)):
        line = lines[index] if index < len(lines) else ""
        for pattern, hint in _HINTS:
            if pattern.match(line):
                return index, hint
    return _not_closed(error, text) or _badly_indented(at, lines) or (at, f"is not YAML: {error.problem}")


def _holds_records(text: str) -> bool:
    """Whether this is an input: more than one line, and the first is a whole JSON object."""
    first, _, rest = text.strip().partition("\n")
    if not first.startswith("{") or not rest:
        return False
    try:
        return isinstance(orjson.loads(first), dict)
    except orjson.JSONDecodeError:
        return False


def _index(mark: StringMark | None) -> int:
    return int(mark.line) if mark is not None else 0


def _not_closed(error: MarkedYAMLError, text: str) -> Fault | None:
    mark = error.context_mark
    opened = text[mark.index : mark.index + 1] if mark is not None else ""
    if opened in ('"', "'"):
        return _index(mark), f"the {opened} that opens here is not closed"
    if opened in ("{", "["):
        return _index(mark), f"the {opened} that opens here is not closed, or a comma is missing in it"
    return None


def _badly_indented(at: int, lines: list[str]) -> Fault | None:
    found = _KEY.match(lines[at]) if at < len(lines) else None
    known = {above[1] for line in lines[:at] if (above := _KEY.match(line))}
    if found is None or not known or found[1] in known:
        return None
    return at, "is indented unlike any line above it"
