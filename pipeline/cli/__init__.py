"""The command line. Importing it takes click and nothing heavier: `pipeline --help` is quick."""

from __future__ import annotations

import os
import sys
from typing import NoReturn

from pipeline.cli.app import COMPLETING, pipeline
from pipeline.cli.failure import exit_code_of
from pipeline.cli.process import prepare
from pipeline.cli.streams import flush


def main() -> NoReturn:
    """Run the command that `sys.argv` names and exit with its code."""
    prepare()
    if COMPLETING in os.environ:
        from pipeline.cli.completion import register  # noqa: PLC0415 - for when a key is pressed only

        register()
    code = exit_code_of(lambda: pipeline.main(prog_name="pipeline", standalone_mode=False))
    flushed = exit_code_of(flush)
    sys.exit(code or flushed)
