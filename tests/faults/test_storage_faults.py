"""Rows 17-42: the disk fails, or somebody else touched the files. At full scale: `python -m tests.faults.storms`."""

from __future__ import annotations

import os
import random
import resource
import shutil
import signal
import sqlite3
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

import pytest

from pipeline.errors import StateMismatch, UsageError
from pipeline.storage.checkpoint import open_ledger, open_output
from pipeline.storage.filesystem import NETWORK, refuse_network, type_of
from pipeline.storage.ledger import Ledger
from pipeline.storage.ledger_file import VERSION
from tests.acceptance.command import pipeline, write_records
from tests.faults.case import Case, case, case_at, end, kill, wait_until
from tests.faults.injectors import (
    Disk,
    limited,
    no_disks,
    no_mounts,
    no_strace,
    remount,
    skip_if,
    tmpfs,
    traced,
)
from tests.judge import Judge
from tests.storage.outputs import answered, append, close_both, intent, open_both, places_in, result

Judges = Callable[..., Judge]

CUTS = int(os.environ.get("PIPELINE_TEST_CUTS", "3"))
FLIPS = int(os.environ.get("PIPELINE_TEST_FLIPS", "300"))


@pytest.fixture
def quick_path(tmp_path: Path) -> Iterator[Path]:
    """A folder in memory, where there is one: for what needs hundreds of ledgers, and no disk."""
    memory = Path("/dev/shm")
    if not memory.is_dir():
        yield tmp_path
        return
    with tempfile.TemporaryDirectory(dir=memory) as place:
        yield Path(place)


@pytest.mark.row(17)
def test_power_cuts_lose_no_committed_line(judge: Judges, tmp_path: Path) -> None:
    skip_if(no_disks())
    server = judge("--engine", "hashing", "--latency", "0.05")
    disk = Disk(tmp_path)
    chance = random.Random(17)
    with disk.mounted():
        job = case_at(disk.files, server, 70 * CUTS)
        subprocess.run(["sync", "-f", str(job.config)], check=True)
    for _ in range(CUTS):
        with disk.mounted():
            process = job.start()
            job.strike_after(job.sent + chance.randint(2, 8), process)
            disk.cut()
            assert kill(process).code in (-signal.SIGKILL, 74)
    with disk.mounted():
        ended = job.finish()

    assert ended.summary["money"]["unknown_nusd"] > 0


# The call that fails, and which file it fails on.
ERRORS = {
    "the output is written": ("write:error={}:when=1", "out.jsonl.partial"),
    "the output is synced": ("fdatasync:error={}:when=2", "out.jsonl.partial"),
    "the output is made": ("openat:error={}:when=1", "out.jsonl.partial"),
    "the ledger is written": ("pwrite64:error={}:when=9", "out.jsonl.state/ledger.db-wal"),
    "the ledger is synced": ("fdatasync:error={}:when=2", "out.jsonl.state/ledger.db-wal"),
    "the output gets its name": ("renameat2:error={}:when=1", "out.jsonl"),
}


@pytest.mark.row(18)
@pytest.mark.parametrize(("injection", "name"), ERRORS.values(), ids=ERRORS.keys())
def test_an_io_error_is_exit_74_and_names_the_file(judge: Judges, tmp_path: Path, injection: str, name: str) -> None:
    skip_if(no_strace())
    job = case(judge, tmp_path, records=40)
    failed = job.run(under=traced(injection.format("EIO"), paths=[job.home / name]))

    assert failed.code == 74, failed.err
    assert str(job.home / name.removesuffix("-wal")) in failed.err
    assert "error" in failed.err
    assert "Traceback" not in failed.err
    job.finish()


@pytest.mark.row(19)
@pytest.mark.parametrize("name", ["out.jsonl.partial", "out.jsonl.state/ledger.db-wal"])
def test_a_disk_that_fails_for_good_ends_the_run_without_a_busy_loop(judge: Judges, tmp_path: Path, name: str) -> None:
    skip_if(no_strace())
    job = case(judge, tmp_path, records=40)
    before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
    calls = [f"{call}:error=EIO:when=2+" for call in ("write", "pwrite64", "fdatasync", "fsync")]
    failed = job.run(under=traced(*calls, paths=[job.home / name]), seconds=20)

    assert failed.code == 74
    assert resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - before < 10
    job.finish()


