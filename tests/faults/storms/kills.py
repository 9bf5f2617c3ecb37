"""kill -9 at random moments, with hundreds of requests in flight, and the same command again."""

from __future__ import annotations

import argparse
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

from tests.faults.storms.scene import Broken, Scene, Server, end, expect, recorded, serving

_PATIENCE = 60.0
_BATCH = 20


class Kills:
    """Kills runs of one output after another.

    Attributes:
        kills: Processes killed so far.
        outputs: Outputs finished so far.
        inflight: Attempts in flight at each kill.
    """

    def __init__(self, folder: Path, server: Server, seed: int, records: int, concurrency: int) -> None:
        self._folder, self._server = folder, server
        self._random = random.Random(seed)
        self._records, self._concurrency = records, concurrency
        self.kills = self.outputs = self.lines = self.stops = 0
        self.inflight: list[int] = []
        self.billed = self.recorded = 0

    def storm(self, cycles: int, seconds: float) -> None:
        """Kill `cycles` times, or for as many seconds; every output is brought to its end."""
        until = time.monotonic() + seconds
        while self.kills < cycles and time.monotonic() < until:
            scene = self._scene()
            while self.kills < cycles and time.monotonic() < until and self._cycle(scene):
                pass
            self._finish(scene)

    def _scene(self) -> Scene:
        keys = {
            "batch": {"max_items": _BATCH},
            "limits": {"concurrency": self._concurrency, "rpm": 100_000_000},
            "output": {"path": "out.jsonl", "keep": ["q"], "order": self._random.choice(["input", "done"])},
        }
        tight = self._random.random() < 0.2  # it runs into the budget on its way
        cap = self._records * (self._random.uniform(1.5e-6, 4.5e-6) if tight else 1e-3)
        return Scene(self._folder / f"output-{self.outputs}", self._server, self._records, keys, cap=cap)

    def _cycle(self, scene: Scene) -> bool:
        """Run and kill once; False where the run came to its end."""
        process = scene.start()
        self._wait(process)
        process.kill()
        ended = end(process)
        if ended.code == -9:
            self.kills += 1
            money = recorded(scene.places.ledger)
            self.inflight.append(money.inflight)
            scene.look()
            if self.kills % 50 == 0:
                print(f"{self.kills} kills, {self.outputs} outputs", file=sys.stderr, flush=True)
            return True
        expect(ended.code in (0, 4), f"exit {ended.code}: {ended.err}")
        scene.look()
        if ended.code == 4:
            self.stops += 1
            scene.cap *= 1.3
        return ended.code == 4

    def _wait(self, process: subprocess.Popen[bytes]) -> None:
        """Until a random moment: a fifth from the start of the process on, the others while requests are in flight."""
        kind = self._random.random()
        if kind < 0.2:
            time.sleep(self._random.uniform(0, 1.5))
            return
        full = self._concurrency * 3 // 4
        most = self._records // _BATCH
        self._await_requests(
            self._random.randrange(1, full) if kind < 0.4 else self._random.randrange(full, most), process
        )

    def _await_requests(self, requests: int, process: subprocess.Popen[bytes]) -> None:
        before, until = self._server.size(), time.monotonic() + _PATIENCE
        while self._server.count(before) < requests and process.poll() is None and time.monotonic() < until:
            time.sleep(0.01)  # the server is another process: it can only be watched

    def _finish(self, scene: Scene) -> None:
        scene.cap = max(scene.cap, recorded(scene.places.ledger).total / 1e9 + self._records * 1e-4)
        ended = scene.run()
        expect(ended.code == 0, f"exit {ended.code}: {ended.err}")
        scene.look()
        self._check(scene)
        self.outputs += 1
        self.lines += self._records
        self.billed += scene.billed
        self.recorded += recorded(scene.places.ledger).total
        scene.remove()

    def _check(self, scene: Scene) -> None:
        if scene.keys["output"]["order"] == "input":
            scene.check_set()
            return
        lines = sorted(scene.places.output.read_bytes().splitlines(keepends=True), key=_line_number)
        scene.places.output.write_bytes(b"".join(lines))
        scene.check_set()

    def figures(self) -> str:
        inflight = sorted(self.inflight) or [0]
        many = sum(count >= 200 for count in inflight)
        return (
            f"{self.kills} kills over {self.outputs} outputs of {self._records} records ({self.stops} stops at the "
            f"budget between); attempts in flight at a kill: median {median(inflight):.0f}, most {inflight[-1]}, "
            f"200 or more at {many}; 0 of {self.lines} lines lost, 0 twice, 0 on disk asked for again; "
            f"billed {self.billed} <= recorded {self.recorded} nano-USD"
        )


def _line_number(line: bytes) -> int:
    return int(line.split(b'"', 4)[3].split(b"-")[2])


def storm(seed: int, cycles: int, *, records: int = 8_000, concurrency: int = 280, seconds: float = 1e9) -> Kills:
    """Kill; see `Kills.storm`."""
    with (
        tempfile.TemporaryDirectory(prefix="kills-") as folder,
        serving(Path(folder), "--latency", "0.4", "--jitter", "0.2") as server,
    ):
        kills = Kills(Path(folder), server, seed, records, concurrency)
        kills.storm(cycles, seconds)
        return kills


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--cycles", type=int, default=1000, help="kills")
    parser.add_argument("--seconds", type=float, default=1e9, help="stop earlier, after so many seconds")
    parser.add_argument("--records", type=int, default=8_000, help="of one output")
    parser.add_argument("--concurrency", type=int, default=280, help="requests in flight at the most")
    chosen = parser.parse_args()
    began = time.monotonic()
    try:
        kills = storm(
            chosen.seed,
            chosen.cycles,
            records=chosen.records,
            concurrency=chosen.concurrency,
            seconds=chosen.seconds,
        )
    except Broken as broken:
        print(f"BROKEN: {broken}")
        return 1
    print(f"{kills.figures()}; {time.monotonic() - began:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
