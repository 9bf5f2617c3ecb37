from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from ruamel.yaml import YAML

from pipeline.cli.cron import cron
from pipeline.cli.scheduled import local_zone
from pipeline.types import Json

CONFIG = """\
job: embeddings
input: {path: data/in.jsonl}
output: {path: out/out.jsonl}
endpoint: openai
model: text-embedding-3-small
text: "{{ text }}"
drain: 90
"""
SCHEMAS = os.environ.get("PIPELINE_TEST_KUBERNETES")


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "my 100% $folder"
    folder.mkdir()
    monkeypatch.chdir(folder)
    (folder / "c.yaml").write_text(CONFIG)
    return folder / "c.yaml"


def printed(*arguments: str) -> Result:
    return CliRunner().invoke(cron, arguments)


def line(*arguments: str) -> str:
    """The line that cron reads, of all that is printed."""
    [found] = [each for each in printed(*arguments).stdout.splitlines() if not each.startswith("#")]
    return found


def test_a_line_has_absolute_paths_and_survives_cron_and_the_shell(config: Path) -> None:
    found = line("c.yaml", "--at", "02:30")
    command = found.removeprefix("02:30 ")

    assert found.startswith("30 2 * * * ")
    command = found.removeprefix("30 2 * * * ")
    assert "%" not in command.replace(r"\%", "")
    words = shlex.split(command.replace(r"\%", "%"))
    assert words[:9] == ["umask", "077", "&&", "cd", str(config.parent), "&&", sys.executable, "-m", "pipeline"]
    assert words[9:11] == ["run", str(config)]
    assert words[-2:] == [f">>{config.parent / 'c.log'}", "2>&1"]


def test_all_of_it_can_be_pasted_and_says_when_it_comes(config: Path) -> None:
    lines = printed("c.yaml", "--at", "02:30", "--log", "/var/log/x.log").stdout.splitlines()

    assert lines[0] == f"# c: at 02:30 every day, in {local_zone().name}, the time zone of this machine"
    assert re.fullmatch(r"# next: (\w{3} \d{4}-\d\d-\d\d 02:30 \w+(, )?){3}", lines[1])
    assert lines[2] == "# A line for each run that had anything to do goes to /var/log/x.log"
    assert lines[3] == f"# cron sets no OPENAI_API_KEY: put it into {config.parent / '.env'} (mode 0600)"
    assert not lines[4].startswith("#")
    assert len(lines) == 5


def test_a_key_beside_the_config_is_not_asked_for(config: Path) -> None:
    (config.parent / ".env").write_text("OPENAI_API_KEY=k\n")
    (config.parent / ".env").chmod(0o600)

    assert "OPENAI_API_KEY" not in printed("c.yaml", "--at", "@daily").stdout


@pytest.mark.parametrize(
    ("when", "cron_time"),
    [("*/15 * * * *", "*/15 * * * *"), ("0 3 * * MON-fri", "0 3 * * mon-fri"), ("@daily", "@daily")],
)
def test_a_time_in_crons_own_words_is_taken_as_it_is(when: str, cron_time: str, config: Path) -> None:
    assert line(str(config), "--at", when).startswith(f"{cron_time} umask 077 && cd ")


@pytest.mark.parametrize("when", ["25:00", "2:60", "noon", "", "* * * *", "@reboot", "* * * * *\n* * * * * rm"])
def test_any_other_time_is_refused(when: str, config: Path) -> None:
    assert printed(str(config), "--at", when).exit_code == 2


def test_a_wrong_field_is_named(config: Path) -> None:
    assert "--at: hour: '25' is not one of 0 to 23" in printed(str(config), "--at", "0 25 * * *").stderr


def test_a_rare_run_waits_for_another_and_a_frequent_one_does_not(config: Path) -> None:
    assert "--lock-wait 10m" in line(str(config), "--at", "02:30")
    assert "--lock-wait" not in line(str(config), "--at", "*/5 * * * *")
    assert "--lock-wait" not in line(str(config), "--at", "30,45 2 * * *")
    assert line(str(config), "--at", "02:30", "--", "--lock-wait=5m").count("--lock-wait") == 1


def test_flags_of_run_are_carried_over_and_checked(config: Path) -> None:
    good = line(str(config), "--at", "02:30", "--", "--budget", "5", "-q", "--set", "tags.team=a b")
    misspelt = printed(str(config), "--at", "02:30", "--", "--bugdet", "5")
    wrong = printed(str(config), "--at", "02:30", "--", "--rpm", "0")
    fresh = printed(str(config), "--at", "02:30", "--", "--fresh")

    assert "--budget 5 -q --set 'tags.team=a b' >>" in good
    assert "Only what is wrong goes to" in printed(str(config), "--at", "02:30", "--", "-q").stdout
    assert misspelt.exit_code == 2
    assert "limits.rpm: must be at least 1" in str(wrong.exception)
    assert "--fresh is not for a scheduler" in fresh.stderr


def test_a_config_that_would_be_refused_at_night_is_refused_now(config: Path) -> None:
    config.write_text(CONFIG + "bugdet: {hard_usd: 5}\n")
    misspelt = printed(str(config), "--at", "02:30")
    config.write_text(CONFIG.replace("data/in.jsonl", "'-'"))
    stdin = printed(str(config), "--at", "02:30")

    assert "did you mean 'budget'?" in str(misspelt.exception)
    assert "a scheduler has no standard input" in str(stdin.exception)


