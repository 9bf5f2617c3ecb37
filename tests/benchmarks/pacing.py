"""How well the limits are filled and kept, by the record of a server that enforces them over one second.

`used` is the mean over the steady seconds of the tighter limit's use: from 2 s after the first answer to 2 s before the
last. `worst` is the most of a limit that any second saw, refused requests included. Seconds in which a limit changes,
or which of the two binds, are left out of both. Throughput cases compare with what the server could do at best.

    python -m tests.benchmarks.pacing --seconds 20
"""

from __future__ import annotations

import random
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from hashlib import sha256
from pathlib import Path
from time import monotonic
from typing import NamedTuple

import click
import orjson

from pipeline.simulator import Entry, read_record
from pipeline.types import Json
from tests.benchmarks.clients import environ, forget, pipeline_command
from tests.benchmarks.process import SERVER_CORE, measure, pinned
from tests.benchmarks.server import Server, build
from tests.benchmarks.workloads import Workload, write_config, write_input

SHARE_CLAIM = 0.40
USED_CLAIM, IDEAL_CLAIM, BEST_FIXED_CLAIM, LEARNT_REFUSALS = 0.98, 0.93, 0.95, 3
_WORDS = (
    "order",
    "parcel",
    "carrier",
    "Monday",
    "customer",
    "invoice",
    "return",
    "refund",
    "address",
    "label",
    "weight",
)
_EDGE = 2.0
_LAG = 0.1
"""Seconds within which the server takes note of its first request."""
_BURST = 0.5
"""Seconds within which what a full bucket holds is sent."""


_FULL_SECONDS = 60
"""What 500 in flight would take at the best; the first request of a run goes alone, which is half a second of it."""


class Limit(NamedTuple):
    """Requests and tokens a minute; 0 is none."""

    rpm: int
    tpm: int


class Case(NamedTuple):
    """One job against one limit."""

    name: str
    limit: Limit
    sizes: tuple[tuple[int, int], ...]
    """(fewest, most) words of a record, by phase of the job."""
    known: bool = True
    """Whether the config says the limit; else it is learnt from headers."""
    later: Limit | None = None
    """The limit that holds from the middle of the job on."""
    packed: int = 1


CASES = (
    Case("requests", Limit(6_000, 0), ((5, 20),)),
    Case("tokens", Limit(0, 300_000), ((100, 200),)),
    Case("tokens, packed 20", Limit(0, 300_000), ((5, 20),), packed=20),
    Case("both in turn", Limit(6_000, 300_000), ((5, 15), (150, 250), (5, 15), (150, 250))),
    Case("5 to 5,000 tokens mixed", Limit(6_000, 600_000), ((5, 4_000),)),
    Case("limit falls under way", Limit(6_000, 0), ((5, 20),), later=Limit(3_000, 0)),
    Case("limit learnt from headers", Limit(6_000, 300_000), ((5, 20),), known=False),
)
TWO_RUNS = (
    Case("two runs, requests", Limit(6_000, 0), ((5, 20), (5, 20))),
    Case("two runs, tokens", Limit(0, 300_000), ((20, 40), (100, 200))),
    Case("two runs, limit learnt", Limit(6_000, 0), ((5, 20), (5, 20)), known=False),
)
"""Two runs at once; here `sizes` are those of each run."""


@click.command(help=__doc__)
@click.option("--seconds", default=20, show_default=True, help="Length of each case.")
@click.option("--only", default="", help="Cases whose name holds this text.")
@click.option("--throughput/--no-throughput", default=True, help="The cases without a limit as well.")
def main(seconds: int, only: str, *, throughput: bool) -> None:
    with tempfile.TemporaryDirectory(prefix="benchmark-") as name:
        folder = Path(name)
        click.echo(f"{'limit':<28}{'records':>9}{'used':>8}{'refused':>9}{'worst second':>14}  goal")
        for case in CASES:
            if only in case.name:
                _pace(folder, case, seconds)
        for case in TWO_RUNS:
            if only in case.name:
                _pace_two(folder, case, seconds)
        if throughput:
            _throughput(folder, build(folder), seconds)


