"""`pipeline dashboard`: the command, and the page in headless Chromium while a real run goes on."""

from __future__ import annotations

import subprocess
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.acceptance.command import pipeline, start, write_config, write_records
from tests.acceptance.test_report_in_a_browser import LOOKS
from tests.browser import browser, needs_chromium
from tests.judge import Judge

Started = Callable[..., str]


@pytest.fixture
def dashboard(tmp_path: Path) -> Iterator[Started]:
    """Starts `pipeline dashboard` on a free port and returns its address."""
    processes: list[subprocess.Popen[bytes]] = []

    def serve(*flags: str, extra: dict[str, str] | None = None) -> str:
        process = start(["dashboard", "--port", "0", *flags], tmp_path, extra)
        processes.append(process)
        assert process.stdout is not None
        return process.stdout.readline().decode().strip()

    yield serve
    for process in processes:
        process.terminate()
        _, err = process.communicate(timeout=30)
        assert (process.returncode, err) == (0, b"")


def status(url: str, **headers: str) -> int:
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=10) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code


def config(home: Path, records: int) -> str:
    write_records(home / "in.jsonl", [{"text": f"record {number} of them"} for number in range(records)])
    keys = {
        "job": "embeddings",
        "endpoint": "simulator",
        "model": "simulator-hashing-256",
        "input": {"path": "in.jsonl"},
        "output": {"path": "out.jsonl"},
        "text": "{{ text }}",
        "batch": {"max_items": 4},
        "limits": {"rpm": 1200, "tpm": 1_000_000, "concurrency": 8},
        "budget": {"hard_usd": 1},
    }
    return write_config(home, "tickets", **keys).name


def test_on_this_machine_it_needs_no_token_and_elsewhere_one_is_made(dashboard: Started) -> None:
    here, everywhere = dashboard(), dashboard("--host", "0.0.0.0")
    bare, _, token = everywhere.partition("?token=")

    assert status(here) == 200
    assert len(token) >= 32
    assert status(bare) == 401
    assert status(bare, Authorization=f"Bearer {token}") == 200


def test_a_token_of_ones_own_is_named_and_never_printed(dashboard: Started) -> None:
    url = dashboard("--token", "env:LOOK", extra={"LOOK": "my-own-long-token"})

    assert "token" not in url
    assert status(url) == 401
    assert status(url, Authorization="Bearer my-own-long-token") == 200


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (("--token", "letmein"), "must be env:NAME or file:PATH"),
        (("--token", "env:LOOK"), "too easy to guess"),
        (("--host", "192.0.2.1"), "cannot listen there"),
    ],
)
def test_what_cannot_be_served_is_refused(tmp_path: Path, flags: tuple[str, ...], said: str) -> None:
    ended = pipeline("dashboard", "--port", "0", *flags, home=tmp_path, extra={"LOOK": "short"})

    assert ended.code == 2
    assert said in ended.err
    assert "letmein" not in ended.err


@needs_chromium
async def test_a_run_is_seen_to_move_and_its_spend_to_appear(
    judge: Callable[..., Judge], dashboard: Started, tmp_path: Path
) -> None:
    server = judge("--engine", "hashing", "--latency", "0.05")
    path = config(tmp_path, 1200)
    url = dashboard()
    async with browser() as tab:
        await tab.look(1400, "light")
        await tab.open(url)
        assert "Nothing runs." in await tab.evaluate("document.body.innerText")
        run = start(["run", path], tmp_path, server.environment)
        await tab.until("document.querySelector('.job .share')?.textContent.includes('%')")
        before = float((await tab.evaluate("document.querySelector('.job .share').textContent")).rstrip("%"))
        await tab.until(f"parseFloat(document.querySelector('.job .share')?.textContent) > {before}")
        for width, scheme in LOOKS:
            await tab.look(width, scheme)

            assert await tab.width() == width
            assert await tab.overlaps() == []
        run.communicate(timeout=60)
        await tab.until("document.querySelector('#runs .tag')?.textContent == 'complete'")
        await tab.until("!document.querySelector('.card:nth-child(2) .value').textContent.match(/^\\$0$/)")
        await tab.open(await tab.evaluate("document.querySelector('#runs a').href"))

        assert "All 1,200 records have a result." in await tab.evaluate("document.body.innerText")

        assert tab.said == []
        assert all(asked.startswith((url, "data:,")) for asked in tab.asked)


@needs_chromium
async def test_without_scripts_the_page_shows_the_same(
    judge: Callable[..., Judge], dashboard: Started, tmp_path: Path
) -> None:
    server = judge("--engine", "hashing")
    pipeline("run", config(tmp_path, 40), home=tmp_path, extra=server.environment)
    url = dashboard()
    async with browser() as tab:
        await tab.no_scripts()
        await tab.open(url)
        text = await tab.evaluate("document.body.innerText")

    assert "complete" in text
    assert not [asked for asked in tab.asked if asked.endswith("/live")]
