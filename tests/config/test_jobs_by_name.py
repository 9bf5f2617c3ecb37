from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.config import resolve_job
from pipeline.errors import UsageError
from tests.config.files import loaded

JOB = """\
class {name}:
    path = "/x"
    max_items = 1
    def __init__(self, spec): self.spec = spec
    def render(self, record): ...
    def body(self, items): ...
    def split(self, items, body): ...
    def fields(self, answer): ...
"""


@pytest.fixture(autouse=True)
def _imports_are_undone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    path, modules = list(sys.path), set(sys.modules)
    monkeypatch.chdir(tmp_path)
    yield
    sys.path[:] = path
    for name in set(sys.modules) - modules:
        if name.startswith(("jobs", "mine", "broken")):
            del sys.modules[name]


def module(folder: Path, name: str, text: str) -> None:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def refusal(folder: Path, job: str) -> str:
    run = loaded(folder, flags={"job": job})
    with pytest.raises(UsageError) as caught:
        resolve_job(job, run)
    assert caught.value.exit_code == 2
    return caught.value.message.replace(f"{folder}/", "")


@pytest.mark.parametrize("name", ["embeddings", "completions", "chat", "moderations"])
def test_the_jobs_of_the_package_are_found_by_name(tmp_path: Path, name: str) -> None:
    job = resolve_job(name, loaded(tmp_path, flags={"job": name}))
    assert (job.__module__, job.__name__) == (f"jobs.{name}", name.capitalize())


def test_a_file_in_jobs_of_the_working_directory_is_found_by_name(tmp_path: Path) -> None:
    module(tmp_path, "jobs/my_rating.py", JOB.format(name="MyRating"))
    assert resolve_job("my_rating", loaded(tmp_path, flags={"job": "my_rating"})).__name__ == "MyRating"


def test_a_module_beside_the_config_is_found(tmp_path: Path) -> None:
    folder = tmp_path / "configs"
    module(folder, "mine_deep/rate.py", JOB.format(name="Rate"))
    assert resolve_job("mine_deep.rate:Rate", loaded(folder, flags={"job": "mine_deep.rate:Rate"})).__name__ == "Rate"


def test_a_file_of_the_users_takes_no_other_modules_place(tmp_path: Path) -> None:
    module(tmp_path, "jobs/embeddings.py", "raise SystemExit")
    module(tmp_path, "orjson.py", "raise SystemExit")
    assert resolve_job("embeddings", loaded(tmp_path)).__name__ == "Embeddings"
    assert str(tmp_path) == sys.path[-1]


def test_an_unknown_name_gets_the_nearest_one_and_all_others(tmp_path: Path) -> None:
    module(tmp_path, "jobs/own.py", JOB.format(name="Own"))
    assert refusal(tmp_path, "embedings") == (
        "command line: job: no job 'embedings' (did you mean 'embeddings'?); "
        "there are chat, completions, embeddings, moderations, own, and your.module:YourJob"
    )


def test_the_place_of_the_name_is_the_line_of_the_file(tmp_path: Path) -> None:
    run = loaded(tmp_path)
    with pytest.raises(UsageError) as caught:
        resolve_job("zzz", run)
    assert caught.value.message.startswith(f"{tmp_path}/run.yaml:1: job: no job 'zzz'; there are ")


def test_an_unknown_module_is_named(tmp_path: Path) -> None:
    assert refusal(tmp_path, "mine.none:X") == "command line: job: no module 'mine.none'"


def test_an_unknown_class_gets_the_nearest_one(tmp_path: Path) -> None:
    module(tmp_path, "mine_a.py", JOB.format(name="Rate"))
    assert refusal(tmp_path, "mine_a:Rat") == "command line: job: mine_a.py has no class Rat (did you mean 'Rate'?)"


def test_a_class_that_is_no_job_is_told_what_it_lacks(tmp_path: Path) -> None:
    module(tmp_path, "mine_b.py", "class X:\n    path = ''\n    def render(self): ...\n")
    assert refusal(tmp_path, "mine_b:X") == "command line: job: X is no job: it has no max_items, body, split, fields"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("import broken_none\n", "mine_c needs the module broken_none, which is not installed"),
        ("x = 1\ny = undefined\n", "mine_c cannot be imported: mine_c.py:2: NameError"),
        ("x = (\n", "mine_c cannot be imported: mine_c.py:1: '(' was never closed"),
        ("raise ValueError('sk-secret')\n", "mine_c cannot be imported: mine_c.py:1: ValueError"),
    ],
)
def test_a_module_that_cannot_be_imported_says_where(tmp_path: Path, text: str, problem: str) -> None:
    module(tmp_path, "mine_c.py", text)
    assert refusal(tmp_path, "mine_c:X") == f"command line: job: {problem}"
