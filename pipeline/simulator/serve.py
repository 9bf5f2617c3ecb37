"""The simulator as a process of its own."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable

import click

from pipeline.simulator.options import Options
from pipeline.simulator.server import Simulator


def run_forever(options: Options) -> None:
    """Serve until SIGINT or SIGTERM. The first line on stdout is the base URL."""
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        runner.run(_serve(options))


async def _serve(options: Options) -> None:
    stopped = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    async with Simulator(options) as simulator:
        click.echo(simulator.url)
        await stopped.wait()


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop  # noqa: PLC0415  not on every platform
    except ModuleNotFoundError:
        return None
    return uvloop.new_event_loop
