from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest

from pipeline.dashboard import Access, Dashboard
from tests.dashboard.runs import Runs
from tests.report.markup import Markup
from tests.report.test_page import HOSTILE

OPEN = Access("127.0.0.1")
TOKEN = "a-token-of-some-length"


@asynccontextmanager
async def serving(runs: Runs, access: Access = OPEN) -> AsyncIterator[tuple[str, aiohttp.ClientSession]]:
    dashboard = Dashboard(runs.log, access, 0)
    url = await dashboard.start()
    async with aiohttp.ClientSession() as session:
        yield url, session
    await dashboard.stop()


@pytest.fixture
def runs(tmp_path: Path) -> Runs:
    return Runs(tmp_path)


async def text_of(session: aiohttp.ClientSession, url: str) -> str:
    async with session.get(url) as answer:
        assert answer.status == 200
        return " ".join(Markup(await answer.text()).text.split())


async def test_the_page_shows_what_runs_what_was_spent_and_how_runs_ended(runs: Runs) -> None:
    runs.ended("aaaaaaaa", "labels", records_failed=0)
    runs.running("bbbbbbbb")
    async with serving(runs) as (url, session):
        text = await text_of(session, url)

    assert "tickets text-1 43.2%" in text
    assert "speed 37/s time left 1m15s" in text
    assert "360 of 720 requests a minute, 50%" in text
    assert "150k of 200k tokens a minute, 75%" in text
    assert "labels complete" in text
    assert "tickets running" in text


async def test_an_empty_log_is_a_page_that_says_so(runs: Runs) -> None:
    async with serving(runs) as (url, session):
        text = await text_of(session, url)

    assert "Nothing runs." in text
    assert "No run yet." in text


async def test_a_log_that_cannot_be_read_is_said_on_the_page(runs: Runs) -> None:
    (runs.folder / "usage.db").write_bytes(b"no database at all, but long enough to be one")
    async with serving(runs) as (url, session):
        assert "the usage log" in await text_of(session, url)


async def test_a_report_is_rendered_on_the_fly_without_records(runs: Runs) -> None:
    run = runs.ended("aaaaaaaa", "labels")
    runs.says(run)
    async with serving(runs) as (url, session):
        text = await text_of(session, f"{url}reports/aaaaaaaa")

    assert "All 500 records have a result." in text
    assert "pipeline run /configs/labels.yaml" in text
    assert "Samples" not in text


@pytest.mark.parametrize("path", ["reports/aaaaaaaa", "reports/zzzzzzzz", "reports/../usage.db", "nothing"])
async def test_what_is_not_there_is_404_with_a_page(runs: Runs, path: str) -> None:
    runs.ended("aaaaaaaa")
    async with serving(runs) as (url, session), session.get(url + path) as answer:
        assert answer.status == 404
        assert answer.content_type == "text/html"


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS"])
async def test_nothing_but_looking_is_possible(runs: Runs, method: str) -> None:
    async with serving(runs) as (url, session), session.request(method, url) as answer:
        assert answer.status == 405
        assert answer.headers["Allow"] == "GET,HEAD"


@pytest.mark.parametrize("path", ["", "live", "dashboard.js", "style.css", "reports/aaaaaaaa", "absent"])
async def test_every_answer_forbids_what_a_page_of_another_place_could_do_with_it(runs: Runs, path: str) -> None:
    run = runs.ended("aaaaaaaa")
    runs.says(run)
    async with (
        serving(runs) as (url, session),
        session.get(url + path, headers={"Origin": "https://e.example"}) as answer,
    ):
        headers = answer.headers

    assert headers["Content-Security-Policy"].startswith("default-src 'none'; ")
    assert "'unsafe" not in headers["Content-Security-Policy"]
    assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Cache-Control"] == "no-store"
    assert not [name for name in headers if name.lower().startswith("access-control-")]


@pytest.mark.parametrize("path", ["", "live", "dashboard.js", "reports/aaaaaaaa"])
async def test_a_name_bound_anew_to_this_machine_is_refused(runs: Runs, path: str) -> None:
    runs.ended("aaaaaaaa", "secret-name")
    async with serving(runs) as (url, session), session.get(url + path, headers={"Host": "evil.example"}) as answer:
        assert answer.status == 421
        assert "secret-name" not in await answer.text()


@pytest.mark.parametrize("path", ["", "live", "dashboard.js", "style.css", "reports/aaaaaaaa", "?token=wrong"])
async def test_without_the_token_nothing_is_shown(runs: Runs, path: str) -> None:
    runs.ended("aaaaaaaa", "secret-name")
    async with serving(runs, Access("127.0.0.1", TOKEN)) as (url, session), session.get(url + path) as answer:
        assert answer.status == 401
        assert answer.headers["WWW-Authenticate"] == "Bearer"
        assert "secret-name" not in await answer.text()


async def test_the_first_visit_leaves_a_cookie_and_an_address_without_the_token(runs: Runs) -> None:
    async with serving(runs, Access("127.0.0.1", TOKEN)) as (url, _):
        jar = aiohttp.CookieJar(unsafe=True)  # for addresses, too
        async with aiohttp.ClientSession(cookie_jar=jar) as session:
            async with session.get(f"{url}?token={TOKEN}") as answer:
                cookie = answer.history[0].headers["Set-Cookie"]
                assert (answer.status, str(answer.url)) == (200, url)
            async with session.get(f"{url}live") as again:
                assert again.status == 200

    assert "HttpOnly" in cookie
    assert "SameSite=Strict" in cookie


async def test_a_program_may_show_the_token_as_bearer(runs: Runs) -> None:
    headers = {"Authorization": f"Bearer {TOKEN}"}
    async with serving(runs, Access("127.0.0.1", TOKEN)) as (url, session), session.get(url, headers=headers) as answer:
        assert answer.status == 200


@pytest.mark.parametrize("hostile", HOSTILE[:7])
async def test_hostile_names_are_text(runs: Runs, hostile: str) -> None:
    plain = Markup(await _page(Runs(runs.folder / "plain"), "name", None))
    markup = Markup(await _page(runs, hostile, hostile))

    assert markup.tags == plain.tags | {"p"}
    assert {name for name, _ in markup.attributes} == {name for name, _ in plain.attributes}
    if hostile.isprintable():
        assert markup.text.count(hostile) >= 4


async def _page(runs: Runs, name: str, paused: str | None) -> str:
    runs.folder.mkdir(exist_ok=True)
    runs.running("aaaaaaaa", name, {"paused": paused}, model=name, endpoint=name)
    async with serving(runs) as (url, session), session.get(url) as answer:
        return await answer.text()
