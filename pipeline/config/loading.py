"""From a config file to checked values: flag > environment > `.env` beside the config > file > default."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from pydantic import BaseModel

from pipeline.config.document import Document, NotYamlError, parse_value, read_document
from pipeline.config.endpoints import Chosen, EndpointConfig, choose
from pipeline.config.fields import takes_text
from pipeline.config.files import file_faults, moving, with_taken
from pipeline.config.forbidden import forbidden_params
from pipeline.config.groups import Config, Limits
from pipeline.config.keys import require_private, variable_of
from pipeline.config.origin import COMMAND_LINE, Loc, Origin, Problem, dotted, refusal
from pipeline.config.paths import Filling, moment_of
from pipeline.config.settings import Settings, check
from pipeline.config.variables import misspelt, read_dotenv, settings_in
from pipeline.errors import UsageError
from pipeline.types import Json

_NULLS = {"null", "~"}


@dataclass(frozen=True, slots=True)
class Loaded:
    """A config, ready to run, and where its values came from."""

    path: Path
    config: Config
    """`limits` has the endpoint's where neither file nor variable nor flag says otherwise."""
    endpoint: EndpointConfig
    origins: Mapping[str, Origin]
    """By dotted key; those of the endpoint begin with `endpoint.`."""
    environ: Mapping[str, str] = field(repr=False)
    """The process's variables, and behind them those of the `.env`: what references are read from."""
    moment: str | None = None
    """What {date} and its like in the paths stand for, as `now` takes it; None where no path has any."""

    @property
    def folder(self) -> Path:
        """The config's own folder: `{here}`."""
        return self.path.parent

    @property
    def secret_variables(self) -> frozenset[str]:
        """The variables that secrets are read from."""
        webhook, email = self.config.notify.webhook, self.config.notify.email
        named = (
            self.endpoint.api_key, webhook.url, webhook.secret, email.user, email.password, self.config.heartbeat.url,
        )  # fmt: skip
        return frozenset(filter(None, (variable_of(value) for value in named if value is not None)))


class Given(NamedTuple):
    """A value from above the file."""

    loc: Loc
    value: Json
    origin: Origin


def load(path: Path, overrides: Mapping[str, Json], environ: Mapping[str, str]) -> Loaded:
    """Read and check the config at `path`.

    Args:
        path: A YAML file.
        overrides: Values by dotted key, from the command line. A text is read as YAML, unless its key takes text.
        environ: The process's variables. Nothing is added to them.

    Raises:
        UsageError: Something is wrong; the message has one line for each fault, with file, line and key.
    """
    texts = [Given(tuple(key.split(".")), value, COMMAND_LINE) for key, value in overrides.items()]
    document = read_document(path)
    if not document.data.keys() & Config.model_fields.keys():
        raise UsageError(
            f"{path}:1: has none of a config's keys, such as job, input and output: is it another file? "
            "`pipeline init NAME` writes a config to start from",
            code="invalid_config",
        )
    return load_document(document, environ, texts=texts)


def load_document(
    document: Document, environ: Mapping[str, str], *, texts: Sequence[Given] = (), values: Sequence[Given] = ()
) -> Loaded:
    """Check a config that has been read already.

    Args:
        document: The config. Its path says where its `.env` and its endpoints are looked for.
        environ: As for `load`.
        texts: What the command line says; a text is read as YAML, unless its key takes text.
        values: What a program says; taken as it is.

    Raises:
        UsageError: As `load`.
    """
    folder = document.path.parent
    dotenv_path = folder / ".env"
    dotenv = read_dotenv(dotenv_path)
    settings = Settings(document)
    problems = list(_apply(settings, [*_variables(environ, dotenv, dotenv_path), *texts], values))
    problems += [*misspelt(dotenv, Config, dotenv_path), *misspelt(environ, Config)]
    settings.drop_nulls(Config)
    settings.data.setdefault("name", document.path.stem)
    filling = Filling(str(folder), environ.get("HOME", ""), _moment(settings.data.get("now")))
    config, faults = check(settings.data, Config, filling)
    faults += forbidden_params(settings.data.get("params"))
    faults += file_faults(config, settings.data) if config is not None else ()
    problems += [settings.problem(loc, text) for loc, text in faults]
    if config is None or problems:
        raise refusal(problems)
    merged = {**environ, **{name: value for name, value in dotenv.items() if not environ.get(name)}}
    chosen = choose(config.endpoint, settings.origin(("endpoint",)), folder, config.model, merged)
    config = with_taken(_with_limits(config, settings, chosen), settings.data, filling)
    moment = filling.moment.replace(tzinfo=None).isoformat(timespec="seconds") if moving(settings.data) else None
    loaded = Loaded(document.path, config, chosen.endpoint, _origins(config, settings, chosen), merged, moment)
    if any(name in dotenv and not environ.get(name) for name in loaded.secret_variables):
        require_private(dotenv_path)  # a `.env` that supplies a secret is a key file
    return loaded


def _variables(environ: Mapping[str, str], dotenv: Mapping[str, str], dotenv_path: Path) -> Iterator[Given]:
    """What the variables say, the weaker ones first."""
    for each in (*settings_in(dotenv, Config, dotenv_path), *settings_in(environ, Config)):
        yield Given(*each)


def _apply(settings: Settings, texts: Sequence[Given], values: Sequence[Given]) -> Iterator[Problem]:
    """Put the layers above the file into `settings`, the lowest first; yield what cannot be read."""
    for given in texts:
        try:
            yield from _put(settings, given._replace(value=_value(given.loc, given.value)))
        except NotYamlError as error:
            yield Problem(given.origin, dotted(given.loc), str(error))
    for given in values:
        yield from _put(settings, given)


def _put(settings: Settings, given: Given) -> Iterator[Problem]:
    if not settings.put(*given):
        yield Problem(given.origin, dotted(given.loc), "lies inside a value that has no keys")


def _value(loc: Loc, value: Json) -> Json:
    if not isinstance(value, str) or takes_text(Config, loc):
        return value
    parsed = parse_value(value)
    if parsed is None and value.strip().lower() not in _NULLS:
        # `--budget "$BUDGET"` where nobody set BUDGET must not be a run without a budget.
        raise NotYamlError(1, "is empty: give a value, leave it out, or write null for none")
    return parsed


def _moment(now: Json) -> datetime:
    """The moment that `now` names, else the present one; what cannot be read is found when all is checked."""
    try:
        return moment_of(now)
    except (TypeError, ValueError):
        return datetime.now(UTC).astimezone()


def _with_limits(config: Config, settings: Settings, chosen: Chosen) -> Config:
    given = config.limits.model_dump(exclude_none=True)
    for name, value in chosen.limits.items():
        if name not in given:
            settings.put(("limits", name), value, chosen.origins[f"limits.{name}"])
    return config.model_copy(update={"limits": Limits(**{**chosen.limits, **given})})


def _origins(config: Config, settings: Settings, chosen: Chosen) -> Mapping[str, Origin]:
    own = {dotted(loc): settings.source(loc) for loc, _ in leaves(config)}
    return own | {f"endpoint.{key}": origin for key, origin in chosen.origins.items() if not key.startswith("limits.")}


def leaves(values: object, loc: Loc = ()) -> Iterator[tuple[Loc, object]]:
    """Yield every key with its value; an empty mapping is a value."""
    if isinstance(values, BaseModel):
        values = {name: getattr(values, name) for name in type(values).model_fields}
    if isinstance(values, Mapping) and values:
        for key, value in values.items():
            yield from leaves(value, (*loc, key))
    else:
        yield loc, values
