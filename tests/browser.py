"""Headless Chromium, driven by its DevTools protocol: what a page asks for, says on its console, and looks like."""

from __future__ import annotations

import asyncio
import base64
import itertools
import os
import shutil
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, Literal

import aiohttp
import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="no chromium: apt-get install chromium")

_FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--hide-scrollbars",
    "--remote-debugging-port=0",
)
_PATIENCE = 30.0

_TEXTS = """
(() => {
  const found = [];
  const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walk.nextNode()) {
    const text = walk.currentNode.textContent.trim();
    const parent = walk.currentNode.parentElement;
    if (!text || !parent.checkVisibility() || /^(title|style|script)$/i.test(parent.tagName)) continue;
    const range = document.createRange();
    range.selectNodeContents(walk.currentNode);
    for (const box of range.getClientRects())
      if (box.width > 1 && box.height > 1) found.push([text.slice(0, 40), box.left, box.top, box.right, box.bottom]);
  }
  return found;
})()
"""


class Tab:
    """One page of a browser.

    Attributes:
        said: What the console said that is worse than a remark, and exceptions.
        asked: URLs that the page asked for.
    """

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self.said: list[str] = []
        self.asked: list[str] = []
        self._socket = socket
        self._numbers = itertools.count(1)
        self._waiting: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._loaded = asyncio.Event()
        self._reader = asyncio.create_task(self._read())

    async def begin(self) -> None:
        for domain in ("Page", "Runtime", "Log", "Network"):
            await self._call(f"{domain}.enable")

    async def look(self, width: int, scheme: Literal["light", "dark"], height: int = 900) -> None:
        """Be so wide, and prefer a colour scheme."""
        await self._call(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False
        )
        await self._call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])

    async def open(self, url: str) -> None:
        """Load a page to its end."""
        self._loaded.clear()
        await self._call("Page.navigate", url=url)
        await asyncio.wait_for(self._loaded.wait(), _PATIENCE)

    async def evaluate(self, script: str) -> Any:
        """Return what a script returns."""
        answer = await self._call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    async def until(self, script: str) -> None:
        """Wait for a script to return something true: the page is another process and can only be watched."""
        async with asyncio.timeout(_PATIENCE):
            while not await self.evaluate(script):
                await asyncio.sleep(0.05)

    async def no_scripts(self) -> None:
        await self._call("Emulation.setScriptExecutionDisabled", value=True)

    async def picture(self, path: Path) -> None:
        """Write the whole page as PNG."""
        shot = await self._call("Page.captureScreenshot", captureBeyondViewport=True, format="png")
        await asyncio.to_thread(path.write_bytes, base64.b64decode(shot["data"]))

    async def printed(self, path: Path) -> None:
        """Write the page as PDF."""
        made = await self._call("Page.printToPDF", printBackground=True, paperWidth=8.27, paperHeight=11.69)
        await asyncio.to_thread(path.write_bytes, base64.b64decode(made["data"]))

    async def overlaps(self) -> list[tuple[str, str]]:
        """Return the texts that lie over each other."""
        boxes = await self.evaluate(_TEXTS)
        return [
            (one[0], other[0])
            for one, other in itertools.combinations(boxes, 2)
            if min(one[3], other[3]) - max(one[1], other[1]) > 1.5 and min(one[4], other[4]) - max(one[2], other[2]) > 3
        ]

    async def width(self) -> int:
        """Return how wide the content is: more than the window where it must be scrolled sideways."""
        wide = await self.evaluate("document.documentElement.scrollWidth")
        return int(wide)

    async def close(self) -> None:
        self._reader.cancel()
        with suppress(asyncio.CancelledError):
            await self._reader
        await self._socket.close()

    async def _call(self, method: str, **parameters: object) -> dict[str, Any]:
        number = next(self._numbers)
        future = self._waiting[number] = asyncio.get_running_loop().create_future()
        await self._socket.send_json({"id": number, "method": method, "params": parameters})
        return await asyncio.wait_for(future, _PATIENCE)

    async def _read(self) -> None:
        async for message in self._socket:
            self._take(message.json())

    def _take(self, data: dict[str, Any]) -> None:
        parameters = data.get("params", {})
        match data.get("method"):
            case None:
                future = self._waiting.pop(data["id"])
                if "error" in data:
                    future.set_exception(RuntimeError(str(data["error"])))
                else:
                    future.set_result(data["result"])
            case "Page.loadEventFired":
                self._loaded.set()
            case "Network.requestWillBeSent":
                self.asked.append(parameters["request"]["url"])
            case "Runtime.exceptionThrown":
                self.said.append(str(parameters["exceptionDetails"]))
            case "Runtime.consoleAPICalled" if parameters["type"] in ("error", "warning", "assert"):
                self.said.append(str(parameters["args"]))
            case "Log.entryAdded" if parameters["entry"]["level"] in ("error", "warning"):
                self.said.append(str(parameters["entry"]["text"]))


@asynccontextmanager
async def browser() -> AsyncIterator[Tab]:
    """Start a browser with a profile of its own, and end it."""
    assert CHROMIUM is not None
    with tempfile.TemporaryDirectory(prefix="chromium-", ignore_cleanup_errors=True) as profile:
        process = await asyncio.create_subprocess_exec(
            CHROMIUM,
            *_FLAGS,
            f"--user-data-dir={profile}",
            "about:blank",
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
            env={**os.environ, "HOME": profile},
        )
        try:
            port = await asyncio.to_thread(_port, Path(profile) / "DevToolsActivePort")
            async with aiohttp.ClientSession() as session:
                async with session.get(f"http://127.0.0.1:{port}/json/list") as answer:
                    pages = [target for target in await answer.json() if target["type"] == "page"]
                tab = Tab(await session.ws_connect(pages[0]["webSocketDebuggerUrl"], max_msg_size=0))
                await tab.begin()
                yield tab
                await tab.close()
        finally:
            process.terminate()
            await process.wait()


def _port(path: Path) -> int:
    """Wait for the browser to say where it listens."""
    until = time.monotonic() + _PATIENCE
    while not (path.exists() and path.read_text()):
        assert time.monotonic() < until, "chromium did not start"
        time.sleep(0.02)
    return int(path.read_text().split()[0])
