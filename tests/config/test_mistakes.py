"""Mistakes that people make in configs: each has one message with the file, the line, the key and what to do."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from pipeline.config import load, resolve_job
from pipeline.errors import UsageError

CONFIG = """\
job: embeddings
input: {path: in.jsonl, id: id}
output: {path: out.jsonl, keep: [id]}
endpoint: openai
model: text-embedding-3-small
text: "{{ body }}"
"""
KEY = "sk-" + "abcdefghijklmnop123456"
DURATION = "must be a duration up to 366 days: seconds, or 30s, 15m, 2h, 1d"
DOLLARS = "must be a number of US dollars, such as 5 or 0.25"
WHOLE = "must be a whole number, such as 500 or 3_000"
QUOTES = 'put quotes around a text that holds {{ or a colon: "…"'
RECORDS = (
    "holds JSON records, not a config: name the file under input.path of a config; `pipeline init NAME` writes one"
)
JOBS = "there are chat, completions, embeddings, moderations, and your.module:YourJob"
STRANGER = (
    "has none of a config's keys, such as job, input and output: is it another file? "
    "`pipeline init NAME` writes a config to start from"
)


def changed(old: str, new: str) -> str:
    assert old in CONFIG
    return CONFIG.replace(old, new)


MISTAKES = {
    "a key misspelt": (changed("model:", "modle:"), "5: modle: unknown key (did you mean 'model'?)"),
    "a key of a group misspelt": (CONFIG + "limits: {tmp: 5}\n", "7: limits.tmp: unknown key (did you mean 'tpm'?)"),
    "a key that must be there misspelt": (
        changed("path: in", "pth: in"), "2: input.pth: unknown key (did you mean 'path'?)"
    ),
    "a key of a message misspelt": (
        CONFIG + "messages:\n  - {rol: user, content: x}\n",
        "8: messages.0.rol: unknown key (did you mean 'role'?)",
    ),
    "a group named like a key": (CONFIG + "limit: {rpm: 5}\n", f"7: limit: {WHOLE} (did you mean 'limits'?)"),
    "a key outside its group": (CONFIG + "rpm: 500\n", "7: rpm: unknown key (did you mean 'limits.rpm'?)"),
    "a key in another group": (
        CONFIG + "limits: {max_items: 5}\n", "7: limits.max_items: unknown key (did you mean 'batch.max_items'?)"
    ),
    "OpenAI's name for a key": (
        CONFIG + "max_tokens: 100\n", "7: max_tokens: unknown key: did you mean 'max_output_tokens'?"
    ),
    "a parameter at the top": (
        CONFIG + "temperature: 0\n", "7: temperature: unknown key: write it under params, which are sent as they are"
    ),
    "an address in the config": (
        CONFIG + "base_url: http://localhost:8000/v1\n",
        "7: base_url: unknown key: it belongs to an endpoint, in endpoints.yaml",
    ),
    "a secret at the top": (
        CONFIG + f"api_key: {KEY}\n",
        "7: api_key: unknown key: it belongs to an endpoint, in endpoints.yaml, as env:NAME or file:PATH",
    ),
    "a secret among the parameters": (
        CONFIG + "params: {api_key: env:OPENAI_API_KEY}\n",
        "7: params.api_key: credentials belong in endpoints.yaml, as env:NAME or file:PATH",
    ),
    "a secret anywhere": (
        CONFIG + f"params:\n  metadata: {{note: {KEY}}}\n",
        "8: params.metadata.note: looks like a secret: a config holds only env:NAME or file:PATH, in endpoints.yaml",
    ),
    "a number in quotes": (CONFIG + 'limits: {rpm: "500"}\n', f"7: limits.rpm: {WHOLE}"),
    "a comma for thousands": (CONFIG + "limits:\n  rpm: 1,000\n", f"8: limits.rpm: {WHOLE}"),
    "a comma for thousands in braces": (
        CONFIG + "limits: {rpm: 1,000}\n",
        "7: limits.000: unknown key: write a number without a comma, such as 1_000 or 0.5",
    ),
    "a letter for thousands": (CONFIG + "limits: {rpm: 3k}\n", f"7: limits.rpm: {WHOLE}"),
    "a dollar sign": (CONFIG + "budget: {hard_usd: $5}\n", f"7: budget.hard_usd: {DOLLARS}"),
    "a decimal comma": (CONFIG + "budget:\n  hard_usd: 0,50\n", f"8: budget.hard_usd: {DOLLARS}"),
    "a number for a group": (
        CONFIG + "budget: 5\n", "7: budget: must be a mapping of keys to values, such as {hard_usd: …}"
    ),
    "a path for a group": (
        changed("input: {path: in.jsonl, id: id}", "input: in.jsonl"),
        "2: input: must be a mapping of keys to values, such as {path: …}",
    ),
    "a list for a group": (
        changed("input: {path: in.jsonl, id: id}", "input:\n  - path: in.jsonl"),
        "2: input: must be a mapping of keys to values, such as {path: …}",
    ),
    "a unit in words": (CONFIG + "timeout: 10 minutes\n", f"7: timeout: {DURATION}"),
    "a date for a duration": (CONFIG + "deadline: 2026-12-01\n", f"7: deadline: {DURATION}"),
    "a share in words": (
        CONFIG + "max_failures: 5 percent\n",
        "7: max_failures: must be a whole number from 0, or a share such as 5%",
    ),
    "yes for true": (CONFIG + "strict: yes\n", "7: strict: must be true or false"),
    "a choice that is none": (
        CONFIG + "too_long: truncat\n", "7: too_long: must be 'error' or 'truncate' (did you mean 'truncate'?)"
    ),
    "a number for a name": (changed("text-embedding-3-small", "4"), "5: model: must be text: put quotes around it"),
    "a list for a text": (
        changed('"{{ body }}"', '["{{ subject }}", "{{ body }}"]'), "6: text: must be one text, not a list"
    ),
    "a text for a list": (changed("keep: [id]", "keep: id"), "3: output.keep: must be a list, such as [a, b]"),
    "a brace of a template forgotten": (
        changed("{{ body }}", "{{ body }"), "6: text: line 1 of the template: unexpected '}'"
    ),
    "a filter that is none": (
        changed("{{ body }}", "{{ body | lowercase }}"), "6: text: line 1 of the template: No filter named 'lowercase'."
    ),
    "no quotes around a template": (
        changed('"{{ body }}"', "{{ body }}"), '6: put quotes around a text that begins with {{: "{{ … }}"'
    ),
    "no quotes around two": (changed('"{{ body }}"', "{{ subject }}: {{ body }}"), f"6: {QUOTES}"),
    "no quotes around a colon": (changed('"{{ body }}"', "Ticket: {{ body }}"), f"6: {QUOTES}"),
    "a quote not closed": (changed('{{ body }}"', "{{ body }}"), '6: the " that opens here is not closed'),
    "a brace not closed": (
        changed("keep: [id]}", "keep: [id]"),
        "3: the { that opens here is not closed, or a comma is missing in it",
    ),
    "a tab": (
        changed("input: {path: in.jsonl, id: id}", "input:\n\tpath: in.jsonl"),
        "3: a tab cannot indent YAML: use spaces",
    ),
    "an indent too few": (CONFIG + "limits:\n  rpm: 5\n tpm: 6\n", "9: is indented unlike any line above it"),
    "no space behind a colon": (
        changed("model: text", "model:text"), "5: a space is missing behind the colon: write `key: value`"
    ),
    "an equals sign": (changed("model: text", "model = text"), "5: a key ends in a colon: write `key: value`"),
    "a space that does not break": (
        changed("model: ", "model:\u00a0"), "5: holds a no-break space: write a plain one"
    ),
    "a variable of the shell": (
        CONFIG + "limits: {rpm: ${RPM}}\n", "7: variables are not filled in here: set PIPELINE_…, or use --set"
    ),
    "a key twice": (CONFIG + "model: other\n", "7: model: is given twice"),
    "a key twice in a group": (CONFIG + "limits: {rpm: 1, rpm: 2}\n", "7: limits.rpm: is given twice"),
    "a tag": (CONFIG + "limits: !include limits.yaml\n", "7: has a tag (`!…`), which no key takes"),
    "two configs in one": (f"{CONFIG}---\n{CONFIG}", "7: begins a second document: a config is one"),
    "a key that must be there": (changed("job: embeddings\n", ""), "1: job: is missing"),
    "a key of a group that must be there": (changed("path: in.jsonl, ", ""), "2: input.path: is missing"),
    "an endpoint misspelt": (
        changed("openai", "opnai"), "4: endpoint: no endpoint 'opnai' in endpoints.yaml (did you mean 'openai'?)"
    ),
    "an endpoint that nobody knows": (
        changed("openai", "azure"),
        "4: endpoint: no endpoint 'azure' in endpoints.yaml; there are openai, simulator",
    ),
    "a job misspelt": (
        changed("job: embeddings", "job: embedding"),
        f"1: job: no job 'embedding' (did you mean 'embeddings'?); {JOBS}",
    ),
    "a job's file": (
        changed("job: embeddings", "job: jobs/embeddings.py"),
        "1: job: must be the name of a file in jobs/, or your.module:YourJob",
    ),
    "Windows line ends": (
        (CONFIG + "limits: {tmp: 5}\n").replace("\n", "\r\n"), "7: limits.tmp: unknown key (did you mean 'tpm'?)"
    ),
    "an empty file": ("", "1: the file is empty: it must hold keys and values"),
    "the input": ('{"id": "a", "body": "x"}\n{"id": "b", "body": "y"}\n', f"1: {RECORDS}"),
    "an input of one line": ('{"id": "a", "body": "x"}\n', f"1: {STRANGER}"),
    "the endpoints": ("openai: {base_url: https://api.openai.com/v1}\n", f"1: {STRANGER}"),
    "another JSON file": ('{\n  "scripts": {"build": "tsc"}\n}\n', f"1: {STRANGER}"),
    "a list": ("- job: embeddings\n", "1: must be a mapping of keys to values: `key: value`"),
    "a program": ("import pipeline\nprint(5)\n", "1: must be a mapping of keys to values: `key: value`"),
}  # fmt: skip


def refusal(content: bytes) -> str:
    """What is said of a config, loaded and with its job looked up, as `pipeline config check` does it."""
    path = Path("c.yaml")
    path.write_bytes(content)
    with pytest.raises(UsageError) as caught:
        check(path)
    return caught.value.message


def check(path: Path) -> None:
    loaded = load(path, {}, {"OPENAI_API_KEY": "key"})
    resolve_job(loaded.config.job, loaded)


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_has_one_message_with_its_place_and_what_to_do(
    mistake: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    text, message = MISTAKES[mistake]

    said = refusal(text.encode())

    assert said == f"c.yaml:{message}"
    assert re.fullmatch(r"c\.yaml:\d+: .+", said)
    assert KEY not in said


def test_bytes_that_are_no_text_and_files_too_large_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)

    assert refusal(CONFIG.encode("utf-16")) == "c.yaml:1: is not UTF-8: save it as that"
    assert refusal(b"#" * 300_000) == "c.yaml: is larger than 256 KiB: no config is; is it the input?"


@pytest.mark.parametrize("text", [CONFIG, CONFIG.replace("\n", "\r\n"), f"\ufeff{CONFIG}", CONFIG + "limits:\nbudget:"])
def test_what_is_no_mistake_loads(text: str, tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_bytes(text.encode())

    assert load(tmp_path / "c.yaml", {}, {}).config.model == "text-embedding-3-small"
