from __future__ import annotations

from datetime import UTC, date, datetime
from pathlib import Path

import pytest

from pipeline.builtin_files import builtin
from pipeline.config import Loaded, load, shutdown_before
from pipeline.config.document import read_document
from pipeline.config.shutdowns import Entry
from pipeline.errors import UsageError

CONFIG = (
    'job: chat\ninput: {path: in.jsonl}\noutput: {path: out.jsonl}\nendpoint: openai\nmodel: m\nprompt: "{{ a }}"\n'
)
LATER = datetime(2027, 6, 1, tzinfo=UTC)


def loaded(folder: Path, endpoint: str = "openai", **environ: str) -> Loaded:
    path = folder / "c.yaml"
    path.write_text(CONFIG)
    return load(path, {"endpoint": endpoint}, environ)


@pytest.mark.parametrize(
    ("model", "day"),
    [
        ("gpt-4o", "2027-01-14"),
        ("gpt-4o-2024-08-06", "2027-01-14"),
        ("ft:gpt-4o-mini-2024-07-18:org::abc", "2027-01-14"),
        ("gpt-4-0613", "2026-10-23"),
        ("gpt-4-0314", "2026-03-26"),
        ("gpt-5-mini-2025-08-07", "2026-12-11"),
        ("gpt-3.5-turbo-instruct", "2026-09-28"),
    ],
)
def test_a_model_its_snapshots_and_its_fine_tuned_models_end_on_one_day(tmp_path: Path, model: str, day: str) -> None:
    found = shutdown_before(loaded(tmp_path), model, LATER)

    assert found is not None
    assert (found.model, found.day) == (model, day)


@pytest.mark.parametrize("model", ["gpt-6-luna", "gpt-4o-transcribe", "gpt-5", "gpt-5.6-luna-2026-08-01", "o", ""])
def test_nothing_is_known_of_other_models(tmp_path: Path, model: str) -> None:
    assert shutdown_before(loaded(tmp_path), model, LATER) is None


def test_another_providers_model_of_the_same_name_is_another_model(tmp_path: Path) -> None:
    assert shutdown_before(loaded(tmp_path, "simulator"), "gpt-4o", LATER) is None


def test_only_what_ends_by_the_day_of_the_end_is_a_shutdown(tmp_path: Path) -> None:
    run = loaded(tmp_path)
    ends = [datetime(2027, 1, day, hour, tzinfo=UTC) for day, hour in [(13, 23), (14, 0)]]

    assert [shutdown_before(run, "gpt-4o", end) is not None for end in ends] == [False, True]


def test_the_warning_names_day_replacement_and_source(tmp_path: Path) -> None:
    found = shutdown_before(loaded(tmp_path), "gpt-4o", LATER)

    assert found is not None
    assert found.warning(date(2027, 1, 13)) == (
        "model gpt-4o is switched off on 2027-01-14: gpt-6-luna replaces it (models.yaml, 2026-11-20)"
    )
    assert "was to be switched off on 2027-01-14" in found.warning(date(2027, 1, 14))


def test_a_table_of_the_users_comes_first(tmp_path: Path) -> None:
    table = tmp_path / "pipeline" / "models.yaml"
    table.parent.mkdir()
    table.write_text("openai:\n  gpt-4o: {shutdown: 2027-03-01, checked: 2027-01-02}\n")
    run = loaded(tmp_path, XDG_CONFIG_HOME=str(tmp_path))

    found = [shutdown_before(run, model, LATER) for model in ("gpt-4o", "gpt-4.1")]
    assert [each and each.day for each in found] == ["2027-03-01", "2027-01-14"]


def test_a_table_that_is_none_is_refused_with_file_line_and_key(tmp_path: Path) -> None:
    table = tmp_path / "pipeline" / "models.yaml"
    table.parent.mkdir()
    table.write_text("openai:\n  gpt-4o: {shutdown: soon, checked: 2027-01-02}\n")

    with pytest.raises(UsageError, match=r"models\.yaml:2: openai\.gpt-4o\.shutdown: must be a day"):
        shutdown_before(loaded(tmp_path, XDG_CONFIG_HOME=str(tmp_path)), "gpt-4o", LATER)


def test_a_table_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    table = tmp_path / "pipeline" / "models.yaml"
    table.parent.mkdir()
    table.write_bytes(b"openai:\n  \xff: {}\n")

    with pytest.raises(UsageError, match=r"models\.yaml:2: is not UTF-8"):
        shutdown_before(loaded(tmp_path, XDG_CONFIG_HOME=str(tmp_path)), "gpt-4o", LATER)


def test_every_entry_that_comes_with_the_program_is_one() -> None:
    data = read_document(builtin("models.yaml")).data

    assert [Entry.model_validate(entry) for models in data.values() for entry in models.values()]
