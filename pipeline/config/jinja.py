"""Jinja2 in a sandbox: no files, no attributes of Python, bounded output, undefined names are errors."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache

from jinja2 import StrictUndefined, TemplateError, TemplateSyntaxError, UndefinedError, nodes
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment

from pipeline.config.unfilled import missing, unusable
from pipeline.errors import Rejected
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


def check(source: str) -> None:
    """Raise ValueError with what is wrong, and where, unless `source` is a template."""
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


def rendering(source: str, key: str) -> Template:
    """Return the function that renders `source`, a template that was checked."""
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
            raise missing(key, name if name in source else None) from None
        except _FAULTS as error:
            raise unusable(key, error) from None
        return "".join(parts)

    return render
