"""Power cuts on a loop-mounted ext4: whatever was not synced is gone, and nothing that was committed may be."""

from __future__ import annotations

import argparse
import random
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

from tests.faults.injectors import Disk, no_disks
from tests.faults.storms.interposer import Strike, missing, read_trace
from tests.faults.storms.scene import Broken, Scene, Server, end, expect, recorded, serving

RECORDS = 400
_KEYS = {"batch": {"max_items": 5}, "limits": {"concurrency": 8, "rpm": 1_000_000}}
_CALLS = 900
"""About as many calls as a whole run makes."""


@dataclass
class Tally:
    """What happened."""

    cuts: int = 0
    at_calls: int = 0
    """Of them, at a durability syscall."""
    outputs: int = 0
    lines: int = 0
    """Lines that were synced before a cut."""
    torn: int = 0
    """Cuts after which bytes were left that no ledger knew of."""
    broken: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        return (
            f"{self.cuts} cuts ({self.at_calls} at a durability syscall, the others at random) over {self.outputs} "
            f"outputs of {RECORDS} records: 0 of {self.lines} synced lines lost; {len(self.broken)} broken"
        )


class PowerFailures:
    """Cuts the power of a disk that runs are at work on.

    Args:
        disk: Not mounted.
        folder: On another disk.
        server: Where requests go.
        chance: When the power fails.
    """

    def __init__(self, disk: Disk, folder: Path, server: Server, chance: random.Random) -> None:
        self._disk, self._folder, self._server, self._chance = disk, folder, server, chance
        self.tally = Tally()

    def storm(self, cuts: int) -> None:
        """Cut so many times; every output is brought to its end, after at most five cuts."""
        while self.tally.cuts < cuts:
            try:
                self._output(min(self._chance.randrange(1, 6), cuts - self.tally.cuts))
            except Broken as broken:
                self.tally.broken.append(f"output {self.tally.outputs}: {broken}")
                print(f"BROKEN {self.tally.broken[-1]}", flush=True)
            self.tally.outputs += 1

    def _output(self, cuts: int) -> None:
        home = self._disk.files / f"output-{self.tally.outputs}"
        with self._disk.mounted():
            scene = Scene(home, self._server, RECORDS, dict(_KEYS), outside=self._folder)
            subprocess.run(["sync", "-f", str(home)], check=True)
        for _ in range(cuts):
            with self._disk.mounted():
                cut_at = self._cut(scene)
            with self._disk.mounted():
                self._check(scene, cut_at)
        with self._disk.mounted():
            scene.finish()
            scene.remove()

    def _cut(self, scene: Scene) -> float:
        """Run until the power fails; returns when that was, by the monotonic clock."""
        at = self._chance.randrange(1, _CALLS) if self._chance.random() < 0.5 else 0
        process = scene.start(strike=Strike(at, "cut"))
        if not at:
            self._wait(process)
            cut_at = self._power_off()
            process.kill()
        ended = end(process)
        faults = read_trace(scene.log).faults
        expect(ended.code in (0, -9, 74), f"exit {ended.code}: {ended.err}")
        self.tally.cuts += 1
        self.tally.at_calls += bool(faults)
        if not at:
            return cut_at
        return faults[0].time if faults else self._power_off()

    def _power_off(self) -> float:
        """A sync that returns after this point promises nothing, whatever it returns."""
        cut_at = time.monotonic()
        self._disk.cut()
        return cut_at

    def _wait(self, process: subprocess.Popen[bytes]) -> None:
        """Until a random moment after the first request."""
        before, until = self._server.size(), time.monotonic() + 30
        grown = self._chance.randrange(1, 60_000)
        while self._server.size() < before + grown and process.poll() is None and time.monotonic() < until:
            time.sleep(0.002)  # the server is another process: it can only be watched

    def _check(self, scene: Scene, cut_at: float) -> None:
        places = scene.places
        synced = read_trace(scene.log).size(places.partial, cut_at)
        path = places.partial if places.partial.exists() else places.output
        size = path.stat().st_size if path.exists() else 0
        expect(size >= synced, f"{synced} bytes of the output were synced, {size} are left")
        scene.look()
        self.tally.lines += len(scene.owned)
        self.tally.torn += recorded(places.ledger).inflight > 0


def storm(seed: int, cuts: int) -> Tally:
    """Cut the power so many times."""
    with (
        tempfile.TemporaryDirectory(prefix="power-") as folder,
        serving(Path(folder), "--latency", "0.03", "--jitter", "0.02") as server,
    ):
        failures = PowerFailures(Disk(Path(folder), megabytes=64), Path(folder), server, random.Random(seed))
        failures.storm(cuts)
        return failures.tally


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--cuts", type=int, default=200)
    chosen = parser.parse_args()
    reason = missing() or no_disks()
    if reason:
        print(f"skipped: {reason}")
        return 0
    began = time.monotonic()
    tally = storm(chosen.seed, chosen.cuts)
    print(f"{tally}; {time.monotonic() - began:.0f} s")
    return 1 if tally.broken else 0


if __name__ == "__main__":
    sys.exit(main())
