"""The bare loop that all is compared with: aiohttp, uvloop, orjson; answers are parsed, nothing is written.

python raw_loop.py URL INPUT chat|embeddings|embeddings-base64 IN_FLIGHT PACKED
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import aiohttp
import orjson
import uvloop


def bodies(path: str, kind: str, packed: int) -> Iterator[bytes]:
    """Yield the request bodies."""
    with Path(path).open("rb") as lines:
        if kind == "chat":
            for line in lines:
                prompt = orjson.loads(line)["prompt"]
                messages = [{"role": "user", "content": prompt}]
                yield orjson.dumps({"model": "simulator-text-1", "messages": messages, "max_completion_tokens": 200})
            return
        encoding = "base64" if kind == "embeddings-base64" else "float"
        while some := list(islice(lines, packed)):
            texts = [orjson.loads(line)["text"] for line in some]
            yield orjson.dumps({"model": "simulator-hashing-256", "input": texts, "encoding_format": encoding})


async def main(url: str, path: str, kind: str, in_flight: int, packed: int) -> None:
    """Send all of the input with as many workers as may be in flight."""
    todo = bodies(path, kind, packed)
    url += "/chat/completions" if kind == "chat" else "/embeddings"
    headers = {"Content-Type": "application/json", "Authorization": "Bearer none"}
    connector = aiohttp.TCPConnector(limit=in_flight)
    jar = aiohttp.DummyCookieJar()
    async with aiohttp.ClientSession(connector=connector, headers=headers, cookie_jar=jar) as session:

        async def work() -> None:
            for body in todo:
                async with session.post(url, data=body) as response:
                    answer = orjson.loads(await response.read())
                    if "choices" not in answer and "data" not in answer:
                        raise SystemExit("no answer")

        await asyncio.gather(*[work() for _ in range(in_flight)])


if __name__ == "__main__":
    uvloop.run(main(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4]), int(sys.argv[5])))
