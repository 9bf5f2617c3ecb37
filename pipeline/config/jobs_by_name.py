"""From the name of a job to its class. Jobs are imported here, by name, and nowhere else."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from types import ModuleType
from typing import NoReturn

from pipeline.config.fields import nearest
from pipeline.config.loading import Loaded
from pipeline.errors import UsageError
from pipeline.job import Job, JobSpec

_MEMBERS = ("path", "max_items", "render", "body", "split", "fields")


def resolve_job(name: str, loaded: Loaded) -> Callable[[JobSpec], Job]:
    """Return the class of a job.

    Args:
        name: `embeddings` is class Embeddings in jobs/embeddings.py; `your.module:YourJob` is a class of yours.
        loaded: Says where the name came from. Modules are also looked for in the working directory and in the
            config's folder, after all other places.

    Raises:
        UsageError: There is no such module or class, it cannot be imported, or it is no job.
    """
    place = loaded.origins["job"]

    def refuse(problem: str) -> NoReturn:
        raise UsageError(f"{place}: job: {problem}", code="invalid_job")

    module_name, _, class_name = name.partition(":") if ":" in name else (f"jobs.{name}", "", _class_name(name))
    _look_also_in(loaded.folder)
    module = _imported(module_name, name, refuse)
    job = vars(module).get(class_name)
    if not isinstance(job, type):
        classes = [each for each, value in vars(module).items() if isinstance(value, type)]
        refuse(f"{module.__file__} has no class {class_name}{nearest(class_name, classes)}")
    missing = [member for member in _MEMBERS if not hasattr(job, member)]
    if missing:
        refuse(f"{class_name} is no job: it has no {', '.join(missing)}")
    return job


def _class_name(name: str) -> str:
    return "".join(word[:1].upper() + word[1:] for word in name.split("_"))


def _look_also_in(folder: Path) -> None:
    """At the end of the path, so that a file of the user's never takes the place of a module of ours."""
    try:
        places = [str(Path.cwd()), os.path.realpath(folder)]
    except FileNotFoundError:
        places = []
    sys.path.extend(place for place in dict.fromkeys(places) if place not in sys.path)
    importlib.invalidate_caches()


def _imported(module_name: str, name: str, refuse: Callable[[str], NoReturn]) -> ModuleType:
    try:
        return importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if not error.name or not f"{module_name}.".startswith(f"{error.name}."):
            refuse(f"{module_name} needs the module {error.name}, which is not installed")
        refuse(f"no module {module_name!r}" if ":" in name else _no_job(name))
    except Exception as error:  # noqa: BLE001 - whatever the user's own module raises when it is imported
        refuse(f"{module_name} cannot be imported: {_where(error)}")


def _no_job(name: str) -> str:
    jobs = importlib.import_module("jobs")
    if jobs.__file__ is not None:
        return f"{jobs.__file__} hides the built-in jobs: remove it, or rename its folder"
    names = sorted(set(_modules(jobs.__path__)))
    return f"no job {name!r}{nearest(name, names)}; there are {', '.join(names)}, and your.module:YourJob"


def _modules(folders: Iterable[str]) -> Iterable[str]:
    for folder in folders:
        for file in Path(folder).glob("*.py"):
            if not file.stem.startswith("_"):
                yield file.stem


def _where(error: Exception) -> str:
    """The class of an error and its innermost place; its text may show values."""
    if isinstance(error, SyntaxError):
        return f"{error.filename}:{error.lineno}: {error.msg}"
    traceback = error.__traceback__
    while traceback is not None and traceback.tb_next is not None:
        traceback = traceback.tb_next
    if traceback is None:  # pragma: no cover - a raised error has one
        return type(error).__name__
    return f"{traceback.tb_frame.f_code.co_filename}:{traceback.tb_lineno}: {type(error).__name__}"
