"""Jinja2 templates in a sandbox: no files, no attributes of Python, bounded output, undefined names are errors.

A template made of nothing but text and bare `{{ names }}` becomes one string formatting; the others are rendered by
Jinja2. Both give the same text.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from operator import itemgetter

from jinja2 import StrictUndefined, TemplateError, TemplateSyntaxError, UndefinedError, nodes
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment

from pipeline.errors import Rejected, UsageError
from pipeline.job import Template
from pipeline.types import Json

MOST_CHARACTERS = 16 * 1024 * 1024
"""The longest text that a template may make."""

_MOST_BITS = 4_096
_LOADS = (nodes.Include, nodes.Import, nodes.FromImport, nodes.Extends)
_FAULTS = (
    TemplateError,
    TypeError,
    ValueError,
    ArithmeticError,
    LookupError,
    AttributeError,
    RecursionError,
    NameError,
    MemoryError,
)
"""What an expression can raise on a value that it was not made for; NameError for a number that is infinite."""
_RANDOM = ("lipsum", "cycler", "joiner", "dict")


class _Missing(StrictUndefined):
    """Says only its name: Jinja2's own text may show values."""

    __slots__ = ()

    @property
    def _undefined_message(self) -> str:
        return str(self._undefined_name)


class _Sandbox(ImmutableSandboxedEnvironment):
    """Bounds what one multiplication or power can make, also where Jinja2 would compute it beforehand."""

    intercepted_binops = frozenset({"*", "**"})

    def call_binop(self, context: Context, operator: str, left: object, right: object) -> object:
        excessive = _repeats_too_often(left, right) if operator == "*" else _grows_too_much(left, right)
        if excessive:
            raise OverflowError(operator)
        return super().call_binop(context, operator, left, right)


def _repeats_too_often(left: object, right: object) -> bool:
    if isinstance(left, int):
        left, right = right, left
    return isinstance(left, str | list | tuple) and isinstance(right, int) and len(left) * right > MOST_CHARACTERS


def _grows_too_much(base: object, exponent: object) -> bool:
    return isinstance(base, int) and isinstance(exponent, int) and base.bit_length() * exponent > _MOST_BITS


@cache
def _environment() -> _Sandbox:
    environment = _Sandbox(undefined=_Missing, autoescape=False)
    for name in _RANDOM:
        del environment.globals[name]
    # The same record must give the same request when a run is resumed.
    del environment.filters["random"]
    # Jinja2's own filter escapes for HTML.
    environment.filters["tojson"] = _to_json
    return environment


def _to_json(value: Json, indent: int | None = None) -> str:
    return json.dumps(value, ensure_ascii=False, indent=indent)


def check_template(source: str) -> str:
    """Return `source` if it is a template. Raises ValueError with what is wrong and where."""
    _parse(source)
    return source


def _parse(source: str) -> nodes.Template:
    environment = _environment()
    try:
        tree = environment.parse(source)
        environment.compile(tree)
    except TemplateSyntaxError as error:
        raise ValueError(f"line {error.lineno} of the template: {error.message}") from None
    except (RecursionError, SyntaxError, MemoryError):
        raise ValueError("the template is nested too deeply") from None
    except _FAULTS as error:  # of an expression of constants, which is computed at once
        raise ValueError(f"the template holds an expression that fails for every record: {error}") from None
    if any(tree.find(kind) is not None for kind in _LOADS):
        raise ValueError("a template cannot load another")
    return tree


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
        tree = _parse(source)
    except ValueError as error:
        raise UsageError(f"{key}: {error}", code="invalid_config") from None
    plain = _plain(tree)
    return _jinja(source, key) if plain is None else _formatting(*plain, key)


def _plain(tree: nodes.Template) -> tuple[str, Sequence[str]] | None:
    """The pattern and the names of a template of texts and bare names, or None where there is more to it."""
    pattern = []
    names = []
    for part in _outputs(tree):
        if isinstance(part, nodes.TemplateData):
            pattern.append(part.data.replace("%", "%%"))
        elif isinstance(part, nodes.Name) and _is_looked_up(part.name):
            pattern.append("%s")
            names.append(part.name)
        else:
            return None
    return "".join(pattern), names


def _outputs(tree: nodes.Template) -> Iterator[nodes.Node]:
    for node in tree.body:
        if isinstance(node, nodes.Output):
            yield from node.nodes
        else:
            yield node


def _is_looked_up(name: str) -> bool:
    """Whether a bare name is the record's alone: Jinja2 folds names beyond ASCII, and keeps `self` for itself."""
    return name.isascii() and name != "self"


def _formatting(pattern: str, names: Sequence[str], key: str) -> Template:
    values = _values(names)

    def render(data: Mapping[str, Json]) -> str:
        try:
            return pattern % values(data)
        except KeyError as error:
            raise _missing(key, str(error.args[0])) from None
        except (ValueError, RecursionError) as error:
            raise _unusable(key, error) from None

    return render


def _values(names: Sequence[str]) -> Callable[[Mapping[str, Json]], tuple[Json, ...]]:
    if len(names) > 1:
        return itemgetter(*names)
    return lambda data: tuple([data[name] for name in names])


def _jinja(source: str, key: str) -> Template:
    template = _environment().from_string(source)

    def render(data: Mapping[str, Json]) -> str:
        parts = []
        length = 0
        try:
            for part in template.generate(data):
                parts.append(part)
                length += len(part)
                if length > MOST_CHARACTERS:
                    raise Rejected(
                        f"the template {key} makes more than {MOST_CHARACTERS:,} characters", code="template"
                    )
        except UndefinedError as error:
            name = error.message or ""
            raise _missing(key, name if name in source else None) from None
        except _FAULTS as error:
            raise _unusable(key, error) from None
        return "".join(parts)

    return render


def _missing(key: str, name: str | None) -> Rejected:
    """A name that the template computed from a value is not shown."""
    field = "a field that it asks for" if name is None else f"the field {name!r}"
    return Rejected(f"the template {key} cannot be filled: the record lacks {field}", code="template")


def _unusable(key: str, error: Exception) -> Rejected:
    return Rejected(f"the template {key} cannot use what the record holds ({type(error).__name__})", code="template")
