"""The files that come with the package: `configs/` of a checkout, `pipeline/builtin/` of an installed wheel."""

from __future__ import annotations

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
