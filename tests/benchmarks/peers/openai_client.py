"""The openai SDK with gather: python openai_client.py URL INPUT [PACKED]. It writes nothing."""

import asyncio
import json
import sys
from itertools import islice
from pathlib import Path

import uvloop
from openai import AsyncOpenAI

IN_FLIGHT = 256


def read(path: str) -> list[dict[str, str]]:
    with Path(path).open() as lines:
        return [json.loads(line) for line in lines]


async def main(url: str, path: str, packed: str = "0") -> None:
    client = AsyncOpenAI(base_url=url, api_key="none", max_retries=2)
    slots = asyncio.Semaphore(IN_FLIGHT)

    async def chat(prompt: str) -> bool:
        async with slots:
            answer = await client.chat.completions.create(
                model="simulator-text-1", messages=[{"role": "user", "content": prompt}], max_completion_tokens=200
            )
            return bool(answer.choices[0].message.content)

    async def embed(texts: list[str]) -> bool:
        async with slots:
            answer = await client.embeddings.create(model="simulator-hashing-256", input=texts)
            return len(answer.data) == len(texts)

    records = read(path)
    if packed == "0":
        todo = [chat(record["prompt"]) for record in records]
    else:
        rest = iter([record["text"] for record in records])
        todo = [embed(texts) for texts in iter(lambda: list(islice(rest, int(packed))), [])]
    if not all(await asyncio.gather(*todo)):
        raise SystemExit("an answer is missing")


uvloop.run(main(*sys.argv[1:4]))