def _pace(folder: Path, case: Case, seconds: int) -> None:
    forget(folder)
    record = folder / "served.jsonl"
    record.unlink(missing_ok=True)
    records = _write_records(folder / "in.jsonl", case, seconds)
    later = [str(seconds / 2), str(case.later.rpm), str(case.later.tpm)] if case.later else []
    flags = [str(record), str(case.limit.rpm), str(case.limit.tpm), *later]
    command = pinned([sys.executable, "-m", "tests.benchmarks.limited_server", *flags], SERVER_CORE)
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environ(folder)) as server:
        try:
            url = server.stdout.readline().strip() if server.stdout else ""
            _write_config(folder, url, case)
            measure(pipeline_command("run", "run.yaml", "-q"), folder, environ(folder))
        finally:
            server.terminate()
    entries = list(read_record(record))
    refused = sum(entry.status == 429 for entry in entries)
    used, worst = _use(entries, case, seconds)
    allowed = 0 if case.known and case.later is None else LEARNT_REFUSALS
    reached = "reached" if used >= USED_CLAIM and refused <= allowed else "MISSED"
    click.echo(f"{case.name:<28}{records:>9,}{used:>8.1%}{refused:>9}{worst:>14.1%}  {USED_CLAIM:.0%}: {reached}")


def _write_config(folder: Path, url: str, case: Case) -> None:
    limits: Json = {"concurrency": 64}
    if case.known:
        limits |= {name: value for name, value in case.limit._asdict().items() if value}
    write_config(folder, url, Workload("embeddings", 0, packed=case.packed))
    config = orjson.loads((folder / "run.yaml").read_bytes())
    (folder / "run.yaml").write_bytes(orjson.dumps({**config, "limits": limits, "vectors": "base64"}))


def _write_records(path: Path, case: Case, seconds: float) -> int:
    """Write as many records as the limit lets through in `seconds`, phase by phase."""
    rng = random.Random(1)
    lines: list[bytes] = []
    for few, many in case.sizes:
        for words in _sizes(rng, few, many, case, seconds / len(case.sizes)):
            text = " ".join(rng.choices(_WORDS, k=words))
            lines.append(orjson.dumps({"id": f"row-{len(lines)}", "text": text}, option=orjson.OPT_APPEND_NEWLINE))
    path.write_bytes(b"".join(lines))
    return len(lines)


def _sizes(rng: random.Random, few: int, many: int, case: Case, seconds: float) -> Iterator[int]:
    taken = 0.0
    while taken < seconds:
        # Small and large are equally likely by order of magnitude.
        words = round(few * (many / few) ** rng.random())
        by_requests = 60 / case.limit.rpm / case.packed if case.limit.rpm else 0
        by_tokens = 60 * words / case.limit.tpm if case.limit.tpm else 0
        taken += max(by_requests, by_tokens)
        yield words


def _use(entries: list[Entry], case: Case, seconds: int) -> tuple[float, float]:
    """Return the mean use of the tighter limit in the steady seconds, and the worst second of either limit.

    Seconds in which a limit changes, or which of the two binds, count for neither: the bucket that did not bind is full
    then, and what it holds may go at once.
    """
    served = [entry for entry in entries if entry.status == 200]
    first, last = min(entry.time for entry in served), max(entry.time for entry in served)
    change = min(entry.time for entry in entries) + seconds / 2 if case.later is not None else float("inf")
    steady: list[float] = []
    worst = 0.0
    for at in range(int(last - first) + 1):
        start = first + at
        if start - _LAG < change < start + 1 or _turns(served, case, start):
            continue
        limit = case.later if case.later is not None and start >= change else case.limit
        used = _share([entry for entry in entries if start <= entry.time < start + 1], limit)
        worst = max(worst, used)
        if at >= _EDGE and start + 1 <= last - _EDGE:
            steady.append(used)
    return sum(steady) / max(1, len(steady)), worst


def _turns(served: list[Entry], case: Case, start: float) -> bool:
    """Whether a job of several phases goes from one limit to the other in this second, or just before it."""
    around = [entry for entry in served if start - _BURST <= entry.time < start + 1]
    binding = {
        _share([entry], Limit(case.limit.rpm, 0)) < _share([entry], Limit(0, case.limit.tpm)) for entry in around
    }
    return len(case.sizes) > 1 and len(binding) > 1


def _share(entries: list[Entry], limit: Limit) -> float:
    """Return how much of the tighter limit these take in a second."""
    requests = len(entries) * 60 / limit.rpm if limit.rpm else 0.0
    tokens = _tokens(entries) * 60 / limit.tpm if limit.tpm else 0.0
    return max(requests, tokens)


def _tokens(entries: Iterable[Entry]) -> int:
    return sum(entry.tokens.input for entry in entries if entry.status == 200)


