"""The command line. Importing it takes click and nothing heavier: `pipeline --help` is quick."""

from __future__ import annotations

import sys
from typing import NoReturn

from pipeline.cli.app import pipeline
from pipeline.cli.failure import exit_code_of
from pipeline.cli.process import prepare
from pipeline.cli.streams import flush


def main() -> NoReturn:
    """Run the command that `sys.argv` names and exit with its code."""
    prepare()
    code = exit_code_of(lambda: pipeline.main(prog_name="pipeline", standalone_mode=False))
    flushed = exit_code_of(flush)
    sys.exit(code or flushed)
