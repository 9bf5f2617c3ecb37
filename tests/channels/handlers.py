"""How a raw server answers."""

from __future__ import annotations

import asyncio

from tests.backends.wire import Handler, answer

OK = answer(b"")


def writes(*parts: bytes) -> Handler:
    """Send these bytes, and close the connection."""

    async def handler(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for part in parts:
            writer.write(part)
            await writer.drain()
        writer.close()

    return handler
