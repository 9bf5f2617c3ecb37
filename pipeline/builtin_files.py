"""The files that come with the package: `configs/` of a checkout, `pipeline/builtin/` of an installed wheel.

And the folder of the user's own, which are asked before them.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

_PACKAGE = Path(__file__).parent


def builtin(name: str) -> Path:
    """Return where the built-in file `name` is, such as `endpoints.yaml`.

    Raises:
        FileNotFoundError: The installation lacks it.
    """
    places = (_PACKAGE / "builtin" / name, _PACKAGE.parent / "configs" / name)
    for place in places:
        if place.is_file():
            return place
    raise FileNotFoundError(f"the installation lacks {name}; looked at {places[0]} and {places[1]}")


def config_home(environ: Mapping[str, str]) -> Path | None:
    """Return `$XDG_CONFIG_HOME`, else `~/.config`; None where there is no home."""
    home = environ.get("XDG_CONFIG_HOME", "")
    if Path(home).is_absolute():
        return Path(home)
    return Path(environ["HOME"], ".config") if environ.get("HOME") else None
