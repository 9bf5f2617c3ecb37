"""async-batch-llm with its SQLite store: python async_batch_llm_client.py URL INPUT."""

import json
import sys
from pathlib import Path

import uvloop
from async_batch_llm import (  # type: ignore[import-not-found]
    ArtifactIdentity,
    ProcessorConfig,
    ResumePolicy,
    SqliteArtifactStore,
    llm,
    process_stream,
)

IN_FLIGHT = 256


def read(path: str) -> list[tuple[str, str]]:
    with Path(path).open() as lines:
        return [(record["id"], record["prompt"]) for record in map(json.loads, lines)]


async def main(url: str, path: str) -> None:
    store_path = Path("async-batch-llm.sqlite")
    for old in store_path.parent.glob("async-batch-llm.sqlite*"):
        old.unlink()
    model = "simulator-text-1"
    strategy = llm(f"openai-compatible:{model}", base_url=url, api_key="none", max_connections=IN_FLIGHT)
    identity = ArtifactIdentity(
        provider="measured", model=model, prompt_version="1", parser_version="1", application_version="1"
    )
    store = SqliteArtifactStore(store_path, identity=identity)
    config = ProcessorConfig(concurrency=IN_FLIGHT, max_queue_size=1024, max_result_queue_size=1024)
    prompts = read(path)
    done = 0
    stream = process_stream(strategy, prompts, config=config, artifact_store=store, resume=ResumePolicy.REUSE_SUCCESSES)
    async for result in stream:
        if not result.success:
            raise SystemExit(str(result.error))
        done += 1
    if done != len(prompts):
        raise SystemExit("an answer is missing")


uvloop.run(main(*sys.argv[1:3]))
