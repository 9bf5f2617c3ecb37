"""The server: reads a request, limits it, spoils it, serves it, bills it, and answers."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Self

import orjson
from aiohttp import web

from pipeline.simulator.billing import Tokens, cost_nusd
from pipeline.simulator.deliveries import DELIVERIES
from pipeline.simulator.distortions import DISTORTIONS, PAYLOADS
from pipeline.simulator.endpoints.call import Answer, Call, let_twin_answer
from pipeline.simulator.endpoints.models import all_models, one_model
from pipeline.simulator.faults import LATE, Fate, Faults, refuse_markers
from pipeline.simulator.limits import Limits
from pipeline.simulator.options import Options
from pipeline.simulator.record import Entry, Record, digest
from pipeline.simulator.refusal import Refusal, invalid
from pipeline.simulator.refusals import AFTER_WORK, REFUSALS, Scene
from pipeline.simulator.visit import Visit, make_request, parsed, reader

_STOP_SECONDS = 0.1
"""How long requests in progress may go on when the server stops."""
_WELCOME = b"This is the built-in simulator of pipeline. It is no AI service: answers, limits and bills are made up.\n"
_JSON = "application/json"


class Simulator:
    """A server on this machine that behaves like an OpenAI-style API, limits, faults and bill included.

    It may be stopped and started again; limits, faults and the record go on.
    """

    def __init__(self, options: Options | None = None) -> None:
        self.options = options or Options()
        self.record = Record(self.options.record)
        self.url = ""
        """The base URL, ending in `/v1`, once started."""
        self._fate = Fate(self.options.faults, random.Random(self.options.seed))  # noqa: S311
        self._chance = random.Random(self.options.seed)  # noqa: S311
        self._limits = self._new_limits()
        self._serial = 0
        self._served = 0
        self._runner: web.ServerRunner | None = None

    async def start(self) -> str:
        """Listen, and return the base URL.

        Raises:
            OSError: The port is taken.
        """
        server = web.Server(self._handle, request_factory=make_request, handler_cancellation=True, access_log=None)
        self._runner = web.ServerRunner(server, shutdown_timeout=_STOP_SECONDS)
        await self._runner.setup()
        await web.TCPSite(self._runner, self.options.host, self.options.port).start()
        host, port = self._runner.addresses[0][:2]
        self.options = replace(self.options, port=port)
        self.url = f"http://[{host}]:{port}/v1" if ":" in host else f"http://{host}:{port}/v1"
        return self.url

    async def stop(self) -> None:
        """Close every connection and stop listening. A new start takes the same port."""
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None
        self.record.close()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    def set_limits(self, *, rpm: int | None = None, tpm: int | None = None) -> None:
        """Replace both limits, with full buckets; None is no limit."""
        self.options = replace(self.options, rpm=rpm, tpm=tpm)
        self._limits = self._new_limits()

    def set_faults(self, faults: Faults) -> None:
        """Replace the faults; a script starts at its beginning."""
        self.options = replace(self.options, faults=faults)
        self._fate = Fate(faults, random.Random(self.options.seed))  # noqa: S311

    def _new_limits(self) -> Limits:
        chosen = self.options
        return Limits(
            chosen.rpm,
            chosen.tpm,
            burst_seconds=chosen.burst_seconds,
            count_refused=chosen.count_refused,
            now=time.monotonic(),
        )

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        self._serial += 1
        visit = Visit(request, request.path.removeprefix("/v1"), time.time(), self._serial)
        try:
            if request.path == "/":
                return web.Response(body=_WELCOME, headers={"x-simulator": "1", "Content-Type": "text/plain"})
            self._check_key(visit)
            if request.method == "GET":
                return self._response(visit, orjson.dumps(_models(request.path)))
            return await self._serve(visit)
        except Refusal as refusal:
            self._write(visit, refusal.status)
            return self._error(visit, refusal)

    async def _serve(self, visit: Visit) -> web.StreamResponse:
        read = reader(visit)
        raw = await visit.request.read()
        body = parsed(raw, visit.path)
        call = read(body, self.options)
        visit.model = body["model"]
        visit.inputs = [digest(text) for text in call.texts]
        self._fate.refuse_late_comers(self._served)
        self._limits.admit(call.input_tokens + call.output_bound, time.monotonic())
        refuse_markers(raw)
        visit.fault = self._fate.next(visit.path)
        refusal = self._refusal(visit)
        if refusal and visit.fault not in AFTER_WORK:
            raise refusal
        answer = await self._work(visit, call, refusal.status if refusal else 200)
        await self._take_time(visit)
        return self._error(visit, refusal) if refusal else await self._deliver(visit, answer)

    def _check_key(self, visit: Visit) -> None:
        if self.options.require_key is not None and visit.key != self.options.require_key:
            raise Refusal(401, "invalid_request_error", "invalid_api_key", "Incorrect API key provided.")

    def _refusal(self, visit: Visit) -> Refusal | None:
        refuse = REFUSALS.get(visit.fault or "")
        return refuse(Scene(visit.time, visit.key, self.options.faults.elsewhere)) if refuse else None

    async def _work(self, visit: Visit, call: Call, status: int) -> Answer:
        """Answer and bill the call. From here on the client owes for it, whatever it gets to see."""
        answer = await call.answer(visit.serial)
        let_twin_answer(answer, visit.model)
        distort = DISTORTIONS[visit.path].get(visit.fault or "")
        if distort:
            distort(answer)
        self._served += 1
        self._write(visit, status, answer)
        return answer

    async def _take_time(self, visit: Visit) -> None:
        seconds = self.options.latency + self._chance.uniform(-self.options.jitter, self.options.jitter)
        if visit.fault == LATE:
            seconds += self.options.faults.late_seconds
        if seconds > 0:
            await asyncio.sleep(seconds)

    async def _deliver(self, visit: Visit, answer: Answer) -> web.StreamResponse:
        name = visit.fault or ""
        body = orjson.dumps(answer.body, option=orjson.OPT_SERIALIZE_NUMPY)
        if name in DELIVERIES:
            return await DELIVERIES[name](visit.request, body, self.options.faults.hang_seconds)
        if name in PAYLOADS:
            content, kind = PAYLOADS[name](body)
            return self._response(visit, content, kind=kind)
        return self._response(visit, body)

    def _error(self, visit: Visit, refusal: Refusal) -> web.Response:
        return self._response(visit, refusal.content, refusal.status, refusal.content_type, refusal.headers)

    def _response(
        self,
        visit: Visit,
        content: bytes,
        status: int = 200,
        kind: str = _JSON,
        more: Mapping[str, str] | None = None,
    ) -> web.Response:
        headers = {"x-simulator": "1", "x-request-id": f"req-{visit.serial}", "Content-Type": kind}
        headers |= self._limits.headers(time.monotonic())
        return web.Response(body=content, status=status, headers={**headers, **(more or {})})

    def _write(self, visit: Visit, status: int, answer: Answer | None = None) -> None:
        tokens, model, cost = Tokens(), None, 0
        if answer:
            tokens, model, cost = answer.tokens, answer.model, cost_nusd(answer.tokens, answer.model)
        entry = Entry(visit.time, visit.path, visit.request_id, status, visit.inputs, model, tokens, cost, visit.fault)
        self.record.write(entry)


def _models(path: str) -> dict[str, Any]:
    if path == "/v1/models":
        return all_models()
    if path.startswith("/v1/models/"):
        return one_model(path.removeprefix("/v1/models/"))
    raise invalid(f"Unknown request URL: GET {path}", code="unknown_url", status=404)
