"""Negative controls: the product is broken on purpose in a copy of the tree, and a named test must fail each time."""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

from tests.faults.storms.scene import TREE

_PARTS = ("pipeline", "jobs", "configs", "tests", "pyproject.toml", "README.md")
_STORMS = "tests/faults/test_storms.py::"
_PASSED, _FAILED = 0, 1
"""Exit codes of pytest."""


class Control(NamedTuple):
    """One way to break the product."""

    name: str
    file: str
    old: str
    """Occurs exactly once in the file."""
    new: str
    test: str
    """Fails then, and passes otherwise."""


CONTROLS = (
    Control(
        "no fdatasync of the output",
        "pipeline/storage/results.py",
        "            os.fdatasync(self._descriptor)\n",
        "",
        f"{_STORMS}test_a_power_cut_loses_no_synced_line",
    ),
    Control(
        "no intent row",
        "pipeline/storage/ledger.py",
        "        if intents:\n            self._db.execute(",
        "        if not intents:\n            self._db.execute(",
        f"{_STORMS}test_random_kills_with_hundreds_in_flight_lose_nothing_and_buy_nothing_twice",
    ),
    Control(
        "sent before the intent is durable",
        "pipeline/storage/commit.py",
        "        await self._writer.submit(Reserve(number, lines, amount, model, time.time()))\n",
        "        self._writer.submit(Reserve(number, lines, amount, model, time.time()))\n",
        f"{_STORMS}test_nothing_is_sent_before_its_intent_is_durable",
    ),
    Control(
        "no tail cut",
        "pipeline/storage/results.py",
        "            if size == self.offset:\n                return 0\n",
        "            if size >= self.offset:\n                return 0\n",
        f"{_STORMS}test_a_damaged_tail_is_cut_at_the_damage_and_kept",
    ),
    Control(
        "the ledger before the output",
        "pipeline/storage/ledger.py",
        "            log.append(lines)\n            self.out_off, self.tail = log.offset, log.fingerprint\n",
        "            self.out_off += sum(map(len, lines))\n",
        f"{_STORMS}test_a_damaged_tail_is_cut_at_the_damage_and_kept",
    ),
    Control(
        "what was in flight at a kill is forgotten",
        "pipeline/storage/ledger.py",
        "            self._charge_unknown(row, counted=False, lines=set(row.lines) - set(found))\n",
        "            self.budget.release(row.reserve)\n",
        f"{_STORMS}test_random_kills_with_hundreds_in_flight_lose_nothing_and_buy_nothing_twice",
    ),
    Control(
        "no witness of commits",
        "pipeline/storage/ledger.py",
        "        self._witness.note(self.next_attempt)\n",
        "",
        f"{_STORMS}test_a_damaged_ledger_is_refused_or_the_damage_changes_nothing",
    ),
    Control(
        "no retry budget",
        "pipeline/core/backoff.py",
        "        if self._level >= 1:\n            self._level -= 1\n            return 0.0\n",
        "        if self._level >= 0:\n            return 0.0\n",
        "tests/core/test_backoff.py::test_an_empty_budget_still_allows_ten_in_ten_seconds_and_then_one_a_second",
    ),
    Control(
        "answers mapped by position",
        "pipeline/job.py",
        "        ordered[index] = entry\n",
        "        ordered[len(seen) - 1] = entry\n",
        "tests/faults/test_answer_faults.py::test_shuffled_answers_belong_to_their_index",
    ),
)


class Verdict(NamedTuple):
    """What became of a control."""

    caught: bool
    said: str


def check(control: Control) -> Verdict:
    """Run the control's test on a whole copy of the tree, and on the broken one."""
    with tempfile.TemporaryDirectory(prefix="control-") as folder:
        tree = Path(folder)
        for part in _PARTS:
            source = TREE / part
            copy = shutil.copytree if source.is_dir() else shutil.copy
            copy(source, tree / part)
        code, said = _run(tree, control.test)
        if code != _PASSED or "skipped" in said:
            return Verdict(False, f"the test does not pass on the whole tree: {said}")
        path = tree / control.file
        content = path.read_text()
        if content.count(control.old) != 1:
            return Verdict(False, f"{control.file} no longer holds what is to be broken")
        path.write_text(content.replace(control.old, control.new))
        code, said = _run(tree, control.test)
        return Verdict(code == _FAILED, said)


def _run(tree: Path, test: str) -> tuple[int, str]:
    """Return pytest's exit code, and the names of the tests that failed, or its last line."""
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", "--tb=short", test]
    ended = subprocess.run(
        command,
        cwd=tree,
        env={**os.environ, "PYTHONPATH": str(tree), "PYTHONDONTWRITEBYTECODE": "1"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    lines = ended.stdout.splitlines() or [ended.stderr]
    failed = [line.removeprefix("FAILED ") for line in lines if line.startswith("FAILED")]
    return ended.returncode, "; ".join(failed) or lines[-1]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="+", default=[], metavar="WORD", help="controls whose name holds one of these")
    parser.add_argument("--list", action="store_true", help="name the controls and their tests, and break nothing")
    chosen = parser.parse_args()
    began, missed = time.monotonic(), 0
    wanted = [each for each in CONTROLS if not chosen.only or any(word in each.name for word in chosen.only)]
    for control in wanted:
        if chosen.list:
            print(f"{control.name} -> {control.test}")
            continue
        verdict = check(control)
        missed += not verdict.caught
        print(f"{control.name} -> {'caught by' if verdict.caught else 'NOT CAUGHT:'} {verdict.said}", flush=True)
    print(f"{len(wanted)} controls, {missed} not caught; {time.monotonic() - began:.0f} s")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
