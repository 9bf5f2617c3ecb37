from __future__ import annotations

import pytest

from pipeline.channels.heartbeat import Heartbeat
from pipeline.secret import Secret
from tests.backends.wire import WireServer
from tests.channels.handlers import OK, writes


@pytest.mark.parametrize(
    ("url", "paths"),
    [
        ("/ping/5f2e", ["/ping/5f2e/start", "/ping/5f2e", "/ping/5f2e/3"]),
        ("/ping/5f2e/", ["/ping/5f2e/start", "/ping/5f2e/", "/ping/5f2e/3"]),
        ("/key/job?create=1", ["/key/job/start?create=1", "/key/job?create=1", "/key/job/3?create=1"]),
        ("", ["/start", "/", "/3"]),
    ],
)
async def test_each_moment_has_its_path(url: str, paths: list[str]) -> None:
    async with WireServer(writes(OK)).running() as wire:
        heartbeat = Heartbeat("heartbeat", Secret(f"http://127.0.0.1:{wire.port}{url}"))
        await heartbeat.started()
        for exit_code in (0, 3):
            await heartbeat.ended(exit_code)

    assert [request.split(b" ")[:2] for request in wire.requests] == [[b"GET", path.encode()] for path in paths]
