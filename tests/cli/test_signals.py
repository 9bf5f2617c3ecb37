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
    with signals_to(run, print, lambda: None):
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


ASKED = """
import os, signal, asyncio
from pipeline.cli.process import prepare
from pipeline.cli.signals import signals_to
from pipeline.loop import run_loop

prepare()
os.kill(os.getpid(), signal.SIGUSR1)

async def work():
    told = asyncio.Event()
    with signals_to(None, print, lambda: (print("so far", flush=True), told.set())):
        os.kill(os.getpid(), signal.SIGUSR1)
        await told.wait()

run_loop(work())
os.kill(os.getpid(), signal.SIGUSR1)
print("alive")
"""


def test_a_question_is_answered_while_the_run_goes_on_and_kills_nobody_before_or_after() -> None:
    done = subprocess.run([sys.executable, "-c", ASKED], capture_output=True, text=True, timeout=60, check=False)

    assert (done.returncode, done.stdout) == (0, "so far\nalive\n")
