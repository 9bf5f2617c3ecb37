"""EIO and ENOSPC, once and for good, at every durability syscall of a small run."""

from __future__ import annotations

import argparse
import errno
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

from tests.acceptance.command import Ended
from tests.faults.storms.interposer import Fault, Strike, missing, read_trace
from tests.faults.storms.plots import PLOTS, Plot
from tests.faults.storms.scene import Broken, Scene, expect, serving

MOST_SECONDS = 2.0
"""From the fault to the end of the process."""
KINDS = {"EIO": errno.EIO, "ENOSPC": errno.ENOSPC}
_CONVENIENCES = ("status.json", "run.json", "history.json")
"""Files whose loss is a warning."""


@dataclass
class Tally:
    """What happened."""

    faults: int = 0
    stopped: int = 0
    """Runs that ended with 74."""
    borne: Counter[str] = field(default_factory=Counter)
    """Calls whose failure did not matter: the run ended with 0, with the exact set."""
    slowest: float = 0.0
    most_calls: int = 0
    """The most calls that a run still made after its first one failed."""
    broken: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        borne = ", ".join(f"{count} {name}" for name, count in self.borne.most_common())
        return (
            f"{self.faults} faults: {self.stopped} x exit 74, the slowest {self.slowest:.2f} s after the fault, at the "
            f"most {self.most_calls} more calls; {sum(self.borne.values())} without effect ({borne}); "
            f"{len(self.broken)} broken"
        )


class Spoiler:
    """Lets the calls of a plot's run fail.

    Args:
        plot: Prepared; it is copied for each fault.
    """

    def __init__(self, plot: Plot) -> None:
        self._plot = plot
        self.tally = Tally()

    def storm(self, points: Iterable[int]) -> None:
        """Fail each of the calls, until a run comes through untouched."""
        for point in points:
            for kind, error in KINDS.items():
                for on in (False, True):
                    try:
                        if not self._trial(Strike(point, str(error), on)):
                            return
                    except Broken as broken:
                        lasting = "for good" if on else "once"
                        where = f"{self._plot.scene.home.name}: call {point}, {kind} {lasting}"
                        self.tally.broken.append(f"{where}: {broken}")
                        print(f"BROKEN {self.tally.broken[-1]}", flush=True)

    def _trial(self, strike: Strike) -> bool:
        scene = self._plot.scene.copy("struck")
        ended = scene.run(*self._plot.flags, strike=strike)
        over = time.monotonic()
        faults = read_trace(scene.log).faults
        if not faults:
            return False
        self.tally.faults += 1
        self._judge(scene, ended, faults, over)
        scene.look()
        scene.finish(*self._plot.flags)
        return True

    def _judge(self, scene: Scene, ended: Ended, faults: list[Fault], over: float) -> None:
        fault = faults[0]
        struck = f"{fault.name} {fault.path.name}"
        if ended.code == 0:
            self.tally.borne[_class_of(struck)] += 1
            scene.check_set()
            return
        expect(ended.code == 74, f"{struck}: exit {ended.code}: {ended.err[-300:]}")
        took = over - fault.time
        expect(took <= MOST_SECONDS, f"{struck}: {took:.1f} s from the fault to the end")
        # SQLite may bear the first (it tries to open in another way): the one that it did not bear is named.
        named = any(_names(ended.err, each.path) for each in faults)
        expect(named, f"{struck}: the message does not name the file: {ended.err}")
        self.tally.stopped += 1
        self.tally.slowest = max(self.tally.slowest, took)
        self.tally.most_calls = max(self.tally.most_calls, len(faults) - 1)


def _class_of(struck: str) -> str:
    for name in _CONVENIENCES:
        if name in struck:
            return name
    return struck


def _names(message: str, path: Path) -> bool:
    """Whether a message names a file, or the file that it is a draft or a side file of, or its directory."""
    name = path.name.removesuffix(" (deleted)").removesuffix(".tmp").removesuffix(".new")
    for suffix in ("-wal", "-journal", "-shm", ".new"):
        name = name.removesuffix(suffix)
    return name in message or name.rpartition(".")[0] in message or path.parent.name in message


def storm(plot: str, *, every: int = 1, offset: int = 1, print_each: bool = False) -> Tally:
    """Fail every so many-th call of a plot's run, from the `offset`-th on, in four ways."""
    with tempfile.TemporaryDirectory(prefix="errors-") as folder, serving(Path(folder)) as server:
        spoiler = Spoiler(PLOTS[plot](Path(folder), server))
        spoiler.storm(count(offset, every))
        if print_each:
            print(f"{plot}: {spoiler.tally}", flush=True)
        return spoiler.tally


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=1, help="the first call that fails")
    parser.add_argument("--plots", nargs="+", choices=[*PLOTS], default=["first", "torn", "grown", "repaired"])
    parser.add_argument("--every", type=int, default=1, help="only every so many-th call")
    chosen = parser.parse_args()
    if missing():
        print(f"skipped: {missing()}")
        return 0
    began = time.monotonic()
    tallies = [storm(plot, every=chosen.every, offset=chosen.seed, print_each=True) for plot in chosen.plots]
    broken = sum(len(tally.broken) for tally in tallies)
    print(f"{sum(tally.faults for tally in tallies)} faults, {broken} broken; {time.monotonic() - began:.0f} s")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
