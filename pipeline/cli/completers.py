"""What a shell may complete: configs, keys, endpoints, paths. Quick, as a key was pressed, so it guesses by names."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pipeline.builtin_files import builtin, config_home
from pipeline.cli.keys import config_keys

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

    Completer = Callable[[click.Context, click.Parameter, str], list[CompletionItem[str]]]

_NO_CONFIGS = {"endpoints.yaml", "models.yaml", "prices.yaml"}
_MOST = 200
_TOP_KEY = re.compile(r"^([A-Za-z0-9_][\w.-]*)\s*:", re.MULTILINE)


def _item(value: str, *, kind: str = "plain") -> CompletionItem[str]:
    """Return what may stand in place of the word that is typed."""
    from click.shell_completion import CompletionItem  # noqa: PLC0415 - wanted where a key was pressed, by no command

    return CompletionItem(value, kind)


def configs(_context: click.Context, _parameter: click.Parameter, text: str) -> list[CompletionItem[str]]:
    """Complete a config: YAML files by that beginning, also one folder down; any file where there are none."""
    found = [_item(str(path)) for path in islice(_yaml_files(text), _MOST)]
    return found or [_item(text, kind="file")]


def _yaml_files(text: str) -> Iterator[Path]:
    folder, _, start = text.rpartition("/")
    place = Path(folder or "/" if "/" in text else ".")
    for path in sorted(place.glob("*")) if place.is_dir() else ():
        if path.name.startswith(start) and (start.startswith(".") or not path.name.startswith(".")):
            yield from filter(_may_be_config, sorted(path.glob("*")) if path.is_dir() else [path])


def _may_be_config(path: Path) -> bool:
    return path.suffix in {".yaml", ".yml"} and path.name not in _NO_CONFIGS


def paths(kind: str | None) -> Completer | None:
    """Return what completes an option with the metavar `kind`: FILE or DIR."""
    if kind not in {"FILE", "DIR"}:
        return None
    kind_of_path = "file" if kind == "FILE" else "dir"
    return lambda _context, _parameter, text: [_item(text, kind=kind_of_path)]


def assignments(context: click.Context, _parameter: click.Parameter, text: str) -> list[CompletionItem[str]]:
    """Complete KEY=VALUE: the key, and the value where that is one of few."""
    key, equals, value = text.partition("=")
    known = config_keys()
    if not equals:
        return [_item(f"{each}=") for each in known if each.startswith(key)]
    words = endpoints(context) if key == "endpoint" else known.get(key, ())
    return [_item(f"{key}={word}") for word in words if word.startswith(value)]


def endpoints(context: click.Context) -> list[str]:
    """Return the names in the endpoint files that hold for the config on the command line."""
    # A flag that waits for its value has kept click from telling the config from the rest.
    config = next((Path(word) for word in context.args if _may_be_config(Path(word))), Path("config"))
    home, name = config_home(os.environ), "endpoints.yaml"
    places = [config.with_name(name), *([home / "pipeline" / name] if home else []), builtin(name)]
    texts = [place.read_text(errors="replace") for place in places if place.is_file()]
    return list(dict.fromkeys(found for text in texts for found in _TOP_KEY.findall(text)))
