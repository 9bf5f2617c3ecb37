"""Reads a request: which endpoint it is for, from whom, and what it asks."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

import orjson
from aiohttp import StreamReader, web
from aiohttp.abc import AbstractStreamWriter
from aiohttp.http import RawRequestMessage

from pipeline.simulator.endpoints.call import Call
from pipeline.simulator.endpoints.chat import read_chat
from pipeline.simulator.endpoints.completions import read_completions
from pipeline.simulator.endpoints.embeddings import read_embeddings
from pipeline.simulator.endpoints.fields import Body
from pipeline.simulator.endpoints.models import require_model
from pipeline.simulator.endpoints.moderations import read_moderations
from pipeline.simulator.options import Options
from pipeline.simulator.refusal import invalid

Reader = Callable[[Body, Options], Call]

_READERS: dict[str, Reader] = {
    "/embeddings": read_embeddings,
    "/completions": read_completions,
    "/chat/completions": read_chat,
    "/moderations": read_moderations,
}
_DEFAULT_MODELS = {"/moderations": "omni-moderation-latest"}
_LARGEST_BODY = 64 << 20


@dataclass(slots=True)
class Visit:
    """What is known of a request while it is served."""

    request: web.BaseRequest
    path: str
    time: float
    serial: int
    model: str = ""
    """The model that is asked for."""
    inputs: list[str] = field(default_factory=list)
    fault: str | None = None

    @property
    def key(self) -> str:
        scheme, _, key = self.request.headers.get("Authorization", "").partition(" ")
        return key if scheme.lower() == "bearer" else ""

    @property
    def request_id(self) -> str | None:
        return self.request.headers.get("X-Client-Request-Id")


def reader(visit: Visit) -> Reader:
    """Return what reads bodies of the visit's endpoint.

    Raises:
        Refusal: 404, 405, or 400 for a client request id that OpenAI refuses.
    """
    read = _READERS.get(visit.path)
    if read is None or not visit.request.path.startswith("/v1/"):
        raise invalid(f"Unknown request URL: {visit.request.path}", code="unknown_url", status=404)
    if visit.request.method != "POST":
        raise invalid(f"Use POST, not {visit.request.method}.", code="method_not_allowed", status=405)
    if len(visit.request_id or "") > 512 or not (visit.request_id or "").isascii():
        raise invalid("X-Client-Request-Id must be ASCII and at most 512 characters long.")
    return read


def parsed(raw: bytes, path: str) -> Body:
    """Return the body of a request to `path`, which is an object with a model.

    Raises:
        Refusal: It is none, or the model does not exist.
    """
    try:
        body = orjson.loads(raw)
    except orjson.JSONDecodeError:
        raise invalid("The body is not valid JSON.") from None
    if not isinstance(body, dict):
        raise invalid("The body must be an object.")
    if not isinstance(body.setdefault("model", _DEFAULT_MODELS.get(path)), str) or not body["model"]:
        raise invalid("You must provide a model.", param="model")
    require_model(body["model"])
    return body


def make_request(
    message: RawRequestMessage,
    payload: StreamReader,
    protocol: web.RequestHandler,
    writer: AbstractStreamWriter,
    task: asyncio.Task[None],
) -> web.BaseRequest:
    """Return aiohttp's request object, which takes bodies of up to 64 MiB."""
    loop = asyncio.get_running_loop()
    return web.BaseRequest(message, payload, protocol, writer, task, loop, client_max_size=_LARGEST_BODY)
