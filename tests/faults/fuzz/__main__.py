"""`python -m tests.faults.fuzz`: so many damaged lines, answers, ledgers and tails, from a seed, and their figures."""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from tests.faults.fuzz.files import FileFuzz
from tests.faults.fuzz.lines import LineFuzz, fuzz_templates
from tests.faults.fuzz.responses import ResponseFuzz


def main() -> int:
    """Return 1 where something was found; the traceback says what."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults.fuzz", description=__doc__)
    parser.add_argument("--lines", type=int, default=100_000, help="input lines, from the file to the request body")
    parser.add_argument("--templates", type=int, default=2_000)
    parser.add_argument("--responses", type=int, default=50_000, help="answers and refusals, each with headers")
    parser.add_argument("--ledgers", type=int, default=500, help="damaged ledgers of a dead run")
    parser.add_argument("--tails", type=int, default=500, help="damaged outputs of a dead run")
    parser.add_argument("--seed", type=int, default=1)
    chosen = parser.parse_args()
    chance = random.Random(chosen.seed)
    with tempfile.TemporaryDirectory() as folder:
        files = FileFuzz(Path(folder), chance)
        lines, responses = LineFuzz(Path(folder), chance), ResponseFuzz(chance)
        _step("lines", chosen.lines, lines.run, lines.outcomes)
        outcomes: Counter[str] = Counter()
        _step("templates", chosen.templates, lambda count: outcomes.update(fuzz_templates(count, chance)), outcomes)
        _step("responses", chosen.responses, responses.run, responses.outcomes)
        _step("tails", chosen.tails, files.tails, files.outcomes)
        _step("ledgers", chosen.ledgers, files.ledgers, files.outcomes)
    print(f"seed {chosen.seed}: no unhandled exception, nothing over 5 s, no answer at the wrong record")
    return 0


def _step(name: str, count: int, run: Callable[[int], object], outcomes: Counter[str]) -> None:
    began = time.monotonic()
    run(count)
    seconds = time.monotonic() - began
    print(f"{count:,} {name} in {seconds:.1f} s ({count / max(seconds, 1e-9):,.0f} a second)", flush=True)
    for outcome, times in outcomes.most_common(40):
        print(f"  {times:>10,}  {outcome}")
    outcomes.clear()


if __name__ == "__main__":
    sys.exit(main())
