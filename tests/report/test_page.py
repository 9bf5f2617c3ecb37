from __future__ import annotations

import base64
import hashlib
import re

import pytest

from pipeline.core.failures import Failures
from pipeline.observers.recorded import About, Setting
from pipeline.report import Asked, Estimate, page
from pipeline.report.samples import Sample
from tests.report.facts import facts, history, recorded
from tests.report.markup import Markup

HOSTILE = (
    "<script>alert(1)</script>",
    "</style><style>*{display:none}</style>",
    "</title></textarea><img src=x onerror=alert(1)>",
    '" onmouseover="alert(1)" x="',
    "{{ 7 * 7 }}{% for x in y %}{#",
    "&lt;b&gt; &amp; <!-- ]]> -->",
    "\u202egnol si siht\u202c \u200f\u2066",
    "\x00\x07\x1b[31m\x7f\ud800",
    "javascript:alert(1)",
)
ASKED = Asked({"run": "pipeline run c.yaml", "retry": "pipeline retry c.yaml", "check": "pipeline check c.yaml"})


def test_a_page_has_no_script_no_style_of_an_element_and_names_no_other_place() -> None:
    markup = Markup(page(facts(), ASKED))

    assert not markup.tags & {"script", "img", "iframe", "object", "form", "base"}
    assert not [name for name, _ in markup.attributes if name.startswith("on") or name in {"style", "src"}]
    assert {value for name, value in markup.attributes if name == "href"} == {"data:,"}


def test_its_policy_allows_its_own_style_sheet_and_nothing_else() -> None:
    html = page(facts(), ASKED)
    style = re.search(r"<style>(.*?)</style>", html, re.DOTALL)
    policies = [value for _, value in Markup(html).attributes if value.startswith("default-src")]

    assert style is not None
    digest = base64.b64encode(hashlib.sha256(style[1].encode()).digest()).decode()
    assert policies == [
        f"default-src 'none'; style-src 'sha256-{digest}'; img-src data:; base-uri 'none'; form-action 'none'"
    ]


@pytest.mark.parametrize("hostile", HOSTILE)
def test_whatever_records_configs_and_servers_hold_is_text(hostile: str) -> None:
    failures = Failures()
    failures.note(hostile, 1, hostile, hostile)
    about = About(hostile, hostile, 60, None, 1, 10, None, [Setting(hostile, hostile, hostile)])
    last = history()
    last.attempts = {hostile: 3}
    texts = dict.fromkeys(("name", "job", "message", "output", "errors"), hostile)
    stopped = {**texts, "notices": [hostile], "state": "stopped", "exit_code": 6}
    hostile_facts = facts(stopped, about=about, failures=failures, last=last)
    asked = Asked(dict.fromkeys(ASKED.commands, hostile), [Sample(1, hostile, hostile, hostile)])
    html = page(hostile_facts, asked)
    plain = Markup(page(facts({"state": "stopped", "exit_code": 6, "message": "x"}), ASKED))
    markup = Markup(html)

    html.encode()
    assert markup.tags <= plain.tags | {"article", "pre", "h4"}
    assert {name for name, _ in markup.attributes} <= {name for name, _ in plain.attributes}
    assert all(character.isprintable() or character == "\n" for character in html)
    if hostile.isprintable():
        assert markup.text.count(hostile) >= 10


def test_a_text_of_a_megabyte_is_cut() -> None:
    failures = Failures()
    failures.note("c" * 1_000_000, 1, "i" * 1_000_000, "m" * 1_000_000)

    assert len(page(facts(failures=failures), ASKED)) < 100_000


def test_figures_are_shortened_and_their_exact_value_is_at_hand() -> None:
    whole = {"input": 15_634_208, "cached": 0, "output": 0, "reasoning": 0}
    html = page(facts({"tokens": whole}), ASKED)

    assert '<span class="value" title="15,634,208">15.6M</span>' in html


def test_the_page_says_what_bound_the_run_and_what_to_change() -> None:
    pace = {"bound_by": "requests", "why": "bound by requests a minute: get a higher limit"}
    html = page(facts({"pace": {**pace, "requests_per_minute": 1.0, "tokens_per_minute": 1.0}}), ASKED)

    assert "Bound by requests a minute: get a higher limit." in html


def test_all_runs_are_drawn_with_a_mark_where_each_further_one_began() -> None:
    html = page(facts(earlier=history(seconds=30, runs=2)), ASKED)

    assert "All 3 runs of this output" in html
    assert html.count("a further run began at") == 2 * 2
    assert "last of 3 runs" in html


def test_refusals_and_pauses_are_marked_under_both_charts() -> None:
    html = page(facts(), ASKED)

    assert html.count('<rect class="fill-refused"') == 2 * 9
    assert html.count('<rect class="fill-paused"') == 2 * 9
    assert html.count("limit 720") == 2
    assert html.count("limit 200k") == 2


@pytest.mark.parametrize(
    ("estimate", "said"),
    [
        (Estimate(310_400_000, 310_400_000), "The plan of the whole input says $0.3104."),
        (Estimate(52_000_000, 138_000_000), "$0.0520 for the input alone, and at most $0.1380 with all output."),
        (Estimate(52_000_000, None), "$0.0520 for the input alone, and nothing bounds its output."),
    ],
)
def test_the_cost_is_compared_with_the_plan(estimate: Estimate, said: str) -> None:
    assert said in page(facts(), Asked(estimate=estimate))


def test_without_a_history_the_page_shows_what_the_status_says() -> None:
    html = page(facts()._replace(recorded=None), ASKED)
    markup = Markup(html)

    assert "All 500 records have a result." in markup.text
    assert "Throughput" not in markup.text


def test_nothing_sent_is_no_chart() -> None:
    empty = recorded(last=history(seconds=0), sums=[])

    assert "Throughput" not in Markup(page(facts()._replace(recorded=empty), ASKED)).text
