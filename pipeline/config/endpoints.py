"""Endpoints by name: `endpoints.yaml` beside the config, then in the user's config folder, then the built-in one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Literal, NamedTuple

from pydantic import AfterValidator, Field

from pipeline.builtin_files import builtin, config_home
from pipeline.config.base_url import check_base_url, host_of
from pipeline.config.document import Document, read_document
from pipeline.config.fields import nearest
from pipeline.config.group import FieldName, Group
from pipeline.config.groups import Count, ModelLimits, Usd
from pipeline.config.keys import check_reference, variable_of
from pipeline.config.origin import Origin, Problem, dotted, refusal
from pipeline.config.quantities import nano_usd
from pipeline.config.settings import check
from pipeline.core.limits import key_for
from pipeline.core.monthly import MonthlyCap

FILE = "endpoints.yaml"
_PROVIDERS = {
    "api.deepseek.com": "deepseek",
    "api.fireworks.ai": "fireworks",
    "api.groq.com": "groq",
    "api.mistral.ai": "mistral",
    "api.openai.com": "openai",
    "api.together.xyz": "together",
    "openrouter.ai": "openrouter",
}
"""Hosts whose prices genai-prices has, by its names for them."""


class EndpointLimits(ModelLimits):
    """The limits of one model of an endpoint, or of all that a prefix or `default` stands for."""

    monthly_usd: Usd | None = None
    """The most that all jobs may spend on it in a calendar month (UTC); models of one prefix or `default` together."""


class Bounds(Group):
    """The most that the endpoint takes in one request."""

    max_items: Count | None = None
    max_tokens: Count | None = None


class Entry(Group):
    """What endpoints.yaml says of one endpoint."""

    base_url: Annotated[str, AfterValidator(check_base_url)]
    """Such as https://api.openai.com/v1; http is for this machine only."""
    api_key: Annotated[str, AfterValidator(check_reference)] | None = None
    """env:NAME, or file:PATH of a file that only its owner may read. Absent where the server asks for none."""
    organization: FieldName | None = None
    """The organization, or env:NAME; nothing is sent where the variable is not set."""
    project: FieldName | None = None
    """The project, or env:NAME; nothing is sent where the variable is not set."""
    provider: FieldName | None = None
    """Whose prices hold: a provider of genai-prices or of prices.yaml. By default the host tells."""
    prices: Literal["free"] | None = None
    """`free` for a server that bills nothing."""
    monthly_usd: Usd | None = None
    """The most that all jobs which share the usage log may spend here in a calendar month (UTC)."""
    limits: Mapping[str, EndpointLimits] = Field(default_factory=dict)
    """The account's limits by model, by prefix ending in `*`, or `default` for all others."""
    batch: Bounds = Bounds()


@dataclass(frozen=True, slots=True)
class EndpointConfig:
    """An endpoint as this run uses it. The key is still a reference."""

    name: str
    base_url: str
    api_key: str | None
    organization: str | None
    project: str | None
    provider: str
    """For prices; `free` where nothing is billed, the host where nothing is known."""
    max_items: int | None
    max_tokens: int | None
    monthly_usd: Decimal | None = None
    monthly_usd_by_model: Mapping[str, Decimal | None] | None = None
    """By key of its limits, of which at least one has a cap; None where none has."""

    @property
    def caps(self) -> Sequence[MonthlyCap]:
        """The monthly caps of the endpoint and of its models."""
        whole = [(f"monthly_usd of endpoint {self.name}", None, self.monthly_usd)]
        models = (self.monthly_usd_by_model or {}).items()
        parts = [(f"limits.{key}.monthly_usd of endpoint {self.name}", key, usd) for key, usd in models]
        return [MonthlyCap(name, nano_usd(usd), self.name, key) for name, key, usd in whole + parts if usd is not None]


class Chosen(NamedTuple):
    """An endpoint with where its values came from, and its limits for the run's model."""

    endpoint: EndpointConfig
    limits: Mapping[str, int]
    origins: Mapping[str, Origin]
    """By field of `EndpointConfig`, and by `limits.…`."""


