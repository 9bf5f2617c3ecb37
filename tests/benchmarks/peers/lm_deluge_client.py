"""lm-deluge: python lm_deluge_client.py URL INPUT. It has no checkpoint and writes nothing."""

import asyncio
import json
import os
import sys
from pathlib import Path

os.environ["BENCHMARK_KEY"] = "none"

import uvloop
from lm_deluge import LLMClient, SamplingParams  # type: ignore[import-not-found]
from lm_deluge.models import register_model  # type: ignore[import-not-found]


def main(url: str, path: str) -> None:
    register_model(id="measured", name="simulator-text-1", api_base=url, api_key_env_var="BENCHMARK_KEY")
    client = LLMClient(
        "measured",
        sampling_params=[SamplingParams(max_new_tokens=200)],
        max_requests_per_minute=10_000_000,
        max_tokens_per_minute=1_000_000_000,
        max_concurrent_requests=256,
        progress="manual",
    )
    with Path(path).open() as lines:
        prompts = [json.loads(line)["prompt"] for line in lines]

    async def run() -> None:
        answers = await client.process_prompts_async(prompts, show_progress=False)
        if not all(answer and answer.completion for answer in answers):
            raise SystemExit("an answer is missing")

    asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())
    asyncio.run(run())


main(*sys.argv[1:3])
