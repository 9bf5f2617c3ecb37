"""What a dead run left, kept in memory, so that it can be damaged and recovered thousands of times in one process."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from pipeline.core.identity import line_identity
from pipeline.errors import JobStopped
from pipeline.storage.checkpoint import open_ledger, open_output
from pipeline.storage.ledger import Ledger
from pipeline.storage.state import Places, default_state
from tests.faults.storms.plots import kill_between
from tests.faults.storms.scene import Scene, expect, serving

SHARED_MEMORY = Path("/dev/shm")


class State(NamedTuple):
    """What a recovery arrived at."""

    lines: frozenset[int]
    """Input lines that count as answered."""
    recorded: int
    """Nano-USD spent, unknown and reserved."""
    size: int
    """Bytes of the output."""
    next_attempt: int


@dataclass
class Dead:
    """The files of a dead run, by their name in the folder of the output, and what is known of it.

    Attributes:
        scene: What it was, for runs of the real command.
        billed: Nano-USD, by the server's record.
        offset: Bytes of the output that the ledger knows of.
    """

    scene: Scene
    files: dict[str, bytes]
    billed: int
    offset: int
    fingerprint: str

    @property
    def output(self) -> bytes:
        return self.files["out.jsonl.partial"]

    def write(self, folder: Path) -> Places:
        """Write the files; what was there is removed."""
        output = folder / "out.jsonl"
        places = Places(output, default_state(output))
        shutil.rmtree(places.state, ignore_errors=True)
        places.state.mkdir(mode=0o700)
        for name in ("out.jsonl", "out.jsonl.partial", "out.jsonl.ordered", "out.jsonl.partial.tmp"):
            (folder / name).unlink(missing_ok=True)
        for name, content in self.files.items():
            (folder / name).write_bytes(content)
        return places

    def changed(self, **files: bytes) -> Dead:
        """The same with other contents of `partial`, `ledger` or `wal`."""
        names = {"partial": "out.jsonl.partial", "ledger": "out.jsonl.state/ledger.db"}
        names["wal"] = f"{names['ledger']}-wal"
        named = {names[key]: content for key, content in files.items()}
        return Dead(self.scene, self.files | named, self.billed, self.offset, self.fingerprint)

    def recover(self, folder: Path) -> State | JobStopped:
        """Recover as a run does before it sends; recovering once more must change nothing."""
        places = self.write(folder)
        first = _recover(places, self.fingerprint)
        if isinstance(first, State):
            second = _recover(places, self.fingerprint)
            expect(first == second, f"recovering twice: {first}, then {second}")
        return first

    def run(self) -> int:
        """Recover and finish with the real command; returns its exit code. Ending with 0, it must be right."""
        scene = self.scene.copy("struck")
        self.write(scene.home)
        scene.owned = set()
        ended = scene.run()
        expect(ended.code in (0, 2, 5), f"exit {ended.code}: {ended.err}")
        if ended.code == 0:
            scene.look()
            scene.check_set()
        return ended.code


def _recover(places: Places, fingerprint: str) -> State | JobStopped:
    ledger: Ledger | None = None
    try:
        ledger = open_ledger(places, fingerprint)
        checkpoint = open_output(ledger, places)
        checkpoint.log.close()
    except JobStopped as stopped:
        return stopped
    else:
        content = places.partial.read_bytes()
        identities = [line_identity(line) for line in content.splitlines(keepends=True)]
        lines = frozenset(identity.line for identity in identities if identity is not None)
        expect(len(lines) == len(identities), "the output holds lines that are not ours, or one twice")
        expect(all(line in ledger.done for line in lines) and ledger.ok == len(lines), "marks and lines differ")
        expect(ledger.out_off == len(content), "the ledger does not know the size of the output")
        ledger.check()
        budget = ledger.budget
        return State(lines, budget.spent + budget.unknown + budget.reserved, len(content), ledger.next_attempt)
    finally:
        if ledger is not None:
            ledger.close()


@contextmanager
def killed(records: int = 120, batch: int = 12, answers: int = 5) -> Iterator[tuple[Dead, Path]]:
    """A run that was killed when it had written the answers of a request that its ledger did not know of yet."""
    with _folder() as folder, serving(folder) as server:
        keys = {"batch": {"max_items": batch}, "limits": {"concurrency": 2, "rpm": 1_000_000}}
        scene = Scene(folder / "killed", server, records, keys)
        kill_between(scene, answers)
        yield _read(scene), _made(folder / "work")


@contextmanager
def sending(records: int = 120) -> Iterator[tuple[Dead, Path]]:
    """A run that was killed while requests were on the wire: only its ledger knows of them."""
    with _folder() as folder, serving(folder) as server:
        keys = {"batch": {"max_items": 12}, "limits": {"concurrency": 2, "rpm": 1_000_000}}
        scene = Scene(folder / "sending", server, records, keys)
        kill_between(scene, 5, written=False)
        yield _read(scene), _made(folder / "work")


@contextmanager
def stopped(records: int = 120) -> Iterator[tuple[Dead, Path]]:
    """A run that stopped at its budget: no WAL, everything is in the ledger's pages."""
    with _folder() as folder, serving(folder) as server:
        keys = {"batch": {"max_items": 12}, "limits": {"concurrency": 2, "rpm": 1_000_000}}
        scene = Scene(folder / "stopped", server, records, keys, cap=records * 1.5e-6)
        ended = scene.run()
        expect(ended.code == 4, f"exit {ended.code}: {ended.err}")
        scene.look()
        scene.cap = 1.0
        yield _read(scene), _made(folder / "work")


@contextmanager
def _folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="storm-", dir=SHARED_MEMORY if SHARED_MEMORY.is_dir() else None) as folder:
        yield Path(folder)


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder


def _read(scene: Scene) -> Dead:
    ledger_files = [scene.places.ledger, Path(f"{scene.places.ledger}-wal")]
    names = [scene.places.partial, *ledger_files, scene.places.ledger.with_name("witness")]
    files = {str(path.relative_to(scene.home)): path.read_bytes() for path in names if path.exists()}
    with tempfile.TemporaryDirectory() as folder:
        for path in ledger_files:
            if path.exists():
                shutil.copy(path, folder)
        ledger = Ledger.open(Path(folder) / "ledger.db")
        offset, fingerprint = ledger.out_off, str(ledger.meta["config"])
        ledger.close()
    return Dead(scene, files, scene.billed, offset, fingerprint)
