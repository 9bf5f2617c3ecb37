"""Templates: those of nothing but text and bare `{{ names }}` become one string formatting, all others Jinja2's.

Both give the same text. Most templates are of the first kind, and a run of those does not load Jinja2.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from operator import itemgetter

from pipeline.config.unfilled import missing, unusable
from pipeline.errors import UsageError
from pipeline.job import Template
from pipeline.types import Json

_BEGINNING = re.compile(r"\{[{%#]")
_BARE_NAME = re.compile(r"\{\{[ \t\n]*([A-Za-z_][A-Za-z0-9_]*)[ \t\n]*\}\}")
_NO_NAMES = frozenset(
    {"and", "else", "false", "False", "if", "in", "is", "none", "None", "not", "or", "self", "true", "True"}
)
"""Words that mean something else to Jinja2."""


def check_template(source: str) -> str:
    """Return `source` if it is a template. Raises ValueError with what is wrong and where."""
    if _plain(source) is None:
        from pipeline.config import jinja  # noqa: PLC0415 - brings Jinja2, which most templates do not need

        jinja.check(source)
    return source


def compile_template(source: str, key: str) -> Template:
    """Return the function that renders `source`.

    It raises Rejected with code `template` where a record lacks a field, or holds what the template cannot use.

    Args:
        source: The template.
        key: The config key that it comes from; for messages.

    Raises:
        UsageError: It is no template.
    """
    try:
        check_template(source)
    except ValueError as error:
        raise UsageError(f"{key}: {error}", code="invalid_config") from None
    plain = _plain(source)
    if plain is not None:
        return _formatting(*plain, key)
    from pipeline.config import jinja  # noqa: PLC0415 - as above

    return jinja.rendering(source, key)


def _plain(source: str) -> tuple[str, Sequence[str]] | None:
    """The pattern and the names of a template of texts and bare names, or None where there may be more to it."""
    if "\r" in source:
        return None  # Jinja2 has rules for it
    text = source.removesuffix("\n")  # as Jinja2 does
    pattern = []
    names = []
    at = 0
    while (beginning := _BEGINNING.search(text, at)) is not None:
        name = _BARE_NAME.match(text, beginning.start())
        if name is None or name[1] in _NO_NAMES:
            return None
        pattern += [_literal(text[at : beginning.start()]), "%s"]
        names.append(name[1])
        at = name.end()
    return "".join([*pattern, _literal(text[at:])]), names


def _literal(text: str) -> str:
    return text.replace("%", "%%")


def _formatting(pattern: str, names: Sequence[str], key: str) -> Template:
    values = _values(names)

    def render(data: Mapping[str, Json]) -> str:
        try:
            return pattern % values(data)
        except KeyError as error:
            raise missing(key, str(error.args[0])) from None
        except (ValueError, RecursionError) as error:
            raise unusable(key, error) from None

    return render


def _values(names: Sequence[str]) -> Callable[[Mapping[str, Json]], tuple[Json, ...]]:
    if len(names) > 1:
        return itemgetter(*names)
    return lambda data: tuple([data[name] for name in names])
