"""The Python API: the engine of the command for scripts, notebooks and programs.

A bare name blocks (`run`, `plan`), a name with an `a` in front is awaited (`arun`, `aplan`), and `open_run` is either,
by the `with` or the `async with` in front of it.
"""