def test_a_command_too_long_for_cron_is_refused(config: Path) -> None:
    long = printed(str(config), "--at", "02:30", "--", *["--set", "tags.x=" + "y" * 1000])

    assert "cron takes 998" in str(long.exception)


def units(*arguments: str) -> dict[str, str]:
    """The units that are printed, by the name of their file."""
    text = printed("--systemd", *arguments).stdout
    pieces = re.split(r"^# (\S+\.(?:service|timer))$", text, flags=re.MULTILINE)
    return dict(zip(map(os.path.basename, pieces[1::2]), pieces[2::2], strict=True))


def test_a_systemd_timer_runs_at_the_same_time(config: Path) -> None:
    found = units(str(config), "--at", "2:30")

    assert "OnCalendar=*-*-* 02:30:00\n" in found["pipeline-c.timer"]
    service = found["pipeline-c.service"]
    assert f'"{str(config).replace("%", "%%").replace("$", "$$")}"' in service
    assert "TimeoutStopSec=120\n" in service, "the drain of this config, and time to commit"
    assert "SuccessExitStatus=75\n" in service


def test_systemd_takes_any_schedule_of_cron(config: Path) -> None:
    timer = units(str(config), "--at", "*/30 3 13 * fri")["pipeline-c.timer"]

    assert re.findall("OnCalendar=(.*)", timer) == ["*-*-13 03:00,30:00", "Fri *-*-* 03:00,30:00"]


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="no systemd-analyze")
@pytest.mark.parametrize("at", ["02:30", "*/7 1-5 13 * fri", "@monthly"])
def test_systemd_itself_finds_nothing_wrong_with_the_units(config: Path, tmp_path: Path, at: str) -> None:
    found = units(str(config), "--at", at, "--", "--set", 'tags.x=$HOME %n "quoted"')
    files = [tmp_path / name for name in found]
    for file in files:
        file.write_text(found[file.name])
    said = subprocess.run(
        ["systemd-analyze", "verify", *files], capture_output=True, text=True, timeout=60, check=False
    )

    assert (said.returncode, said.stdout, said.stderr) == (0, "", "")


def manifests(*arguments: str) -> list[Json]:
    return list(YAML(typ="safe", pure=True).load_all(printed("--k8s", "--image", "me/pipeline:1", *arguments).stdout))


def test_a_kubernetes_job_never_runs_twice_at_once_and_stops_for_a_person(config: Path) -> None:
    claim, job = manifests(str(config), "--at", "02:30", "--", "--budget", "5")
    spec = job["spec"]
    pod = spec["jobTemplate"]["spec"]["template"]["spec"]
    [container] = pod["containers"]

    assert (spec["schedule"], spec["concurrencyPolicy"]) == ("30 2 * * *", "Forbid")
    assert spec["timeZone"] == local_zone().name
    rules = spec["jobTemplate"]["spec"]["podFailurePolicy"]["rules"]
    assert {"containerName": "pipeline", "operator": "In", "values": [2, 6]} in [
        each.get("onExitCodes") for each in rules
    ]
    assert pod["terminationGracePeriodSeconds"] == 120
    assert container["command"] == ["pipeline", "run", "/config/c.yaml", "--stats", "900", "--budget", "5"]
    assert container["image"] == "me/pipeline:1"
    assert container["env"][1]["valueFrom"]["secretKeyRef"]["key"] == "OPENAI_API_KEY"
    mounted = {mount["mountPath"]: mount["name"] for mount in container["volumeMounts"]}
    assert mounted == {"/work": "work", "/config": "config", "/tmp": "tmp"}
    assert {volume["name"] for volume in pod["volumes"]} == set(mounted.values())
    assert pod["volumes"][0]["persistentVolumeClaim"]["claimName"] == claim["metadata"]["name"]


def test_kubernetes_needs_an_image_and_paths_of_its_own(config: Path) -> None:
    without = printed(str(config), "--at", "02:30", "--k8s")
    config.write_text(CONFIG.replace("out/out.jsonl", '"{here}/out.jsonl"'))
    here = printed(str(config), "--at", "02:30", "--k8s", "--image", "x")
    days = printed(str(config), "--at", "0 3 */2 * 1", "--k8s", "--image", "x")

    assert "--k8s takes --image" in without.stderr
    assert "output.path: " in str(here.exception)
    assert days.exit_code != 0


@pytest.mark.skipif(SCHEMAS is None, reason="PIPELINE_TEST_KUBERNETES names no folder with kubernetes-validate")
@pytest.mark.parametrize("at", ["02:30", "*/15 * * * 7"])
def test_kubernetes_own_schema_finds_nothing_wrong(config: Path, tmp_path: Path, at: str) -> None:
    shown = printed(str(config), "--at", at, "--k8s", "--image", "me/pipeline:1").stdout
    (tmp_path / "job.yaml").write_text(shown)
    said = subprocess.run(
        [sys.executable, "-m", "kubernetes_validate", "--strict", str(tmp_path / "job.yaml")],
        env={**os.environ, "PYTHONPATH": str(SCHEMAS)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )

    assert said.returncode == 0, said.stdout + said.stderr
    assert said.stdout.count("passed") == 2
