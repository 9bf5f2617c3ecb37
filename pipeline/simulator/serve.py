"""The simulator as a process of its own."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable
from contextlib import AsyncExitStack

import click

from pipeline.simulator.options import Options
from pipeline.simulator.server import Simulator


def run_forever(options: Options) -> None:
    """Serve until SIGINT or SIGTERM. The first line on stdout is the base URL.

    Raises:
        click.ClickException: The port cannot be had.
    """
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        runner.run(_serve(options))


async def _serve(options: Options) -> None:
    stopped = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    async with AsyncExitStack() as stack:
        try:
            simulator = await stack.enter_async_context(Simulator(options))
        except OSError as error:
            place = f"{options.host}:{options.port}"
            raise click.ClickException(
                f"cannot serve on {place}: {os.strerror(error.errno or 0).lower()}; --port 0 takes a free port"
            ) from error
        click.echo(simulator.url)
        click.echo(f"Until Ctrl-C. To lead runs here: export OPENAI_BASE_URL={simulator.url}", err=True)
        await stopped.wait()


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop  # noqa: PLC0415  not on every platform
    except ModuleNotFoundError:
        return None
    return uvloop.new_event_loop
