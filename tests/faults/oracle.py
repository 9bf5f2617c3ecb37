"""The outside judge: what must hold after every fault, by the server's own record and by the files alone.

L no input lost · D no input twice · C billed <= recorded <= cap · K the canary key nowhere · P files are private
"""

from __future__ import annotations

import stat
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from pipeline.types import Json
from tests.acceptance.command import Ended, pipeline, read_lines
from tests.judge import Judge

CANARY = "sk-canary-3f9a1c7e5b2d4860"
"""The key that every fault test runs with: it must be found in no file, stream or command line."""


def finish(config: Path, home: Path, judge: Judge, *flags: str) -> Ended:
    """Run the config again, without any fault, to its end."""
    extra = {**judge.environment, "CANARY_KEY": CANARY}
    return pipeline("run", str(config), "--json", *flags, home=home, extra=extra)


def check_money(summary: dict[str, Json], judge: Judge) -> None:
    """C: what the server billed is recorded, and what is recorded is within the cap."""
    money = summary["money"]
    recorded = money["spent_nusd"] + money["unknown_nusd"] + money["reserved_nusd"]
    assert judge.billed() <= recorded, f"billed {judge.billed()}, recorded {recorded}"
    assert money["cap_nusd"] is None or recorded <= money["cap_nusd"], f"recorded {recorded} of {money['cap_nusd']}"


def check_outcomes(home: Path, lines: Sequence[int], output: str = "out.jsonl") -> None:
    """L and D: every input line has exactly one result or dead letter."""
    results = [int(line["attempt"].split("-")[2]) for line in read_lines(home / output)]
    errors = home / f"{output}.errors.jsonl"
    dead = [letter["line"] for letter in read_lines(errors)] if errors.exists() else []
    counts = Counter(results + dead)
    lost, doubled = sorted(set(lines) - set(counts)), sorted(line for line, count in counts.items() if count > 1)
    assert not lost, f"lost: {lost[:10]}"
    assert not doubled, f"twice: {doubled[:10]}"
    assert set(counts) == set(lines)


def check_files(home: Path, output: str = "out.jsonl") -> None:
    """P: everything that a run wrote is for its owner only."""
    state = home / f"{output}.state"
    written = [home / output, home / f"{output}.partial", home / f"{output}.errors.jsonl", *state.rglob("*")]
    loose = [path for path in written if path.exists() and stat.S_IMODE(path.stat().st_mode) & 0o077]
    assert not loose, f"readable by others: {loose}"


def check_canary(home: Path, *streams: str) -> None:
    """K: the key is in no file below `home` (but a file that the test itself put it into) and in no stream."""
    assert not [stream[:200] for stream in streams if CANARY in stream]
    keeping = [path for path in home.rglob("*") if path.is_file() and path.name != ".env" and _holds(path)]
    assert not keeping, f"the key is in {keeping}"


def _holds(path: Path) -> bool:
    return CANARY.encode() in path.read_bytes()


def check_all(home: Path, judge: Judge, ended: Ended, lines: Sequence[int]) -> None:
    """After the last run of a fault test: exit 0 or 3, and everything above."""
    assert ended.code in (0, 3), ended.err
    check_outcomes(home, lines)
    check_money(ended.summary, judge)
    check_files(home)
    check_canary(home, ended.out, ended.err)