@pytest.mark.row(20)
def test_a_full_disk_is_exit_74_and_goes_on_once_there_is_room(judge: Judges, tmp_path: Path) -> None:
    skip_if(no_mounts())
    job = case(judge, tmp_path, output={"path": str(tmp_path / "home" / "disk" / "out.jsonl"), "keep": ["text"]})
    with tmpfs(job.home / "disk", "size=160k") as disk:
        full = job.run()
        owned, sent = job.on_disk, job.sent
        remount(disk, "size=20m")
        ended = job.finish()

    assert full.code == 74
    assert "No space left" in full.err or "disk is full" in full.err
    assert sent < len(job.texts) // 5, "it stopped sending"
    assert owned
    assert job.asked(owned) == len(owned)
    assert ended.code == 0


@pytest.mark.row(20)
@pytest.mark.parametrize("what", ["the output is written", "the ledger is written"])
def test_a_disk_that_is_full_for_a_moment_stops_the_run_too(judge: Judges, tmp_path: Path, what: str) -> None:
    skip_if(no_strace())
    injection, name = ERRORS[what]
    job = case(judge, tmp_path, records=40)
    failed = job.run(under=traced(injection.format("ENOSPC"), paths=[job.home / name]))

    assert failed.code == 74
    assert "No space left" in failed.err or "disk is full" in failed.err
    job.finish()


@pytest.mark.row(21)
def test_a_failed_sync_is_never_tried_again(judge: Judges, tmp_path: Path) -> None:
    skip_if(no_strace())
    job = case(judge, tmp_path)
    log = tmp_path / "calls.log"
    failing = traced("fdatasync:error=EIO:when=2", calls="write,fsync", paths=[job.places.partial], log=log)
    failed = job.run(under=failing)
    wait_until(lambda: "INJECTED" in log.read_text())
    _, _, after = log.read_text().partition("INJECTED")

    assert failed.code == 74
    assert [line for line in after.splitlines() if "sync(" in line or "write(" in line] == []
    job.finish()


@pytest.mark.row(22)
def test_a_limit_on_file_sizes_is_exit_74(judge: Judges, tmp_path: Path) -> None:
    if shutil.which("prlimit") is None:
        pytest.skip("prlimit is not installed")
    job = case(judge, tmp_path, records=150, batch={"max_items": 50})
    failed = job.run(under=limited(fsize=100_000))

    assert failed.code == 74
    assert "File too large" in failed.err
    assert job.places.partial.stat().st_size == 100_000, "the short write is still there"
    job.finish()


@pytest.mark.row(23)
def test_short_writes_are_completed(judge: Judges, tmp_path: Path) -> None:
    job = case(judge, tmp_path, records=20)
    short = "import os\nwrite = os.write\nos.write = lambda descriptor, data: write(descriptor, data[:1000])"

    assert job.run(code=short).code == 0
    job.finish()


@pytest.mark.row(23)
def test_a_system_that_lies_about_what_it_wrote_is_found_out(judge: Judges, tmp_path: Path) -> None:
    skip_if(no_strace())
    job = case(judge, tmp_path, records=40)
    failed = job.run(under=traced("write:retval=100:when=2", paths=[job.places.partial]))

    assert failed.code in (5, 74)
    assert "was changed by somebody else" in failed.err
    job.finish()


@pytest.mark.row(24)
def test_without_inodes_nothing_is_sent(judge: Judges, tmp_path: Path) -> None:
    skip_if(no_mounts())
    job = case(judge, tmp_path, output={"path": str(tmp_path / "home" / "disk" / "out.jsonl"), "keep": ["text"]})
    codes = []
    for inodes in (2, 3, 5):
        with tmpfs(job.home / "disk", f"nr_inodes={inodes}"):
            codes.append(job.run().code)
    sent = job.sent
    with tmpfs(job.home / "disk", "nr_inodes=6") as disk:
        codes.append(job.run().code)
        remount(disk, "nr_inodes=100")
        job.finish()

    assert codes == [74] * 4
    assert sent == 0


