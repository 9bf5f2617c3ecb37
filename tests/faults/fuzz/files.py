"""Ledgers and output tails: what a damaged file is taken for. Recovered or refused, and nothing is lost in silence."""

from __future__ import annotations

import random
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from pipeline.core.identity import line_identity
from pipeline.errors import JobStopped
from pipeline.storage.entries import Bury
from pipeline.storage.ledger import Ledger
from pipeline.storage.state import Places
from tests.faults.fuzz.mutate import damaged, expect, no_hang
from tests.storage.outputs import answered, append, close_both, dead, intent, lost, open_both, places_in, result

_PAGE = 4096
_BILLED = 900
"""Nano-USD for the answers of `died`: five committed and four not."""


class FileFuzz:
    """Damages what a dead run left, recovers it, and judges what recovery took it for.

    Args:
        place: A folder to work in.
        chance: Makes the damage.

    Attributes:
        outcomes: What became of the damaged files.
    """

    def __init__(self, place: Path, chance: random.Random) -> None:
        self._chance = chance
        self._work = place / "work"
        self._dead = place / "dead"
        self._dead.mkdir()
        self._tail = died(self._dead)
        self.outcomes: Counter[str] = Counter()

    def tails(self, count: int) -> None:
        """Damage the part of the output that no transaction knows of: it is never refused, and what is cut is kept."""
        for _ in range(count):
            places = self._fresh()
            committed = places.partial.read_bytes()[: -len(self._tail)]
            tail = self._damaged_tail()
            places.partial.write_bytes(committed + tail)
            with no_hang():
                self._recover_tail(places, committed, tail)

    def ledgers(self, count: int) -> None:
        """Damage the ledger or its WAL: it is refused, or what it says agrees with the output."""
        for _ in range(count):
            places = self._fresh()
            path = self._chance.choice([path for path in places.state.iterdir() if path.name.startswith("ledger.db")])
            path.write_bytes(damaged_pages(path.read_bytes(), self._chance))
            with no_hang():
                self._recover_ledger(places)

    def _fresh(self) -> Places:
        shutil.rmtree(self._work, ignore_errors=True)
        shutil.copytree(self._dead, self._work)
        return places_in(self._work)

    def _damaged_tail(self) -> bytes:
        chance, tail = self._chance, self._tail
        lines = tail.splitlines(keepends=True)
        match chance.randrange(7):
            case 0:
                return tail[: chance.randrange(len(tail) + 1)]
            case 1:
                return tail + bytes(chance.randrange(1, 5_000))
            case 2:
                return tail[: chance.randrange(len(tail))] + chance.randbytes(chance.randrange(1, 3_000))
            case 3:
                return b"".join(chance.sample(lines, len(lines)))
            case 4:
                return b"".join(chance.choices(lines, k=6))
            case 5:
                return b"".join(lines[chance.randrange(4) :])
            case _:
                return damaged(tail, chance)

    def _recover_tail(self, places: Places, committed: bytes, tail: bytes) -> None:
        try:
            ledger, log, recovered = open_both(places)
        except JobStopped as error:
            # A line may by chance name an attempt that only a newer ledger can know.
            expect(error.exit_code == 5, error)
            expect(places.partial.read_bytes() == committed + tail, "what is refused is left alone")
            self.outcomes[f"tail: {error.code}"] += 1
            return
        kept = places.partial.read_bytes()
        torn = b"".join(path.read_bytes() for path in places.state.glob("torn-*"))
        assert kept + torn == committed + tail, "no byte is lost"
        assert len(torn) == recovered.torn
        agrees(ledger, places)
        if kept[len(committed) :] in _prefixes(self._tail):
            assert ledger.budget.spent + ledger.budget.unknown >= _BILLED, "recorded is never below what was billed"
        before = _state(ledger)
        close_both(ledger, log)
        ledger, log, again = open_both(places)
        assert (again.lines, again.torn, again.unknown, _state(ledger)) == (0, 0, 0, before), "recovery is idempotent"
        close_both(ledger, log)
        self.outcomes["tail: recovered whole" if not torn else "tail: cut"] += 1

    def _recover_ledger(self, places: Places) -> None:
        content = places.partial.read_bytes()
        try:
            ledger, log, _ = open_both(places)
        except JobStopped as error:
            expect(error.exit_code in (2, 5), error)
            expect(places.partial.read_bytes() == content, "what is refused is left alone")
            self.outcomes[f"ledger: refused with {error.exit_code}"] += 1
            return
        agrees(ledger, places)
        spent = ledger.budget.spent + ledger.budget.unknown
        close_both(ledger, log)
        self.outcomes["ledger: accepted" if spent >= _BILLED else "ledger: accepted, spend too low"] += 1


