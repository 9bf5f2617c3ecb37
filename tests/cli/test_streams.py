from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.command import COMMAND, environment

SHELL = "exec 2>&1; {}"


def shell(script: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = " ".join(COMMAND)
    return subprocess.run(
        ["bash", "-c", script.replace("PIPELINE", command)],
        cwd=cwd,
        env=environment(cwd),
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


@pytest.mark.parametrize(
    "script",
    [
        "PIPELINE usage --json | true; echo ${PIPESTATUS[0]}",
        "PIPELINE usage --json >&-; echo $?",
        "PIPELINE usage --json >/dev/null 2>&-; echo $?",
        "PIPELINE usage --json >/dev/null <&-; echo $?",
    ],
)
def test_a_closed_stream_is_no_error(script: str, tmp_path: Path) -> None:
    done = shell(script, tmp_path)

    assert (done.stdout, done.stderr) == ("0\n", "")


def test_a_closed_stderr_keeps_the_exit_code(tmp_path: Path) -> None:
    assert shell("PIPELINE nonsense 2>&-; echo $?", tmp_path).stdout == "2\n"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_behind_stdout_is_a_storage_failure(tmp_path: Path) -> None:
    done = shell("PIPELINE usage --json > /dev/full; echo $? >&2", tmp_path)

    assert done.stderr.splitlines() == ["pipeline: cannot write to stdout: No space left on device", "74"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_behind_stderr_changes_no_exit_code(tmp_path: Path) -> None:
    assert shell("PIPELINE nonsense 2> /dev/full; echo $?", tmp_path).stdout == "2\n"


def test_a_closed_descriptor_is_not_given_to_a_file(tmp_path: Path) -> None:
    program = (
        "import os, sys; from pipeline.cli.process import prepare; prepare(); "
        f"os._exit(0 if os.open({os.fspath(tmp_path / 'f')!r}, os.O_CREAT) > 2 else 1)"
    )

    assert subprocess.run(["bash", "-c", f'{sys.executable} -c "{program}" 2>&- >&- <&-'], check=False).returncode == 0


def test_files_are_private_and_there_are_no_core_dumps(tmp_path: Path) -> None:
    program = (
        "import os, resource; from pipeline.cli.process import prepare; prepare(); "
        "open('f', 'w').close(); print(oct(os.stat('f').st_mode & 0o777), resource.getrlimit(resource.RLIMIT_CORE)[0])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=False, umask=0
    )

    assert done.stdout == "0o600 0\n"
