"""Fuzzing: lines, templates, answers, headers, ledgers and output tails, from a seed and without any other state.

`python -m tests.faults.fuzz --help` runs it at any scale; `tests/faults/test_fuzz.py` is the slice for every day.
"""
