"""The built-in server in a process of its own, whose limits may change under way.

    python -m tests.benchmarks.limited_server RECORD RPM TPM [SECONDS RPM TPM]

0 is no limit. Prints its base URL; SECONDS after the first request the second limits hold.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import uvloop

from pipeline.simulator import Options, Simulator


async def main(record: str, rpm: str, tpm: str, seconds: str = "0", *later: str) -> None:
    """Serve until the process is ended."""
    options = Options(rpm=int(rpm) or None, tpm=int(tpm) or None, record=Path(record), engine="hashing")
    async with Simulator(options) as simulator:
        sys.stdout.write(f"{simulator.url}\n")
        sys.stdout.flush()
        if later:
            while not simulator.record.entries():
                await asyncio.sleep(0.05)
            await asyncio.sleep(float(seconds))
            simulator.set_limits(rpm=int(later[0]) or None, tpm=int(later[1]) or None)
        await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(main(*sys.argv[1:]))
