"""Templates: every value is escaped and made visible, and the page may use its own style sheet and nothing else."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

TEMPLATES = Path(__file__).parent / "templates"


def render(template: str, values: Mapping[str, object]) -> str:
    """Return a template filled with values."""
    return environment(TEMPLATES).get_template(template).render(values, style=style(), policy=policy())


def environment(*folders: Path) -> Environment:
    """Return what reads the templates of these folders, the first first."""
    return Environment(
        loader=FileSystemLoader(folders),
        autoescape=True,
        finalize=_finalize,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


@cache
def style() -> Markup:
    """Return the style sheet."""
    return Markup((TEMPLATES / "style.css").read_text(encoding="utf-8"))  # noqa: S704 - a file of ours


def policy(*more: str) -> str:
    """Return the Content-Security-Policy of a page with that style sheet."""
    digest = base64.b64encode(hashlib.sha256(style().encode()).digest()).decode()
    own = (
        "default-src 'none'",
        f"style-src 'sha256-{digest}'",
        "img-src data:",
        "base-uri 'none'",
        "form-action 'none'",
    )
    return "; ".join([*own, *more])


def visible(text: str) -> str:
    """Return a text with every character escaped that would not show, or would turn the direction of what follows."""
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() or each == "\n" else _escaped(each) for each in text)


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode()


def _finalize(value: object) -> object:
    return visible(value) if type(value) is str else value