def choose(name: str, asked: Origin, folder: Path, model: str | None, environ: Mapping[str, str]) -> Chosen:
    """Return the endpoint `name`.

    Args:
        name: The value of `endpoint`.
        asked: Where that came from.
        folder: The config's own.
        model: Whose limits hold; None where every line brings its own.
        environ: For references, and for `NAME_BASE_URL` of a built-in endpoint.

    Raises:
        UsageError: There is no such endpoint, or what is said of it is wrong.
    """
    known: list[str] = []
    for path in _files(folder, environ):
        document = read_document(path)
        if name in document.data:
            return _chosen(name, document, model, environ)
        known += document.data
    hint = nearest(name, known) or f"; there are {', '.join(dict.fromkeys(known))}"
    raise refusal([Problem(asked, "endpoint", f"no endpoint {name!r} in {FILE}{hint}")])


def _files(folder: Path, environ: Mapping[str, str]) -> list[Path]:
    home = config_home(environ)
    places = [folder / FILE, *([home / "pipeline" / FILE] if home else [])]
    return [*filter(Path.is_file, places), builtin(FILE)]


def _chosen(name: str, document: Document, model: str | None, environ: Mapping[str, str]) -> Chosen:
    entry, faults = check(document.data[name], Entry)
    if entry is None:
        raise refusal(_problem(document, (name, *loc), text) for loc, text in faults)
    base_url, origin = _base_url(name, entry, document, environ)
    endpoint = EndpointConfig(
        name=name,
        base_url=base_url,
        api_key=entry.api_key and entry.api_key.replace("{here}", str(document.path.parent)),
        organization=_plain(entry.organization, environ),
        project=_plain(entry.project, environ),
        provider=_provider(entry, base_url),
        max_items=entry.batch.max_items,
        max_tokens=entry.batch.max_tokens,
        monthly_usd=entry.monthly_usd,
        monthly_usd_by_model=_monthly_caps(entry.limits),
    )
    key, limits = _limits(entry.limits, model or "")
    origins = {field: document.origin((name, field)) for field in Entry.model_fields if (name, field) in document.lines}
    if "limits" in origins:
        origins["monthly_usd_by_model"] = origins["limits"]
    origins |= {f"limits.{limit}": document.origin((name, "limits", key, limit)) for limit in limits}
    return Chosen(endpoint, limits, origins | {"base_url": origin})


def _problem(document: Document, loc: tuple[str | int, ...], text: str) -> Problem:
    return Problem(document.origin(loc), dotted(loc), text)


def _base_url(name: str, entry: Entry, document: Document, environ: Mapping[str, str]) -> tuple[str, Origin]:
    """A built-in endpoint has a variable of its own, such as OPENAI_BASE_URL."""
    variable = f"{name.upper()}_BASE_URL"
    url = environ.get(variable) if document.path.samefile(builtin(FILE)) else None
    if not url:
        return entry.base_url, document.origin((name, "base_url"))
    try:
        return check_base_url(url), Origin(variable)
    except ValueError as error:
        raise refusal([Problem(Origin(variable), f"{name}.base_url", str(error))]) from None


def _plain(value: str | None, environ: Mapping[str, str]) -> str | None:
    variable = variable_of(value) if value else None
    return (environ.get(variable) or None) if variable else value


def _provider(entry: Entry, base_url: str) -> str:
    if entry.prices is not None:
        return entry.prices
    host, own = host_of(base_url), host_of(entry.base_url)
    # Behind a gateway that a variable names, an endpoint costs what it costs without.
    return entry.provider or _PROVIDERS.get(host) or _PROVIDERS.get(own, host)


def _limits(limits: Mapping[str, EndpointLimits], model: str) -> tuple[str, Mapping[str, int]]:
    """The limits of a model: its own, else those of the longest prefix, else the default."""
    key = key_for(model, limits.keys())
    return key, limits[key].model_dump(exclude_none=True, exclude={"monthly_usd"}) if key in limits else {}


def _monthly_caps(limits: Mapping[str, EndpointLimits]) -> Mapping[str, Decimal | None] | None:
    caps = {key: each.monthly_usd for key, each in limits.items()}
    return caps if any(caps.values()) else None