def obeying() -> list[str]:
    """The words before a command that let root obey permissions."""
    if os.geteuid() != 0:
        return []
    if shutil.which("setpriv") is None:
        pytest.skip("setpriv, which lets root obey permissions, is not installed")
    return ["setpriv", "--bounding-set=-dac_override,-dac_read_search,-fowner"]


@pytest.mark.row(25)
@pytest.mark.parametrize("state", [[], ["--state", "elsewhere"]], ids=["state beside the output", "state elsewhere"])
def test_an_output_folder_that_cannot_be_written_is_refused(judge: Judges, tmp_path: Path, state: list[str]) -> None:
    job = case(judge, tmp_path)
    closed = job.home / "closed"
    closed.mkdir(mode=0o500)
    refused = job.run("-o", "closed/out.jsonl", *state, under=obeying())

    assert (refused.code, job.sent) == (2, 0), refused.err
    assert "closed" in refused.err
    assert list(closed.iterdir()) == []


@pytest.mark.row(25)
@pytest.mark.parametrize("state", [[], ["--state", "elsewhere"]], ids=["state beside the output", "state elsewhere"])
def test_a_read_only_disk_is_refused(judge: Judges, tmp_path: Path, state: list[str]) -> None:
    skip_if(no_mounts())
    job = case(judge, tmp_path)
    with tmpfs(job.home / "disk", "size=1m") as disk:
        remount(disk, "ro")
        refused = job.run("-o", "disk/out.jsonl", *state)

    assert (refused.code, job.sent) == (2, 0), refused.err
    assert "Read-only" in refused.err


