"""`python -m tests.faults [pytest arguments]`: runs the fault suite and prints the table of rows and results."""

from __future__ import annotations

import sys

import pytest

if __name__ == "__main__":
    sys.exit(pytest.main(["tests/faults", "--rows", "-q", *sys.argv[1:]]))
