"""A program that never ends, and has started another that does not either."""

from __future__ import annotations

import sys
from pathlib import Path

_CODE = """
import os, subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
with open("pids.tmp", "w") as file:
    file.write(f"{os.getpid()} {child.pid}")
os.rename("pids.tmp", "pids")
time.sleep(600)
"""
COMMAND = [sys.executable, "-c", _CODE]
"""Once it runs, its working directory holds `pids`: its own number and its child's."""


def has_ended(pid: str) -> bool:
    """Whether a process is gone, or a zombie that nobody has fetched yet."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True
