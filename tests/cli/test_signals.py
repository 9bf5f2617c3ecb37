from __future__ import annotations

import subprocess
import sys

PROGRAM = """
import asyncio, os, signal
from pipeline.cli.signals import signals_to
from pipeline.loop import run_loop

class Deaf:
    def __init__(self):
        self.heard = asyncio.Event()
    def interrupt(self, number):
        print("interrupt", signal.Signals(number).name, flush=True)
        self.heard.set()

async def work():
    run = Deaf()
    with signals_to(run, print):
        for number in (signal.SIGHUP, signal.SIGTERM, signal.SIGINT):
            run.heard.clear()
            os.kill(os.getpid(), number)
            await run.heard.wait()

run_loop(work())
"""


def test_two_signals_are_handed_over_and_the_third_ends_the_process() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=60, check=False)

    assert done.returncode == 130
    assert done.stdout.splitlines()[-2:] == ["interrupt SIGTERM", "interrupt SIGTERM"]


def test_the_first_signal_is_answered_once() -> None:
    done = subprocess.run([sys.executable, "-uc", PROGRAM], capture_output=True, text=True, timeout=60, check=False)

    assert done.stdout.count("stopping; what is in flight may still come back") == 1
