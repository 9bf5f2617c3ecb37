from __future__ import annotations

import shlex
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from pipeline.cli.cron import cron


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "my 100% $folder"
    folder.mkdir()
    monkeypatch.chdir(folder)
    (folder / "c.yaml").touch()
    return folder / "c.yaml"


def printed(*arguments: str) -> Result:
    return CliRunner().invoke(cron, arguments)


def test_a_line_has_absolute_paths_and_survives_cron_and_the_shell(config: Path) -> None:
    line = printed("c.yaml", "--at", "02:30").stdout.rstrip("\n")
    when, command = line[: len("30 2 * * *")], line.removeprefix("30 2 * * * ")

    assert when == "30 2 * * *"
    assert "%" not in command.replace(r"\%", "")
    words = shlex.split(command.replace(r"\%", "%"))
    assert words == ["cd", str(config.parent), "&&", sys.executable, "-m", "pipeline", "run", str(config)]


@pytest.mark.parametrize("when", ["*/15 * * * *", "0 3 * * mon-fri", "@daily"])
def test_a_time_in_crons_own_words_is_taken_as_it_is(when: str, config: Path) -> None:
    assert printed(str(config), "--at", when).stdout.startswith(f"{when} cd ")


@pytest.mark.parametrize("when", ["25:00", "2:60", "noon", "", "* * * *", "* * * * *\n* * * * * rm"])
def test_any_other_time_is_refused(when: str, config: Path) -> None:
    assert printed(str(config), "--at", when).exit_code == 2


def test_a_systemd_timer_runs_at_the_same_time(config: Path) -> None:
    units = printed(str(config), "--at", "2:30", "--systemd").stdout

    assert "OnCalendar=*-*-* 02:30:00" in units
    assert f'"{str(config).replace("%", "%%").replace("$", "$$")}"' in units


def test_systemd_does_not_read_crons_words(config: Path) -> None:
    assert printed(str(config), "--at", "*/15 * * * *", "--systemd").exit_code == 2


def test_a_kubernetes_job_never_runs_twice_at_once(config: Path) -> None:
    manifest = printed(str(config), "--at", "02:30", "--k8s").stdout

    assert 'schedule: "30 2 * * *"' in manifest
    assert "concurrencyPolicy: Forbid" in manifest
