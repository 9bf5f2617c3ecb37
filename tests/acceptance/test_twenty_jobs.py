"""Jobs of every kind through the real command: what is recorded is what the server billed, to the nano-USD."""

from __future__ import annotations

import contextlib
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.simulator import Entry
from pipeline.storage.state import default_state
from pipeline.storage.usage import UsageLog
from pipeline.types import Json
from tests.acceptance.command import Ended, pipeline, start
from tests.faults.storms.scene import Recorded, Server, recorded, serving
from tests.twenty_jobs import CASES, Case


class Bench:
    """Servers, by what they were told, and one usage log for all cases."""

    def __init__(self, folder: Path, stack: contextlib.ExitStack) -> None:
        self.folder = folder
        self._stack = stack
        self._servers: dict[tuple[str, ...], Server] = {}
        self.ledgers: dict[str, Recorded] = {}

    @property
    def usage(self) -> UsageLog:
        return UsageLog(self.folder / "usage" / "usage.db")

    def server(self, case: Case) -> Server:
        if case.needs_own_server or case.server not in self._servers:
            place = self.folder / f"server-of-{case.name}"
            place.mkdir()
            self._servers[case.server] = self._stack.enter_context(serving(place, *case.server))
        return self._servers[case.server]

    def environment(self, server: Server) -> dict[str, str]:
        return {"SIMULATOR_BASE_URL": server.url, "PIPELINE_STATE": str(self.folder / "usage")}


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    with contextlib.ExitStack() as stack:
        yield Bench(tmp_path_factory.mktemp("twenty"), stack)


def run(case: Case, bench: Bench, server: Server, home: Path) -> Ended:
    """Run to the end, through the kills that the case asks for."""
    config, extra = str(case.write(home)), bench.environment(server)
    before = len(served(server))
    for after in case.kills:
        process = start(["run", config], home, extra)
        while len(served(server)) < before + after and process.poll() is None:
            time.sleep(0.01)  # the server is another process: it can only be watched
        process.kill()
        process.communicate()
    ended = pipeline("run", config, "--json", home=home, extra=extra, seconds=60)
    return pipeline(*case.then, config, "--json", home=home, extra=extra) if case.then else ended


def served(server: Server) -> list[Entry]:
    return [entry for entry in server.since(0) if entry.status == 200]


def billed(server: Server, ledger: Path) -> int:
    """What the server billed for attempts of this ledger."""
    with contextlib.closing(sqlite3.connect(f"file:{ledger}?immutable=1", uri=True)) as db:
        name = db.execute("SELECT v FROM meta WHERE k = 'ledger'").fetchone()[0]
    return sum(entry.cost_nusd for entry in server.since(0) if (entry.request_id or "").startswith(f"{name}-"))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_run_costs_what_the_server_billed(case: Case, bench: Bench, tmp_path: Path) -> None:
    server = bench.server(case)
    ended = run(case, bench, server, tmp_path)
    ledger = default_state(tmp_path / "out.jsonl") / "ledger.db"
    bench.ledgers[case.name] = money = recorded(ledger)
    bill = billed(server, ledger)
    print(f"\n{case.name}: billed {bill}, spent {money.spent}, unknown {money.unknown} nano-USD")
    logged = {total.key: total for total in bench.usage.totals("name")}[case.name]

    assert ended.code == case.code, ended.err
    assert money.inflight == 0
    assert (bill > 0) == (case.name != "moderations")
    if case.exact:
        assert (money.spent, money.unknown) == (bill, 0)
    else:
        assert bill <= money.spent + money.unknown <= 3 * bill
    assert shown(ended) == (money.spent, money.unknown)
    assert (logged.ok_nusd + logged.retried_nusd, logged.unknown_nusd) == (money.spent, money.unknown)


def shown(ended: Ended) -> tuple[Json, Json]:
    money = ended.summary["money"]
    return money["spent_nusd"], money["unknown_nusd"]


def test_the_usage_log_adds_up_to_the_ledgers(bench: Bench) -> None:
    total, ledgers = bench.usage.total(), bench.ledgers.values()
    print(f"\n{len(bench.ledgers)} ledgers, {sum(money.total for money in ledgers)} nano-USD")

    assert total.ok_nusd + total.retried_nusd == sum(money.spent for money in ledgers)
    assert total.unknown_nusd == sum(money.unknown for money in ledgers)


def test_there_are_more_than_twenty_different_jobs() -> None:
    kinds = {case.keys["job"] for case in CASES}

    assert len({case.name for case in CASES}) == len(CASES) > 20
    assert kinds == {"embeddings", "completions", "chat", "moderations"}
