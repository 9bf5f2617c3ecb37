"""A report in headless Chromium, wide and narrow, light and dark, with hostile records: legible and silent."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Literal

import orjson

from pipeline.report import Asked, page
from pipeline.report.samples import Sample
from tests.acceptance.command import pipeline
from tests.acceptance.test_report import REPORT, config
from tests.browser import Tab, browser, needs_chromium
from tests.judge import Judge
from tests.report.facts import facts, history
from tests.report.test_page import ASKED, HOSTILE

LOOKS: list[tuple[int, Literal["light", "dark"]]] = [(400, "light"), (400, "dark"), (1400, "light"), (1400, "dark")]
_TALL_NOTES = """
[...document.querySelectorAll(".note, .value, .label")]
  .filter((each) => each.scrollWidth > each.clientWidth + 1 || each.getClientRects().length != 1
    || each.offsetHeight > parseFloat(getComputedStyle(each).lineHeight) + 1 && each.className != "label")
  .map((each) => each.textContent)
"""

pytestmark = needs_chromium


async def check(tab: Tab, path: Path) -> None:
    """Look at a page in every way; show that nothing lies over anything, sticks out or complains."""
    for width, scheme in LOOKS:
        await tab.look(width, scheme)
        await tab.open(path.as_uri())

        assert await tab.width() == width, f"{width} {scheme}: scrolls sideways"
        assert await tab.overlaps() == [], f"{width} {scheme}"
        assert await tab.evaluate(_TALL_NOTES) == [], f"{width} {scheme}: longer than a line of its card"
    assert tab.said == []
    assert set(tab.asked) == {path.as_uri()}


async def test_a_real_run_is_legible_in_every_width_and_scheme(judge: Callable[..., Judge], tmp_path: Path) -> None:
    server = judge("--engine", "hashing", "--script", "ok,rate_limited_ms,server_error", "--latency", "0.02")
    path = config(tmp_path, 400, limits={"rpm": 3000, "tpm": 100_000})
    pipeline("run", path, home=tmp_path, extra=server.environment)
    pipeline("report", path, home=tmp_path, extra=server.environment)

    async with browser() as tab:
        await check(tab, tmp_path / REPORT)
        await tab.printed(tmp_path / "report.pdf")

    assert (tmp_path / "report.pdf").read_bytes().startswith(b"%PDF-")


async def test_large_figures_and_many_runs_are_legible(tmp_path: Path) -> None:
    tokens = {"input": 15_634_208_123, "cached": 12_345_678_901, "output": 1_234_567_890, "reasoning": 0}
    records = {"total": 250_000_000, "ok": 249_999_000, "failed": 1000, "remaining": 0}
    sums = {
        "spent_nusd": 1_234_567_890_123,
        "unknown_nusd": 12_345_678_901,
        "reserved_nusd": 0,
        "retried_nusd": 98_765_432_109,
        "cap_nusd": 10_000_000_000_000,
        "price_source": "genai-prices 0.2.3",
    }
    name = "a-long-name-of-a-job-with-many-words-in-it-2026"
    large = {"tokens": tokens, "records": records, "money": sums, "name": name}
    big = facts(large, earlier=history(seconds=5000, runs=40))
    path = tmp_path / "big.html"
    path.write_text(page(big, ASKED))

    async with browser() as tab:
        await check(tab, path)


async def test_hostile_records_are_text_and_break_nothing(tmp_path: Path) -> None:
    samples = [Sample(number, text * 20, text * 40, text * 40) for number, text in enumerate(HOSTILE, 1)]
    notices = [*HOSTILE, "a" * 3000, "\u202e" * 50]
    texts = {"name": HOSTILE[0], "notices": notices, "output": "/" + "x" * 400, "state": "stopped", "exit_code": 6}
    path = tmp_path / "hostile.html"
    path.write_text(page(facts({**texts, "message": HOSTILE[6]}), Asked({"run": HOSTILE[3]}, samples)))

    async with browser() as tab:
        await check(tab, path)
        shown = await tab.evaluate("document.body.innerText")
        scripts = await tab.evaluate("document.scripts.length")

    assert scripts == 0
    for text in HOSTILE[:6]:
        assert text in shown.replace("\n", " "), orjson.dumps(text)