def _pace_two(folder: Path, case: Case, seconds: int) -> None:
    """Start two runs at once on one limit, each with records for half of it."""
    record = folder / "served.jsonl"
    record.unlink(missing_ok=True)
    own = [case._replace(sizes=(size,)) for size in case.sizes]
    homes = [folder / "first", folder / "second"]
    flags = [str(record), str(case.limit.rpm), str(case.limit.tpm)]
    command = pinned([sys.executable, "-m", "tests.benchmarks.limited_server", *flags], SERVER_CORE)
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environ(folder)) as server:
        try:
            url = server.stdout.readline().strip() if server.stdout else ""
            texts = [_prepare(home, url, part, seconds / 2) for home, part in zip(homes, own, strict=True)]
            runs = [
                subprocess.Popen(pipeline_command("run", "run.yaml", "-q"), cwd=home, env=environ(folder))
                for home in homes
            ]
            codes = [run.wait() for run in runs]
        finally:
            server.terminate()
    entries = list(read_record(record))
    refused = sum(entry.status == 429 for entry in entries)
    used, worst = _use(entries, own[0], seconds)
    smaller = _smaller_share(entries, texts, case)
    good = used >= USED_CLAIM and smaller >= SHARE_CLAIM and refused <= (0 if case.known else LEARNT_REFUSALS)
    reached = "reached" if good and codes == [0, 0] else "MISSED"
    records = sum(len(text) for text in texts)
    click.echo(
        f"{case.name:<28}{records:>9,}{used:>8.1%}{refused:>9}{worst:>14.1%}  "
        f"{USED_CLAIM:.0%}, smaller share {smaller:.1%} of at least {SHARE_CLAIM:.0%}: {reached}"
    )


def _prepare(home: Path, url: str, case: Case, seconds: float) -> set[str]:
    """Write a run's files and return the digests of what it sends, by which the server's record names it."""
    shutil.rmtree(home, ignore_errors=True)
    home.mkdir()
    _write_records(home / "in.jsonl", case, seconds)
    _write_config(home, url, case)
    config = orjson.loads((home / "run.yaml").read_bytes())
    (home / "run.yaml").write_bytes(orjson.dumps({**config, "text": f"{home.name} {{{{ text }}}}"}))
    lines = (home / "in.jsonl").read_bytes().splitlines()
    return {sha256(f"{home.name} {orjson.loads(line)['text']}".encode()).hexdigest() for line in lines}


def _smaller_share(entries: list[Entry], texts: list[set[str]], case: Case) -> float:
    """Return the smaller run's part of what was served while both ran."""
    served = [entry for entry in entries if entry.status == 200]
    runs = [[entry for entry in served if entry.inputs[0] in text] for text in texts]
    begin, end = max(run[0].time for run in runs), min(run[-1].time for run in runs)
    parts = [_share([entry for entry in run if begin <= entry.time <= end], case.limit) for run in runs]
    return min(parts) / sum(parts)


def _throughput(folder: Path, program: Path, seconds: int) -> None:
    records = 1000 * _FULL_SECONDS
    write_input(folder / "in.jsonl", "chat", records)
    ideal = records / 1000.0
    wall = _wall(folder, program, 500, {"concurrency": 500}, service_ms=500)
    reached = "reached" if ideal / wall >= IDEAL_CLAIM else "MISSED"
    click.echo(
        f"500 ms, 500 in flight: {ideal / wall:.2f} of the ideal {records:,} records in {ideal:.1f} s: {reached}"
    )
    write_input(folder / "in.jsonl", "chat", 250 * seconds)
    fixed = {number: _wall(folder, program, number, {}, service_ms=50, slots=32) for number in (8, 16, 32, 64, 128)}
    best = min(fixed, key=lambda number: fixed[number])
    adaptive = _wall(folder, program, 256, {"rpm": None, "tpm": None}, service_ms=50, slots=32)
    reached = "reached" if fixed[best] / adaptive >= BEST_FIXED_CLAIM else "MISSED"
    walls = ", ".join(f"{number}: {wall:.1f} s" for number, wall in fixed.items())
    share = fixed[best] / adaptive
    click.echo(f"50 ms, 32 at once: adaptive {adaptive:.1f} s, {share:.2f} of the best fixed ({walls}): {reached}")


def _wall(folder: Path, program: Path, concurrency: int, limits: Json, **flags: float) -> float:
    """Return the seconds from the first request to the end of the run."""
    forget(folder)
    with Server(program, **flags) as server:
        write_config(folder, server.url, Workload("chat", 0), limits={**limits, "concurrency": concurrency})
        config = orjson.loads((folder / "run.yaml").read_bytes())
        config["limits"] = {name: value for name, value in config["limits"].items() if value is not None}
        (folder / "run.yaml").write_bytes(orjson.dumps(config))
        measure(pipeline_command("run", "run.yaml", "-q"), folder, environ(folder))
        return monotonic() - server.first_request()


if __name__ == "__main__":
    main()