@pytest.mark.row(25)
def test_a_state_folder_of_somebody_else_is_refused(judge: Judges, tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can give a folder away")
    job = case(judge, tmp_path)
    job.places.state.mkdir()
    os.chown(job.places.state, 65534, 65534)
    refused = job.run()

    assert (refused.code, job.sent) == (2, 0)
    assert "belongs to you" in refused.err
    assert list(job.places.state.iterdir()) == []


@pytest.mark.row(25)
def test_a_missing_output_folder_is_made(judge: Judges, tmp_path: Path) -> None:
    job = case(judge, tmp_path, output={"path": str(tmp_path / "home" / "new" / "er" / "out.jsonl"), "keep": ["text"]})

    job.finish()


@pytest.mark.row(26)
def test_a_tail_torn_at_any_byte_is_kept_and_every_whole_line_of_it_counts(quick_path: Path) -> None:
    original = quick_path / "original"
    original.mkdir()
    places = places_in(original)
    ledger, log, _ = open_both(places)
    ledger.commit([], [intent(1, [1]), intent(2, [2, 3, 4])], log)
    ledger.commit([answered(ledger, 1, [1])], [], log)
    tail = b"".join(result(ledger, 2, line).content for line in (2, 3, 4))
    committed = log.offset
    close_both(ledger, log)
    append(places.partial, tail)
    copy = quick_path / "copy"
    for kept in range(len(tail) + 1):
        shutil.copytree(original, copy)
        os.truncate(copy / "out.jsonl.partial", committed + kept)
        whole = tail[:kept].count(b"\n")
        ledger, log, recovered = open_both(places_in(copy))
        ledger.check()
        torn = b"".join(path.read_bytes() for path in (copy / "out.jsonl.state").glob("torn-*"))

        assert (recovered.lines, ledger.ok) == (whole, 1 + whole)
        assert (copy / "out.jsonl.partial").read_bytes()[committed:] + torn == tail[:kept]
        assert torn.count(b"\n") == 0
        close_both(ledger, log)
        shutil.rmtree(copy)


@pytest.mark.row(27)
def test_zeros_and_garbage_behind_the_committed_bytes_are_kept_aside(judge: Judges, tmp_path: Path) -> None:
    job = case(judge, tmp_path, records=200)
    tails = [b"\0" * 4096, random.Random(27).randbytes(3000), b'{"attempt":"x-1-1-1"}\n', b"\n\n[]\n"]
    for number, tail in enumerate(tails, 1):
        job.begin(f"0.00000{number}")
        append(job.places.partial, tail)
    job.finish()
    kept = [path.read_bytes() for path in job.places.state.glob("torn-*")]

    assert sorted(kept) == sorted(tails)


class Flying(NamedTuple):
    """An attempt in flight, and one of its records."""

    attempt: int
    line: int


FORGED: dict[str, Callable[[str, Flying, int], str]] = {
    "of another output": lambda _, flying, done: f"zzzzzzzz-{flying.attempt}-{flying.line}-1",
    "of a settled attempt": lambda name, flying, done: f"{name}-{done}-{flying.line}-1",
    "of a record that the attempt did not hold": lambda name, flying, done: f"{name}-{flying.attempt}-1-1",
}


@pytest.mark.row(28)
@pytest.mark.parametrize("forge", FORGED.values(), ids=FORGED.keys())
def test_a_forged_line_is_kept_aside(judge: Judges, tmp_path: Path, forge: Callable[[str, Flying, int], str]) -> None:
    job = case(judge, tmp_path, "--latency", "0.2")
    job.die(requests=8)
    with closing(Ledger.open(job.places.ledger)) as ledger:
        attempt, row = next(iter(ledger.inflight.items()))
        done = min(set(range(1, attempt)) - set(ledger.inflight))
        name = ledger.name
    identity = forge(name, Flying(attempt, row.lines[0]), done)
    forged = b'{"attempt":"%s","text":"forged","usage":{}}\n' % identity.encode()
    append(job.places.partial, forged)
    job.finish()

    assert forged in b"".join(path.read_bytes() for path in job.places.state.glob("torn-*"))


@pytest.mark.row(29)
def test_an_output_shorter_than_recorded_is_refused_and_can_be_repaired(judge: Judges, tmp_path: Path) -> None:
    job = case(judge, tmp_path)
    owned = job.begin()
    sent, size = job.sent, job.places.partial.stat().st_size
    os.truncate(job.places.partial, size - 7)
    refused = job.run()

    assert (refused.code, job.sent) == (5, sent)
    assert "--repair" in refused.err
    assert job.places.partial.stat().st_size == size - 7, "nothing was touched"
    job.finish("--repair")
    assert job.asked(owned[:-1]) == len(owned) - 1, "only the line that was cut is bought again"


@pytest.mark.row(30)
def test_an_edited_output_is_refused_and_can_be_repaired(judge: Judges, tmp_path: Path) -> None:
    job = case(judge, tmp_path)
    job.begin()
    sent = job.sent
    flip(job.places.partial, -1000)
    edited = job.places.partial.read_bytes()
    refused = job.run()

    assert (refused.code, job.sent) == (5, sent)
    assert "was edited" in refused.err
    assert job.places.partial.read_bytes() == edited
    job.finish("--repair")


@pytest.mark.row(30)
def test_check_names_the_line_of_a_finished_output_that_was_edited(judge: Judges, tmp_path: Path) -> None:
    job = case(judge, tmp_path)
    job.finish()
    content = job.places.output.read_bytes()
    third = len(b"".join(content.splitlines(keepends=True)[:2]))
    job.places.output.write_bytes(content[: third + 300] + b'"' + content[third + 301 :])
    checked = pipeline("check", str(job.config), home=job.home, extra=job.environment)

    assert checked.code == 5
    assert f"{job.places.output}:3: " in checked.out


def flip(path: Path, at: int) -> None:
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    path.write_bytes(content)


@pytest.mark.row(31)
def test_a_lost_ledger_is_refused_and_can_be_rebuilt_from_the_output(judge: Judges, tmp_path: Path) -> None:
    job = case(judge, tmp_path)
    owned = job.begin()
    sent = job.sent
    job.places.ledger.unlink()
    refused = job.run()

    assert (refused.code, job.sent) == (5, sent)
    assert "--repair" in refused.err
    ended = job.finish("--repair")
    assert job.asked(owned) == len(owned)
    assert any("rebuilt" in notice for notice in ended.summary["notices"])


@pytest.mark.row(31)
def test_a_finished_output_without_its_ledger_can_be_repaired_without_sending(judge: Judges, tmp_path: Path) -> None:
    job = case(judge, tmp_path)
    job.finish()
    sent = job.sent
    shutil.rmtree(job.places.state)
    refused = job.run()

    assert (refused.code, job.sent) == (2, sent)
    job.finish("--repair")
    assert job.sent == sent


def damage(content: bytes, chance: random.Random) -> bytes:
    """Flip a byte, cut the file, or zero one of its pages."""
    at = chance.randrange(len(content))
    page = at // 4096 * 4096
    return chance.choice(
        [
            content[:at] + bytes([content[at] ^ (1 << chance.randrange(8))]) + content[at + 1 :],
            content[:at],
            content[:page] + b"\0" * 4096 + content[page + 4096 :],
        ]
    )


@pytest.mark.row(32)
def test_a_damaged_ledger_is_refused_or_says_what_it_said(quick_path: Path) -> None:
    """Most damage is refused. What is not seen must not have changed what is done or what it cost."""
    original = quick_path / "original"
    original.mkdir()
    places = places_in(original)
    ledger, log, _ = open_both(places)
    for attempt in range(1, 40):
        ledger.commit([], [intent(attempt, [attempt])], log)
        ledger.commit([answered(ledger, attempt, [attempt])], [], log)
    said = sayings(ledger)
    close_both(ledger, log)
    content = places.ledger.read_bytes()
    chance = random.Random(32)
    copy = quick_path / "copy"
    refused = 0
    for _ in range(FLIPS):
        shutil.copytree(original, copy)
        damaged = damage(content, chance)
        (copy / "out.jsonl.state" / "ledger.db").write_bytes(damaged)
        try:
            ledger = open_ledger(places_in(copy), "f")
            ledger, log, _ = open_output(ledger, places_in(copy))
        except (StateMismatch, UsageError):
            refused += 1
        else:
            assert sayings(ledger) == said
            close_both(ledger, log)
        shutil.rmtree(copy)
    print(f"\n{refused} of {FLIPS} damaged ledgers refused, the others said what they had said")

    assert refused


def sayings(ledger: Ledger) -> tuple[object, ...]:
    done = [line for line in range(1, 100) if line in ledger.done]
    return ledger.name, ledger.out_off, ledger.tail, ledger.ok, ledger.budget.spent, ledger.budget.unknown, done


@pytest.mark.row(32)
@pytest.mark.parametrize("how", ["zeroed page", "not a ledger"])
def test_a_damaged_ledger_is_exit_5_and_can_be_repaired(judge: Judges, tmp_path: Path, how: str) -> None:
    job = case(judge, tmp_path)
    owned = job.begin()
    sent = job.sent
    content = job.places.ledger.read_bytes()
    damaged = {
        "zeroed page": content[:4096] + b"\0" * 4096 + content[8192:],
        "not a ledger": b"something else entirely\n" * 400,
    }
    job.places.ledger.write_bytes(damaged[how])
    refused = job.run()

    assert (refused.code, job.sent) == (5, sent), refused.err
    assert "Traceback" not in refused.err
    assert job.places.ledger.read_bytes() == damaged[how]
    job.finish("--repair")
    assert job.asked(owned) == len(owned)


@pytest.mark.row(33)
def test_a_ledger_without_its_wal_is_refused(judge: Judges, tmp_path: Path) -> None:
    job = case(judge, tmp_path, "--latency", "0.05")
    owned = job.die(requests=8)
    sent = job.sent
    wal = job.places.ledger.with_name("ledger.db-wal")
    wal.rename(job.home / "wal")
    refused = job.run()
    wal.unlink(missing_ok=True)

    assert owned
    assert (refused.code, job.sent) == (5, sent)
    assert "older than the output" in refused.err or "has lost attempts" in refused.err
    (job.home / "wal").rename(wal)
    job.finish()


@pytest.mark.row(33)
def test_a_ledger_from_an_older_backup_is_refused(judge: Judges, tmp_path: Path) -> None:
    job = case(judge, tmp_path)
    job.begin("0.000001")
    backup = job.places.ledger.read_bytes()
    job.begin("0.000002")
    newer, sent = job.places.ledger.read_bytes(), job.sent
    job.places.ledger.write_bytes(backup)
    refused = job.run()

    assert (refused.code, job.sent) == (5, sent)
    assert "older than the output" in refused.err or "has lost attempts" in refused.err
    job.places.ledger.write_bytes(newer)
    job.finish()


@pytest.mark.row(34)
def test_a_ledger_of_a_newer_version_is_refused(judge: Judges, tmp_path: Path) -> None:
    job = case(judge, tmp_path)
    job.begin()
    sent = job.sent
    set_version(job.places.ledger, VERSION + 1)
    refused = job.run()
    set_version(job.places.ledger, VERSION)

    assert (refused.code, job.sent) == (2, sent)
    assert "newer version" in refused.err
    job.finish()


def set_version(path: Path, version: int) -> None:
    with closing(sqlite3.connect(path)) as db:
        db.execute(f"PRAGMA user_version = {version}")


def edited(texts: Sequence[str]) -> list[str]:
    return [*texts[:6], "another", *texts[7:]]


CHANGES: dict[str, Callable[[Sequence[str]], list[str]]] = {
    "edited": edited,
    "reordered": lambda texts: [texts[1], texts[0], *texts[2:]],
    "shrunk": lambda texts: list(texts[:10]),
}


@pytest.mark.row(35)
@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
def test_a_changed_input_is_refused_and_can_be_accepted(
    judge: Judges, tmp_path: Path, change: Callable[[Sequence[str]], list[str]]
) -> None:
    job = case(judge, tmp_path)
    job.begin()
    sent = job.sent
    texts = change(job.texts)
    write_records(job.home / "in.jsonl", [{"text": text} for text in texts])
    refused = job.run()

    assert (refused.code, job.sent) == (5, sent)
    assert "lines 1-" in refused.err
    Case(job.home, job.judge, job.config, texts, job.places).finish("--accept-changes")


@pytest.mark.row(35)
def test_an_input_that_grew_goes_on(judge: Judges, tmp_path: Path) -> None:
    job = case(judge, tmp_path)
    owned = job.begin()
    texts = [*job.texts, "one more"]
    write_records(job.home / "in.jsonl", [{"text": text} for text in texts])
    Case(job.home, job.judge, job.config, texts, job.places).finish()

    assert job.asked(owned) == len(owned)


@pytest.mark.row(36)
@pytest.mark.parametrize("how", ["deleted", "rotated"])
def test_an_input_that_goes_away_is_read_to_its_end(judge: Judges, tmp_path: Path, how: str) -> None:
    job = case(judge, tmp_path, "--latency", "0.1", records=100)
    source = job.home / "in.jsonl"
    process = job.start()
    job.strike_after(2, process)
    source.rename(job.home / "in.jsonl.1")
    if how == "rotated":
        source.write_bytes(b'{"text": "of the next day"}\n')
    ended = end(process)

    assert ended.code == 0
    assert job.answered == list(job.texts)
    (job.home / "in.jsonl.1").replace(source)
    job.finish()


@pytest.mark.row(37)
@pytest.mark.parametrize("how", ["renamed", "replaced"])
def test_an_output_that_is_moved_away_stops_the_run_and_can_be_put_back(
    judge: Judges, tmp_path: Path, how: str
) -> None:
    job = case(judge, tmp_path, "--latency", "0.2", records=100)
    partial, away = job.places.partial, job.home / "away"
    process = job.start()
    wait_until(lambda: job.on_disk != [])
    partial.rename(away)
    if how == "replaced":
        partial.touch(0o600)
    stopped = end(process)
    sent = job.sent
    refused = job.run()

    assert stopped.code == 74, stopped.err
    assert str(partial) in stopped.err
    assert (refused.code, job.sent) == (5, sent), "it does not begin again as if nothing had been bought"
    partial.unlink(missing_ok=True)
    away.rename(partial)
    job.finish()


@pytest.mark.row(37)
def test_an_output_that_is_deleted_stops_the_run_and_is_missed(judge: Judges, tmp_path: Path) -> None:
    job = case(judge, tmp_path, "--latency", "0.2", records=100)
    process = job.start()
    wait_until(lambda: job.on_disk != [])
    job.places.partial.unlink()
    stopped = end(process)
    sent = job.sent
    refused = job.run()

    assert stopped.code == 74
    assert (refused.code, job.sent) == (5, sent)
    assert "is gone" in refused.err


@pytest.mark.row(38)
@pytest.mark.parametrize("kind", sorted(NETWORK))
def test_a_network_file_system_is_refused(tmp_path: Path, kind: str) -> None:
    with pytest.raises(UsageError, match=r"network file system.*--state"):
        refuse_network(tmp_path, type_of=lambda _: kind)


@pytest.mark.row(38)
def test_the_innermost_mount_says_what_a_folder_is_on(tmp_path: Path) -> None:
    real = tmp_path.resolve()
    mounts = tmp_path / "mounts"
    (tmp_path / "a b" / "state").mkdir(parents=True)
    mounts.write_text(f"/dev/vda / ext4 rw 0 0\nhost:/x {real}/a\\040b nfs4 rw 0 0\ntmpfs {real}/a tmpfs rw 0 0\n")

    assert type_of(tmp_path / "a b" / "state", mounts) == "nfs4"
    assert type_of(tmp_path, mounts) == "ext4"
    assert type_of(tmp_path, tmp_path / "missing") is None
    refuse_network(tmp_path)


@pytest.mark.row(38)
def test_an_overlay_is_a_disk_like_any_other(judge: Judges, tmp_path: Path) -> None:
    skip_if(no_mounts())
    job = case(judge, tmp_path, output={"path": str(tmp_path / "home" / "over" / "out.jsonl"), "keep": ["text"]})
    for name in ("over", "lower", "upper", "work"):
        (tmp_path / name if name != "over" else job.home / "over").mkdir()
    layers = f"lowerdir={tmp_path}/lower,upperdir={tmp_path}/upper,workdir={tmp_path}/work"
    mounted = subprocess.run(["mount", "-t", "overlay", "-o", layers, "overlay", str(job.home / "over")], check=False)
    if mounted.returncode != 0:
        pytest.skip("this kernel has no overlay file system, or not for this disk")
    try:
        job.die()
        job.finish()
    finally:
        subprocess.run(["umount", "-l", str(job.home / "over")], check=True)


LAG = """
import asyncio
from pipeline.engine import Engine
run = Engine.run
async def measured(self, drain):
    worst = 0.0
    async def turn():
        nonlocal worst
        loop = asyncio.get_running_loop()
        while True:
            before = loop.time()
            await asyncio.sleep(0.01)
            worst = max(worst, loop.time() - before - 0.01)
    turning = asyncio.create_task(turn())
    try:
        return await run(self, drain)
    finally:
        turning.cancel()
        open("lag", "w").write(str(worst))
Engine.run = measured
"""


@pytest.mark.row(39)
def test_a_slow_disk_slows_the_run_and_nothing_else(judge: Judges, tmp_path: Path) -> None:
    skip_if(no_strace())
    job = case(judge, tmp_path, records=40)
    wal = job.places.ledger.with_name("ledger.db-wal")
    slow = traced("fdatasync:delay_enter=400000", paths=[job.places.partial, wal])
    ended = job.run("--timeout", "2", under=slow, code=LAG)
    lag = float((job.home / "lag").read_text())
    print(f"\nworst turn of the loop while each sync took 0.4 s: {lag:.3f} s")

    assert ended.code == 0
    assert lag < 0.3, "the loop did not wait for a sync"
    assert ended.summary["requests"]["retried"] == 0
    assert ended.summary["money"]["unknown_nusd"] == 0
    job.finish()


@pytest.mark.row(40)
def test_logs_that_cannot_be_written_cost_nothing_but_the_logs(judge: Judges, tmp_path: Path) -> None:
    job = case(judge, tmp_path, "--fault", "server_error=0.2")
    full = os.open("/dev/full", os.O_WRONLY)
    try:
        ended = end(job.start("-vv", "--stats", "0.1", stderr=full))
    finally:
        os.close(full)

    assert ended.code == 0
    assert any("lines of the log could not be written" in notice for notice in ended.summary["notices"])
    job.finish()


@pytest.mark.row(40)
def test_a_usage_log_that_cannot_be_written_is_noted_at_the_end(judge: Judges, tmp_path: Path) -> None:
    skip_if(no_mounts())
    job = case(judge, tmp_path)
    with tmpfs(job.home / "usage", "size=4k") as usage:
        (usage / "ballast").write_bytes(b"x" * 4096)
        ended = job.run()
    job.finish()

    assert ended.code == 0
    assert any("usage log" in notice for notice in ended.summary["notices"])


@pytest.mark.row(41)
def test_an_output_that_is_the_input_or_no_plain_file_is_refused(judge: Judges, tmp_path: Path) -> None:
    job = case(judge, tmp_path)
    source = job.home / "in.jsonl"
    content = source.read_bytes()
    (job.home / "symlink").symlink_to(source)
    (job.home / "hardlink").hardlink_to(source)
    (job.home / "dangling").symlink_to(job.home / "nowhere")
    (job.home / "folder").mkdir()
    os.mkfifo(job.home / "fifo")
    names = ["in.jsonl", "./folder/../in.jsonl", "symlink", "hardlink", "dangling", "folder", "fifo", "/dev/null"]
    refusals = {name: job.run("-o", name) for name in names}

    assert {name: ended.code for name, ended in refusals.items()} == dict.fromkeys(names, 2)
    assert job.sent == 0
    assert source.read_bytes() == content
    assert not list(job.home.glob("*.partial"))


@pytest.mark.row(41)
@pytest.mark.parametrize("suffix", [".partial", ".ordered", ".errors.jsonl"])
def test_an_input_with_the_name_of_a_file_that_the_run_writes_is_refused(
    judge: Judges, tmp_path: Path, suffix: str
) -> None:
    job = case(judge, tmp_path)
    source = job.home / f"out.jsonl{suffix}"
    content = (job.home / "in.jsonl").read_bytes()
    source.write_bytes(content)
    refused = job.run("-i", str(source))

    assert (refused.code, job.sent) == (2, 0), refused.err
    assert source.read_bytes() == content


@pytest.mark.row(41)
@pytest.mark.parametrize("name", ["ledger.db", "lock", "run.json", "history.json"])
def test_an_output_with_the_name_of_a_file_of_the_state_is_refused(judge: Judges, tmp_path: Path, name: str) -> None:
    job = case(judge, tmp_path)
    refused = job.run("-o", f"state/{name}", "--state", "state")

    assert (refused.code, job.sent) == (2, 0), refused.err


@pytest.mark.row(42)
def test_an_output_that_is_not_ours_is_refused_or_kept(judge: Judges, tmp_path: Path) -> None:
    job = case(judge, tmp_path)
    job.places.output.write_bytes(b"somebody else's\n")
    job.places.output.chmod(0o600)
    refused = job.run()

    assert (refused.code, job.sent) == (2, 0)
    assert job.places.output.read_bytes() == b"somebody else's\n"
    job.finish("--fresh", "--yes")
    kept = [path.read_bytes() for path in job.places.state.glob("old-out.jsonl-*")]
    assert kept == [b"somebody else's\n"]


@pytest.mark.row(42)
def test_an_output_that_appears_while_it_runs_is_not_replaced(judge: Judges, tmp_path: Path) -> None:
    job = case(judge, tmp_path, "--latency", "0.1")
    process = job.start()
    job.strike_after(2, process)
    job.places.output.write_bytes(b"somebody else's\n")
    stopped = end(process)
    sent = job.sent

    assert stopped.code == 2
    assert job.places.output.read_bytes() == b"somebody else's\n"
    job.places.output.unlink()
    job.finish()
    assert job.sent == sent
