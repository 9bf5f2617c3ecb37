"""What the files of a config must be to each other, and where a run remembers which it has taken."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from pipeline.config.groups import Config
from pipeline.config.origin import Loc
from pipeline.config.paths import Filling, filled, fixed_folder, moves
from pipeline.types import Json

_WILD = frozenset("*?[")


def is_pattern(path: str) -> bool:
    """Whether a path may stand for several files."""
    return not _WILD.isdisjoint(path)


def file_faults(config: Config, data: Json) -> Iterator[tuple[Loc, str]]:
    """Yield what is wrong with the files of a config that is right otherwise.

    Args:
        config: The checked values.
        data: What was checked, with braces in its paths.
    """
    if not config.input.since_last:
        return
    key: Loc = ("input", "since_last")
    if not is_pattern(config.input.path):
        yield key, "takes files of a folder: write input.path with a *, such as inbox/*.jsonl"
    if not moves(data["output"]["path"]):
        yield key, "needs an output of its own for each run: output.path such as out/{now:%Y%m%dT%H%M%S}.jsonl"
    if config.state is not None and not moves(data["state"]):
        yield key, "needs a state of its own for each run: leave `state` out, or put {now:%Y%m%dT%H%M%S} into it"
    if config.limit is not None:
        yield key, "takes whole files: leave `limit` out"


def moving(data: Json) -> bool:
    """Whether any path of a right config changes with the day or the moment of the run."""
    paths = [data["input"]["path"], data["output"]["path"], data.get("state"), data["input"].get("taken")]
    return any(moves(path) for path in paths if path is not None)


def with_taken(config: Config, data: Json, filling: Filling) -> Config:
    """Return the config with the default of `input.taken`."""
    if not config.input.since_last or config.input.taken is not None:
        return config
    folder = Path(filled(fixed_folder(data["output"]["path"]), filling))
    taken = str(folder / f"{config.name}.taken")
    return config.model_copy(update={"input": config.input.model_copy(update={"taken": taken})})
