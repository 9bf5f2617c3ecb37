"""kill -9 at every durability syscall of a small run, and again during the recovery that follows."""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

from tests.faults.storms.interposer import Strike, missing, read_trace
from tests.faults.storms.plots import PLOTS, Plot
from tests.faults.storms.scene import Broken, Scene, expect, serving


@dataclass
class Tally:
    """What happened."""

    points: int = 0
    """Calls that a process was killed at."""
    again: int = 0
    """Of them, during the run after a kill."""
    runs: int = 0
    names: Counter[str] = field(default_factory=Counter)
    broken: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        kinds = ", ".join(f"{number} {name}" for name, number in self.names.most_common())
        kills = f"{self.points} kills ({self.again} in a recovery) at {kinds}"
        return f"{kills}; {self.runs} recoveries; {len(self.broken)} broken"


class Killer:
    """Kills the run of a plot at its calls.

    Args:
        plot: Prepared; it is copied for each kill.
        chance: Chooses the points of the second kills.
    """

    def __init__(self, plot: Plot, chance: random.Random) -> None:
        self._plot = plot
        self._chance = chance
        self.tally = Tally()

    def trace(self) -> list[tuple[str, Path]]:
        """The calls that an undisturbed run makes."""
        scene = self._plot.scene.copy("count")
        ended = scene.run(*self._plot.flags, strike=Strike(0))
        expect(ended.code == 0, f"exit {ended.code}: {ended.err}")
        return read_trace(scene.log).calls

    def storm(self, points: Iterable[int], second: Sequence[int] | None = None) -> None:
        """Kill at each of the points until a run comes through; then run on, killed once more where asked.

        Args:
            points: Numbers of calls.
            second: Numbers of the calls of the next run that it is killed at, one trial each; None draws one.
        """
        for point in points:
            for again in second or [self._chance.randrange(1, 100)]:
                try:
                    if not self._trial(point, again):
                        return
                except Broken as broken:
                    self.tally.broken.append(f"{self._plot.scene.home.name}: call {point}, then {again}: {broken}")
                    print(f"BROKEN {self.tally.broken[-1]}", flush=True)

    def sweep_second(self, point: int) -> None:
        """Kill at one point, and the run after it at each of its calls."""
        for again in range(1, 10_000):
            before = self.tally.again
            self.storm([point], [again])
            if self.tally.again == before:
                return

    def _trial(self, point: int, again: int) -> bool:
        scene = self._plot.scene.copy("struck")
        if not self._kill(scene, point):
            return False
        self.tally.again += self._kill(scene, again)
        scene.finish(*self._plot.flags)
        self.tally.runs += 1
        return True

    def _kill(self, scene: Scene, point: int) -> bool:
        ended = scene.run(*self._plot.flags, strike=Strike(point))
        if ended.code != -9:
            expect(ended.code == 0, f"exit {ended.code}: {ended.err}")
            scene.look()
            return False
        self.tally.points += 1
        self.tally.names[read_trace(scene.log).faults[0].name] += 1
        scene.look()
        return True


def storm(plot: str, seed: int, *, every: int = 1, deep: int = 0, print_each: bool = False) -> Tally:
    """Kill the run of a plot at every so many-th call, and at `deep` points the next run at all of its calls."""
    with tempfile.TemporaryDirectory(prefix="syscalls-") as folder, serving(Path(folder)) as server:
        killer = Killer(PLOTS[plot](Path(folder), server), random.Random(seed))
        calls = len(killer.trace())
        killer.storm(count(1 + seed % every, every))
        for point in random.Random(seed).sample(range(1, calls + 1), deep):
            killer.sweep_second(point)
        if print_each:
            print(f"{plot}: {calls} calls; {killer.tally}", flush=True)
        return killer.tally


def storm_commits(seed: int, commits: int) -> Tally:
    """Kill a run at the sync of each of its first commits after the first request was let out."""
    with tempfile.TemporaryDirectory(prefix="syscalls-") as folder, serving(Path(folder)) as server:
        killer = Killer(PLOTS["first"](Path(folder), server), random.Random(seed))
        trace = killer.trace()
        begun = next(number for number, (_, path) in enumerate(trace, 1) if path.suffix == ".partial")
        syncs = [
            number
            for number, (name, path) in enumerate(trace, 1)
            if name == "fdatasync" and path.name.endswith("-wal") and number > begun
        ]
        killer.storm(syncs[:commits])
        return killer.tally


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--plots", nargs="+", choices=[*PLOTS], default=[*PLOTS])
    parser.add_argument("--every", type=int, default=1, help="only every so many-th call")
    parser.add_argument("--deep", type=int, default=3, help="points after which the next run is killed too")
    chosen = parser.parse_args()
    if missing():
        print(f"skipped: {missing()}")
        return 0
    began = time.monotonic()
    tallies = [storm(plot, chosen.seed, every=chosen.every, deep=chosen.deep, print_each=True) for plot in chosen.plots]
    broken = sum(len(tally.broken) for tally in tallies)
    print(f"{sum(tally.points for tally in tallies)} kills, {broken} broken; {time.monotonic() - began:.0f} s")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
