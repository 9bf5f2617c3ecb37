"""The output of a killed run: cut at every byte of its last lines, and zeros, garbage and forged lines after it."""

from __future__ import annotations

import argparse
import random
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

from pipeline.errors import JobStopped
from tests.faults.storms.dead import Dead, State, killed
from tests.faults.storms.interposer import missing
from tests.faults.storms.scene import expect


@dataclass
class Tally:
    """What happened."""

    cuts: int = 0
    garbage: int = 0
    refused: int = 0
    """Ended with 5 or 2."""
    recovered: int = 0
    commands: int = 0
    """Finished by the real command."""
    broken: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        return (
            f"{self.cuts} truncations and {self.garbage} garbage tails: {self.recovered} recovered to the whole "
            f"lines before the damage, {self.refused} refused; {self.commands} of them run to the end by the command; "
            f"{len(self.broken)} broken"
        )


class Cutter:
    """Damages the tail of a dead run's output.

    Args:
        dead: What the run left.
        work: A folder.
        chance: Makes the garbage.
    """

    def __init__(self, dead: Dead, work: Path, chance: random.Random) -> None:
        self._dead, self._work, self._chance = dead, work, chance
        self.tally = Tally()

    def cut(self, most: int, every: int) -> None:
        """Cut at each of the last `most` bytes; each `every`-th goes to the real command."""
        size = len(self._dead.output)
        for count, end in enumerate(range(size - 1, max(0, size - 1 - most), -1)):
            self.tally.cuts += 1
            self._try(f"cut at {end} of {size}", self._dead.output[:end], command=count % every == every - 1)

    def spoil(self, trials: int, every: int) -> None:
        """Put garbage after the tail, which is cut somewhere first; each `every`-th goes to the real command."""
        size, offset = len(self._dead.output), self._dead.offset
        ends = [end for end in range(offset, size + 1) if self._dead.output[end - 1 : end] == b"\n"]
        for count in range(trials):
            self.tally.garbage += 1
            end = self._chance.choice([self._chance.choice(ends), self._chance.randrange(offset, size + 1)])
            name, garbage = self._garbage()
            self._try(f"{name} at {end}", self._dead.output[:end] + garbage, command=count % every == every - 1)

    def _garbage(self) -> tuple[str, bytes]:
        chance, dead = self._chance, self._dead
        line = chance.choice(dead.output.splitlines(keepends=True))
        name, attempt, number, cost = line.split(b'"', 4)[3].split(b"-")
        other = b"%d" % chance.randrange(1, 200)
        forged = b'{"attempt":"%s-%s-%s-%s"' % (name, attempt, other, cost) + line[line.index(b",") :]
        return chance.choice([
            ("zeros", bytes(chance.randrange(1, 8193))),
            ("noise", chance.randbytes(chance.randrange(1, 4097))),
            ("lines of noise", b"\n".join(chance.randbytes(30) for _ in range(20)) + b"\n"),
            ("JSON", b'{"attempt": "x"}\n[]\nnull\n{}\n'),
            ("a line again", line),
            ("a forged line", forged),
            ("another ledger's line", line.replace(name, b"zzzzzzzz")),
            ("a later attempt's line", line.replace(b"-%s-" % attempt, b"-%d-" % (int(attempt) + 1000), 1)),
            ("a part of a line", line[: chance.randrange(1, len(line))]),
            ("a line without its usage", b'{"attempt":"%s-%s-%s-%s"}\n' % (name, attempt, number, cost)),
        ])  # fmt: skip

    def _try(self, what: str, partial: bytes, *, command: bool) -> None:
        dead = self._dead.changed(partial=partial)
        try:
            state = dead.recover(self._work)
            self._judge(state, partial)
            if command:
                self.tally.commands += 1
                code = dead.run()
                expect((code == 0) == isinstance(state, State), f"exit {code}, but in process {state}")
        except Exception as error:  # noqa: BLE001 - whatever it is, it is the finding
            self.tally.broken.append(f"{what}: {type(error).__name__}: {error}")
            print(f"BROKEN {self.tally.broken[-1]}", flush=True)

    def _judge(self, state: State | JobStopped, partial: bytes) -> None:
        if isinstance(state, JobStopped):
            self.tally.refused += 1
            expect(state.exit_code in (2, 5), f"{state.exit_code}: {state}")
            return
        expect(len(partial) >= self._dead.offset, "an output that lost recorded lines was accepted")
        expect(state.size == self._whole(partial), f"accepted {state.size} bytes, {self._whole(partial)} are whole")
        expect(state.recorded >= self._dead.billed, f"billed {self._dead.billed}, recorded {state.recorded}")
        content = (self._work / "out.jsonl.partial").read_bytes()
        kept = b"".join(path.read_bytes() for path in (self._work / "out.jsonl.state").glob("torn*"))
        expect(content + kept == partial, "bytes are gone")
        self.tally.recovered += 1

    def _whole(self, partial: bytes) -> int:
        """Bytes up to the first line that the dead run did not write, or that is there already."""
        unseen = set(self._dead.output.splitlines(keepends=True))
        size = 0
        while (end := partial.find(b"\n", size) + 1) and partial[size:end] in unseen:
            unseen.discard(partial[size:end])
            size = end
        return size


def storm(seed: int, *, cuts: int, garbage: int, every: int) -> Tally:
    """Damage a killed run's output; every so many-th damage is also recovered by the real command."""
    with killed() as (dead, work):
        cutter = Cutter(dead, work, random.Random(seed))
        cutter.cut(cuts, every)
        cutter.spoil(garbage, every)
        return cutter.tally


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--cuts", type=int, default=3000, help="bytes from the end at which the output is cut")
    parser.add_argument("--garbage", type=int, default=500, help="garbage tails")
    parser.add_argument("--every", type=int, default=50, help="every so many-th is also run by the real command")
    chosen = parser.parse_args()
    if missing():
        print(f"skipped: {missing()}")
        return 0
    began = time.monotonic()
    tally = storm(chosen.seed, cuts=chosen.cuts, garbage=chosen.garbage, every=chosen.every)
    print(f"{tally}; {time.monotonic() - began:.0f} s")
    return 1 if tally.broken else 0


if __name__ == "__main__":
    sys.exit(main())