def died(directory: Path) -> bytes:
    """Leave what a killed run leaves, and return the tail: answers that were written, and not committed."""
    places = places_in(directory)
    ledger, log, _ = open_both(places)
    ledger.commit(
        [], [intent(n, lines) for n, lines in enumerate(([1, 2], [3], [4, 5], [6, 7], [8], [9], [10, 11]), 1)], log
    )
    ledger.commit([answered(ledger, 1, [1, 2]), answered(ledger, 2, [3])], [], log)
    ledger.commit([answered(ledger, 3, [4, 5]), lost(7), Bury([dead(12)])], [], log)
    tail = b"".join(result(ledger, n, line).content for n, line in ((4, 6), (4, 7), (5, 8), (6, 9)))
    held = {path: path.read_bytes() for path in places.state.iterdir()}
    close_both(ledger, log)
    for path, content in held.items():
        path.write_bytes(content)  # with its WAL, as only death leaves it
    append(places.partial, tail)
    return tail


def agrees(ledger: Ledger, places: Places) -> None:
    """What the ledger says is done, and nothing else, stands in the output, once."""
    ledger.check()
    content = places.partial.read_bytes()
    assert content.endswith(b"\n") or not content
    identities = [line_identity(line) for line in content.splitlines()]
    lines = [identity.line for identity in identities if identity is not None]
    assert len(lines) == len(identities) == len(set(lines))
    letters = {letter.line for letter in ledger.dead_letters()}
    assert {line for line in range(1, 200) if line in ledger.done} == set(lines) | letters
    assert ledger.out_off == len(content)
    assert not ledger.inflight


def damaged_pages(content: bytes, chance: random.Random) -> bytes:
    """Return a file after a flipped bit, an overwritten stretch, a zeroed, doubled or missing page, or a cut."""
    data = bytearray(content)
    at = chance.randrange(len(data)) if data else 0
    page = at // _PAGE * _PAGE
    other = (chance.randrange(len(data)) if data else 0) // _PAGE * _PAGE
    kinds: list[Callable[[], object]] = [
        lambda: data.__setitem__(slice(at, at + 1), bytes([data[at] ^ 1 << chance.randrange(8)])),
        lambda: data.__setitem__(slice(at, at + 8), chance.randbytes(8)),
        lambda: data.__setitem__(slice(page, page + _PAGE), bytes(_PAGE)),
        lambda: data.__setitem__(slice(page, page + _PAGE), data[other : other + _PAGE]),
        lambda: data.__delitem__(slice(page, page + _PAGE)),
        lambda: data.__delitem__(slice(at, None)),
        lambda: data.extend(chance.randbytes(chance.randrange(1, _PAGE))),
    ]
    if data:
        chance.choice(kinds)()
    return bytes(data)


def _prefixes(tail: bytes) -> set[bytes]:
    lines = tail.splitlines(keepends=True)
    return {b"".join(lines[:count]) for count in range(len(lines) + 1)}


def _state(ledger: Ledger) -> object:
    return ledger.budget.spent, ledger.budget.unknown, ledger.ok, ledger.failed, ledger.out_off
