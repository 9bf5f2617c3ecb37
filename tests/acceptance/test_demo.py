"""The README's first command, with the network cut off."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.acceptance.command import environment, read_lines

pytest.importorskip("wordllama", reason="the extra `local` is not installed")


def can_cut_the_network() -> bool:
    return (
        shutil.which("unshare") is not None and subprocess.run(["unshare", "-n", "true"], check=False).returncode == 0
    )


@pytest.mark.skipif(not can_cut_the_network(), reason="unshare -n is not allowed here")
def test_the_demo_needs_no_key_and_no_network(tmp_path: Path) -> None:
    command = f"ip link set lo up 2>/dev/null || ifconfig lo up || exit 9; exec {sys.executable} -m pipeline demo"
    done = subprocess.run(
        ["unshare", "-n", "sh", "-c", command],
        cwd=tmp_path,
        env=environment(tmp_path),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    lines = read_lines(tmp_path / "out" / "demo.jsonl")
    print("\n" + done.stdout + done.stderr)

    assert done.returncode == 0
    assert len(lines) == 500
    assert {line["model"] for line in lines} == {"simulator-wordllama-256"}
    assert int(done.stdout.split(" of 30 tickets")[0].split()[-1]) >= 24
