"""The error bodies of OpenAI-style servers, read into one value."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple

import orjson

from pipeline.types import Json

_LARGEST = 1 << 20
"""Longer error bodies are not parsed: no server explains itself in a megabyte."""

_NAME = re.compile(r"[\w.:-]{1,64}", re.ASCII)


class ErrorBody(NamedTuple):
    """What an error body said. Every field is empty where it said nothing."""

    code: str = ""
    kind: str = ""
    """The body's `type`."""
    message: str = ""
    status: int | None = None
    """An HTTP status in place of a code: `"code": 400` or `"code": "429"`."""


def read_error(body: bytes) -> ErrorBody:
    """Read an error body: of OpenAI, llama.cpp, TGI, LiteLLM, Mistral or FastAPI; plain text, HTML or nothing."""
    try:
        parsed = orjson.loads(body) if len(body) <= _LARGEST else None
    except orjson.JSONDecodeError:
        parsed = None
    if parsed is None:
        return ErrorBody(message=_plain(body))
    if isinstance(parsed, list) and parsed:
        parsed = parsed[0]
    return _from_object(parsed) if isinstance(parsed, dict) else ErrorBody()


def _from_object(parsed: Mapping[str, Json]) -> ErrorBody:
    error = parsed.get("error")
    if isinstance(error, str):
        return _fields({"message": error, "type": parsed.get("error_type"), "code": parsed.get("code")})
    return _fields(error if isinstance(error, dict) else parsed)


def _fields(error: Mapping[str, Json]) -> ErrorBody:
    code = error.get("code")
    code = _name(error.get("error_code") if code is None else code)
    message = error.get("message") or error.get("detail")
    return ErrorBody(
        code="" if _is_status(code) else code,
        kind=_name(error.get("type")),
        message=message if isinstance(message, str) else "",
        status=int(code) if _is_status(code) else None,
    )


def _name(value: Json) -> str:
    """Return a code or type as a name; one that is no name could hold anything and is dropped."""
    if isinstance(value, bool) or not isinstance(value, str | int):
        return ""
    text = str(value)
    return text if _NAME.fullmatch(text) else ""


def _is_status(code: str) -> bool:
    return len(code) == 3 and code.isdecimal() and "400" <= code <= "599"


def _plain(body: bytes) -> str:
    """Return a body that is not JSON as text; a proxy's HTML page says nothing that the status does not."""
    text = body[:4_096].decode(errors="replace").strip()
    return "" if text.startswith("<") else text
