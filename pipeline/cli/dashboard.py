"""`pipeline dashboard`: a page about all runs, served on this machine."""

from __future__ import annotations

import os
import secrets
import signal
from typing import TYPE_CHECKING

import click

from pipeline.cli.streams import say
from pipeline.errors import StorageFailed, UsageError
from pipeline.loop import run_loop

if TYPE_CHECKING:
    from pipeline.dashboard import Dashboard

_SHORTEST_TOKEN = 16


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Any but a loopback address needs a token.")
@click.option("--port", type=click.IntRange(0, 65_535), default=8020, show_default=True, help="0 takes a free port.")
@click.option("--token", "reference", metavar="env:NAME|file:PATH", help="What a visitor must show.")
def dashboard(host: str, port: int, reference: str | None) -> None:
    """Serve a page about all runs: what goes on now, what was spent, how the last runs ended. It changes nothing.

    On a loopback address everybody on this machine may look, unless there is a token. Elsewhere one is made where none
    is named; the address that is printed holds it. The connection is not encrypted: put it behind a tunnel.

    Example: pipeline dashboard --port 8020
    """
    # It brings a server and templates, which --help need not wait for.
    from pipeline.dashboard import Access, Dashboard, is_loopback  # noqa: PLC0415
    from pipeline.storage.usage import UsageLog, UsageLogError, usage_log_path  # noqa: PLC0415

    token = _token(reference) if reference is not None else None
    if token is None and not is_loopback(host):
        token = secrets.token_urlsafe(32)
    try:
        log = UsageLog(usage_log_path(os.environ))
    except UsageLogError as error:
        raise StorageFailed(str(error)) from error
    run_loop(_serve(Dashboard(log, Access(host, token), port), shown=token if reference is None else None))


async def _serve(server: Dashboard, shown: str | None) -> None:
    """Serve until a signal comes. The first line on stdout is the address."""
    import asyncio  # noqa: PLC0415 - as in pipeline.loop

    stopped = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    try:
        url = await server.start()
    except OSError as error:
        raise UsageError(f"cannot listen there: {error.strerror or error}; choose another --host or --port") from error
    say(f"{url}?token={shown}" if shown is not None else url, err=False)
    await stopped.wait()
    await server.stop()


def _token(reference: str) -> str:
    from pipeline.config import read_secret  # noqa: PLC0415 - brings pydantic

    try:
        token = read_secret(reference, os.environ)
    except UsageError as error:
        raise UsageError(f"--token: {error.message.removeprefix('api_key: ')}") from error
    if len(token) < _SHORTEST_TOKEN:
        raise UsageError(f"the token is too easy to guess: take at least {_SHORTEST_TOKEN} characters")
    return token
