from __future__ import annotations

import threading
from pathlib import Path

import pytest

from pipeline.config import Loaded, load
from pipeline.errors import UsageError
from pipeline.events import Event, Notice, Observers
from pipeline.runner import Run
from pipeline.types import Json
from pipeline.watching import Watch
from tests.acceptance.command import write_config


def loaded(folder: Path, environ: dict[str, str] | None = None, **keys: Json) -> Loaded:
    config = write_config(
        folder,
        "tickets",
        job="embeddings",
        endpoint="simulator",
        model="m",
        input={"path": str(folder / "in.jsonl")},
        output={"path": str(folder / "out.jsonl")},
        text="{{ text }}",
        **keys,
    )
    return load(config, {}, environ or {})


class Counting(Observers):
    """Observers that tell how many there are."""

    count = 0

    def add(self, *args: object, **kwargs: object) -> None:
        self.count += 1
        super().add(*args, **kwargs)  # type: ignore[arg-type]


class Keeping:
    """An observer that keeps what it sees."""

    def __init__(self, seen: list[Event]) -> None:
        self._seen = seen

    def see(self, event: Event) -> None:
        self._seen.append(event)


async def watched(folder: Path, environ: dict[str, str] | None = None, **keys: Json) -> tuple[int, int, int]:
    """How many observers, watchers of exchanges and threads a config costs."""
    config = loaded(folder, environ, **keys)
    run, observers = Run(config), Counting()
    watch = Watch(config, run._status, observers)
    before = threading.active_count()
    run._status.begin()
    watch.begin()
    costs = observers.count, len(watch.exchanges), threading.active_count() - before
    noticed: list[Event] = []
    observers.add(Keeping(noticed), Notice)
    await watch.end(run._status.summary())
    assert noticed == []
    return costs


async def test_what_is_not_asked_for_costs_nothing(tmp_path: Path) -> None:
    assert await watched(tmp_path) == (0, 0, 0)


async def test_each_place_has_a_thread_and_only_what_it_needs(tmp_path: Path) -> None:
    assert await watched(tmp_path, log={"file": str(tmp_path / "log")}) == (2, 0, 1)
    assert await watched(tmp_path, joblog=str(tmp_path / "joblog")) == (0, 1, 1)
    assert await watched(tmp_path, metrics={"file": str(tmp_path / "m.prom")}) == (1, 0, 1)


@pytest.mark.parametrize(
    ("environ", "exchanges"),
    [
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9"}, 1),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://127.0.0.1:9"}, 1),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": ""}, 0),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9", "OTEL_SDK_DISABLED": "true"}, 0),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9", "OTEL_TRACES_EXPORTER": "none"}, 0),
    ],
)
async def test_the_standard_variables_turn_traces_on(
    tmp_path: Path, environ: dict[str, str], exchanges: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in environ:
        monkeypatch.setenv(name, "")
    assert (await watched(tmp_path, environ))[1] == exchanges


@pytest.mark.parametrize("name", ["in.jsonl", "out.jsonl", "out.jsonl.partial", "out.jsonl.state/ledger.db"])
@pytest.mark.parametrize("key", ["log", "metrics", "joblog"])
def test_a_file_of_the_run_itself_is_not_logged_to(tmp_path: Path, key: str, name: str) -> None:
    path = str(tmp_path / name)
    keys: dict[str, Json] = {key: path if key == "joblog" else {"file": path}}
    with pytest.raises(UsageError, match="need files of their own"):
        Run(loaded(tmp_path, None, **keys))


def test_two_of_them_cannot_share_a_file(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="need files of their own"):
        Run(loaded(tmp_path, joblog=str(tmp_path / "x"), log={"file": str(tmp_path / "x")}))


def test_here_is_the_config_s_own_folder(tmp_path: Path) -> None:
    assert loaded(tmp_path, log={"file": "{here}/logs/x.log"}).config.log.file == f"{tmp_path}/logs/x.log"
