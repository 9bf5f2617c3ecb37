"""The ledger of a dead run: bytes flipped, pages zeroed and exchanged, files truncated or gone."""

from __future__ import annotations

import argparse
import random
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from pipeline.errors import JobStopped
from tests.faults.storms.dead import Dead, State, killed, sending, stopped
from tests.faults.storms.interposer import missing
from tests.faults.storms.scene import expect

_PAGE = 4096


@dataclass
class Tally:
    """What happened, by kind of damage."""

    refused: Counter[str] = field(default_factory=Counter)
    """Ended with 5 or 2."""
    unharmed: Counter[str] = field(default_factory=Counter)
    """Recovered to what the undamaged ledger gives."""
    older: Counter[str] = field(default_factory=Counter)
    """Recovered to something else that is right: no line lost or twice, and what was billed is recorded."""
    commands: int = 0
    broken: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        counts = {"refused": self.refused, "without effect": self.unharmed, "an older state, yet right": self.older}
        total = sum(count.total() for count in counts.values()) + len(self.broken)
        parts = [f"{count.total()} {name} ({_listed(count)})" for name, count in counts.items() if count]
        return f"{total} damages: {'; '.join(parts)}; {self.commands} by the command; {len(self.broken)} broken"


def _listed(count: Counter[str]) -> str:
    return ", ".join(f"{number} {name}" for name, number in sorted(count.items()))


def _flip(content: bytearray, chance: random.Random) -> None:
    content[_place(content, chance)] ^= 1 << chance.randrange(8)


def _overwrite(content: bytearray, chance: random.Random) -> None:
    content[_place(content, chance)] = chance.randrange(256)


def _place(content: bytearray, chance: random.Random) -> int:
    """Anywhere, or, as often, where something is: most of a page is empty."""
    at = chance.randrange(len(content))
    while chance.random() < 0.5 and not content[at]:
        at = chance.randrange(len(content))
    return at


def _zero_page(content: bytearray, chance: random.Random) -> None:
    at = chance.randrange(0, len(content), _PAGE)
    content[at : at + _PAGE] = bytes(len(content[at : at + _PAGE]))


def _noise(content: bytearray, chance: random.Random) -> None:
    at, length = chance.randrange(len(content)), chance.randrange(1, 200)
    content[at : at + length] = chance.randbytes(len(content[at : at + length]))


def _exchange(content: bytearray, chance: random.Random) -> None:
    one, other = (chance.randrange(0, len(content), _PAGE) for _ in range(2))
    first, second = content[one : one + _PAGE], content[other : other + _PAGE]
    if len(first) == len(second):
        content[one : one + _PAGE], content[other : other + _PAGE] = second, first


def _truncate(content: bytearray, chance: random.Random) -> None:
    del content[chance.randrange(len(content)) :]


DAMAGES: dict[str, Callable[[bytearray, random.Random], None]] = {
    "bit flipped": _flip,
    "byte changed": _overwrite,
    "page zeroed": _zero_page,
    "noise": _noise,
    "pages exchanged": _exchange,
    "truncated": _truncate,
}


class Vandal:
    """Damages the ledger of a dead run.

    Args:
        dead: What the run left.
        work: A folder.
        chance: Where the damage is.
    """

    def __init__(self, dead: Dead, work: Path, chance: random.Random) -> None:
        self._dead, self._work, self._chance = dead, work, chance
        self.tally = Tally()
        whole = dead.recover(work)
        if isinstance(whole, JobStopped):
            raise whole
        self._whole = whole

    def storm(self, trials: int, every: int) -> None:
        """Damage as often; every so many-th damage is also given to the real command."""
        files = {"ledger": "out.jsonl.state/ledger.db", "wal": "out.jsonl.state/ledger.db-wal"}
        there = [key for key, name in files.items() if self._dead.files.get(name)]
        for count in range(trials):
            key, name = self._chance.choice(there), self._chance.choice(list(DAMAGES))
            content = bytearray(self._dead.files[files[key]])
            DAMAGES[name](content, self._chance)
            dead = self._dead.changed(**{key: bytes(content)})
            self._try(f"{key}: {name}", dead, command=count % every == every - 1)

    def _try(self, what: str, dead: Dead, *, command: bool) -> None:
        try:
            state = dead.recover(self._work)
            self._judge(what, state)
            if command:
                self.tally.commands += 1
                dead.run()
        except Exception as error:  # noqa: BLE001 - whatever it is, it is the finding
            self.tally.broken.append(f"{what}: {type(error).__name__}: {error}")
            print(f"BROKEN {self.tally.broken[-1]}", flush=True)

    def _judge(self, what: str, state: State | JobStopped) -> None:
        if isinstance(state, JobStopped):
            expect(state.exit_code in (2, 5), f"{state.exit_code}: {state}")
            self.tally.refused[what] += 1
        elif state == self._whole:
            self.tally.unharmed[what] += 1
        else:
            expect(state.recorded >= self._dead.billed, f"billed {self._dead.billed}, recorded {state.recorded}")
            self.tally.older[what] += 1


def storm(seed: int, *, trials: int, every: int, print_each: bool = False) -> list[Tally]:
    """Damage the ledger of killed runs (most of it in its WAL) and of a stopped one (none of it)."""
    tallies = []
    for made in (killed, sending, stopped):
        with made() as (dead, work):
            vandal = Vandal(dead, work, random.Random(seed))
            vandal.storm(trials, every)
            tallies.append(vandal.tally)
            if print_each:
                print(f"{made.__name__}: {vandal.tally}", flush=True)
    return tallies


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--trials", type=int, default=1000, help="damages of each of the three ledgers")
    parser.add_argument("--every", type=int, default=50, help="every so many-th is also given to the real command")
    chosen = parser.parse_args()
    if missing():
        print(f"skipped: {missing()}")
        return 0
    began = time.monotonic()
    tallies = storm(chosen.seed, trials=chosen.trials, every=chosen.every, print_each=True)
    broken = sum(len(tally.broken) for tally in tallies)
    print(f"{3 * chosen.trials} damages, {broken} broken; {time.monotonic() - began:.0f} s")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
