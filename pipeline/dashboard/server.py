"""The server: GET only, for whom `Access` admits, and nothing that a browser could be made to misuse."""

from __future__ import annotations

import asyncio
import shlex
import time
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from types import MappingProxyType

from aiohttp import web

from pipeline.dashboard.access import Access
from pipeline.dashboard.figures import Figures, Log, gather, places_of_run
from pipeline.dashboard.view import asset, changing_part, short_page, whole_page
from pipeline.errors import PipelineError
from pipeline.report import Asked, gather_facts, page
from pipeline.report.render import policy
from pipeline.storage.usage import RunRow, UsageLogError

_HEADERS = MappingProxyType(
    {
        "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
        "img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
        "Cache-Control": "no-store",
        "Cross-Origin-Resource-Policy": "same-origin",
        "Referrer-Policy": "no-referrer",
        "X-Content-Type-Options": "nosniff",
        "X-Frame-Options": "DENY",
    }
)
_TYPES = {"js": "text/javascript", "css": "text/css"}
_FRESH = 0.5
"""Seconds for which what was read serves every visitor."""
_MOST_RUNS = 500
_STOP_SECONDS = 0.2

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Dashboard:
    """Serves the dashboard until it is stopped.

    Args:
        log: The usage log.
        access: Who may look.
        port: 0 takes a free one.
    """

    def __init__(self, log: Log, access: Access, port: int) -> None:
        self._log = log
        self._access = access
        self._port = port
        self._runner: web.AppRunner | None = None
        self._reading = asyncio.Lock()
        self._read: tuple[float, Figures] | None = None

    async def start(self) -> str:
        """Listen, and return the URL.

        Raises:
            OSError: The port is taken, or the host is none of this machine.
        """
        app = web.Application(middlewares=[self._guard], client_max_size=1024)
        app.add_routes(
            [
                web.get("/", self._page),
                web.get("/live", self._live),
                web.get("/{name:dashboard\\.js|style\\.css}", self._asset),
                web.get("/reports/{ledger:[a-z0-9]{8}}", self._report),
            ]
        )
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=_STOP_SECONDS)
        await self._runner.setup()
        await web.TCPSite(self._runner, self._access.host, self._port).start()
        host, self._port = self._runner.addresses[0][:2]
        return f"http://[{host}]:{self._port}/" if ":" in host else f"http://{host}:{self._port}/"

    async def stop(self) -> None:
        """Close every connection and stop listening."""
        if self._runner is not None:
            await self._runner.cleanup()

    @property
    def _cookie(self) -> str:
        """Cookies are a host's, not a port's: each server has its own."""
        return f"pipeline-{self._port}"

    @web.middleware
    async def _guard(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        response = await self._admitted(request, handler)
        for name, value in _HEADERS.items():
            response.headers.setdefault(name, value)
        return response

    async def _admitted(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        if not self._access.knows_host(request.headers.get("Host")):
            return _refusal(421, "This server has another name", "It is reached by its address.")
        token = request.query.get("token")
        if token is not None and self._access.is_token(token):
            return self._remembered(request, token)
        if not self._access.admits(request.headers, self._cookie):
            return _refusal(401, "A token is needed", "Open the address that `pipeline dashboard` printed.")
        try:
            return await handler(request)
        except web.HTTPException as error:
            return _refusal(error.status, error.reason, "", error.headers)

    def _remembered(self, request: web.Request, token: str) -> web.Response:
        """Keep the token in a cookie, and take it out of the address and so out of the history."""
        response = web.Response(status=303, headers={"Location": request.path})
        response.set_cookie(self._cookie, token, httponly=True, samesite="Strict", path="/", max_age=30 * 86_400)
        return response

    async def _page(self, _: web.Request) -> web.Response:
        return _html(whole_page(*await self._figures()))

    async def _live(self, _: web.Request) -> web.Response:
        return _html(changing_part(*await self._figures()))

    async def _asset(self, request: web.Request) -> web.Response:
        name = request.match_info["name"]
        return web.Response(text=asset(name), content_type=_TYPES[name.rpartition(".")[2]])

    async def _report(self, request: web.Request) -> web.Response:
        try:
            content = await asyncio.to_thread(self._rendered, request.match_info["ledger"])
        except (PipelineError, UsageLogError) as error:
            return _refusal(404, "There is no report", str(error))
        if content is None:
            return _refusal(404, "There is no report", "The usage log does not know this output.")
        return _html(content, policy("frame-ancestors 'none'"))

    def _rendered(self, ledger: str) -> str | None:
        """Return the report of an output. Records and answers are left out: they belong to who runs the job."""
        run = next((run for run in self._log.runs(_MOST_RUNS) if run.ledger_id == ledger), None)
        return None if run is None else page(gather_facts(places_of_run(run)), Asked(_commands(run)))

    async def _figures(self) -> tuple[Figures, str]:
        """Return what there is, and what is wrong with it; read at most twice a second, whoever asks."""
        async with self._reading:
            if self._read is None or time.monotonic() - self._read[0] > _FRESH:
                try:
                    figures = await asyncio.to_thread(gather, self._log, datetime.now(UTC))
                except UsageLogError as error:
                    return self._last(), str(error)
                self._read = (time.monotonic(), figures)
            return self._read[1], ""

    def _last(self) -> Figures:
        return self._read[1] if self._read is not None else Figures.none(datetime.now(UTC))


def _commands(run: RunRow) -> dict[str, str]:
    """What to type; flags that the run was given are not known."""
    return {name: shlex.join(["pipeline", name, run.config]) for name in ("run", "retry", "status", "check")}


def _html(content: str, policy: str | None = None) -> web.Response:
    headers = {"Content-Security-Policy": policy} if policy is not None else None
    return web.Response(text=content, content_type="text/html", headers=headers)


def _refusal(status: int, title: str, text: str, headers: Mapping[str, str] = MappingProxyType({})) -> web.Response:
    kept = {name: value for name, value in headers.items() if name == "Allow"}
    if status == 401:
        kept["WWW-Authenticate"] = "Bearer"
    return web.Response(status=status, text=short_page(title, text), content_type="text/html", headers=kept)
