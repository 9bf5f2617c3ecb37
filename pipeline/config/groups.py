"""The schema of a run's config: frozen values in groups, as the file has them. Durations are seconds."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Annotated, Literal

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Discriminator,
    Field,
    PlainSerializer,
    PlainValidator,
    Strict,
    Tag,
    ValidationInfo,
    WithJsonSchema,
    model_validator,
)

from pipeline.config.group import FieldName, Group, Seconds
from pipeline.config.notify import Heartbeat, Notify
from pipeline.config.paths import Filling, filled, moment_of
from pipeline.config.problems import UNION_TAGS
from pipeline.config.quantities import FailureLimit, dollars, failure_limit, nano_usd
from pipeline.config.template import check_template
from pipeline.types import Json

_NAME = re.compile(r"[A-Za-z0-9._-]{1,64}", re.ASCII)
_JOB = re.compile(r"[A-Za-z_]\w*|[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*:[A-Za-z_]\w*", re.ASCII)
_USD_SCHEMA = {"type": "number", "exclusiveMinimum": 0}
_FAILURES_SCHEMA = {"anyOf": [{"type": "integer", "minimum": 0}, {"type": "string"}]}


def _name(value: str) -> str:
    if not _NAME.fullmatch(value) or value in {".", ".."}:
        raise ValueError("must be 1 to 64 letters, digits, dots, dashes or underscores")
    return value


def _job(value: str) -> str:
    if not _JOB.fullmatch(value):
        raise ValueError("must be the name of a file in jobs/, or your.module:YourJob")
    return value


def _path(value: str, info: ValidationInfo) -> str:
    """A path with what is in braces, and a leading `~/`, filled in."""
    if not value or "\0" in value:
        raise ValueError("must be the name of a file, or - for a standard stream")
    try:
        os.fsencode(value)
    except UnicodeEncodeError:
        raise ValueError("holds a character that this locale cannot write: run with LC_ALL=C.UTF-8") from None
    filling: Filling | None = info.context
    return filled(value, filling) if filling is not None else value


def _moment(value: str) -> str:
    moment_of(value)
    return value


Name = Annotated[str, AfterValidator(_name)]
JobName = Annotated[str, AfterValidator(_job)]
PathText = Annotated[str, AfterValidator(_path)]
Moment = Annotated[str, AfterValidator(_moment)]
TemplateText = Annotated[str, AfterValidator(check_template)]
Count = Annotated[int, Field(ge=1, le=1_000_000_000)]
Usd = Annotated[Decimal, BeforeValidator(dollars), WithJsonSchema(_USD_SCHEMA)]
Failures = Annotated[
    FailureLimit, PlainValidator(failure_limit), PlainSerializer(str), WithJsonSchema(_FAILURES_SCHEMA)
]


class Input(Group):
    """What is read."""

    path: PathText
    """A .jsonl file, also .gz or .zst; - is stdin. With * or ? it is all files of such names, read as one input."""
    id: FieldName | None = None
    """The field that names a record; otherwise a Batch line's own custom_id, else the number of its line."""
    missing: Literal["error", "ok"] = "error"
    """What it means that there is no such file (yet): exit code 2, or that there is nothing to do."""
    growing: bool = False
    """Somebody may be writing: a last line that is not whole yet is left to the next run."""
    since_last: bool = False
    """Of several files, take what no complete run has taken; the output must have a name of its own in each run."""
    taken: PathText | None = None
    """The folder that remembers what has been taken. Default: NAME.taken beside the outputs."""


class Output(Group):
    """What is written."""

    path: PathText
    """The file of results, compressed if named .gz or .zst; - is stdout. It has this name once it is complete."""
    keep: Annotated[tuple[FieldName, ...], Strict(False)] = ()
    """Fields of the record that its result line repeats."""
    order: Literal["input", "done"] = "input"
    """The order of the result lines: that of the input, or as they came."""


class Message(Group):
    """One message of a chat."""

    role: Literal["system", "developer", "user", "assistant"]
    content: TemplateText


class Batch(Group):
    """The most that one request packs. The job and the endpoint may bound it further."""

    max_items: Count = 20
    """Records."""
    max_tokens: Count = 100_000
    """Input tokens."""


class ModelLimits(Group):
    """The limits of one model. Absent where none is known."""

    rpm: Count | None = None
    """Requests a minute."""
    tpm: Count | None = None
    """Tokens a minute."""
    per_second: Count | None = None
    """Requests in any one second."""


class Limits(ModelLimits):
    """The pace of this run; what is given here comes before the endpoint's own limits."""

    concurrency: Annotated[int, Field(ge=1, le=10_000)] = 64
    """The most requests in flight."""


class Retry(Group):
    """How long to keep trying."""

    attempts: Annotated[int, Field(ge=1, le=100)] = 6
    """The most attempts of a request; those that were throttled or never left do not count."""
    base: Seconds = 0.5
    """The most that the first wait can be; it doubles with every further one."""
    cap: Seconds = 60.0
    """The most that a wait can be where the server names none."""
    max_wait: Seconds = 900.0
    """A server that asks for a longer wait ends the run."""
    max_outage: Seconds = 1_800.0
    """An endpoint that answers nothing for so long ends the run."""

    @model_validator(mode="after")
    def _cap_is_no_shorter_than_base(self) -> Retry:
        if self.cap < self.base:
            raise ValueError("cap must not be below base")
        return self


class Budget(Group):
    """What may be spent, in US dollars: on this output, over all its runs, unless a key says otherwise."""

    hard_usd: Usd | None = None
    """The run stops before it could spend more."""
    soft_usd: Usd | None = None
    """The run says so when it has spent this much."""
    monthly_usd: Usd | None = None
    """The most that all jobs which share the usage log may spend in a calendar month (UTC); this run keeps to it."""
    confirm_above: Usd | None = None
    """A run or retry of which what is left may cost more asks first; where nobody can be asked it needs --yes."""

    @model_validator(mode="after")
    def _soft_is_no_higher_than_hard(self) -> Budget:
        if self.hard_usd and self.soft_usd and self.soft_usd > self.hard_usd:
            raise ValueError("soft_usd must not be above hard_usd")
        return self

    @property
    def hard_nusd(self) -> int | None:
        """`hard_usd` in nano-USD."""
        return None if self.hard_usd is None else nano_usd(self.hard_usd)

    @property
    def soft_nusd(self) -> int | None:
        """`soft_usd` in nano-USD."""
        return None if self.soft_usd is None else nano_usd(self.soft_usd)

    @property
    def monthly_nusd(self) -> int | None:
        """`monthly_usd` in nano-USD."""
        return None if self.monthly_usd is None else nano_usd(self.monthly_usd)

    @property
    def confirm_above_nusd(self) -> int | None:
        """`confirm_above` in nano-USD."""
        return None if self.confirm_above is None else nano_usd(self.confirm_above)


def _not_empty(messages: tuple[Message, ...]) -> tuple[Message, ...]:
    if not messages:
        raise ValueError("must not be empty")
    return messages


def _shape(messages: object) -> str:
    return UNION_TAGS[0] if isinstance(messages, str) else UNION_TAGS[1]


Messages = Annotated[
    Annotated[FieldName, Tag(UNION_TAGS[0])]
    | Annotated[Annotated[tuple[Message, ...], Strict(False), AfterValidator(_not_empty)], Tag(UNION_TAGS[1])],
    Discriminator(_shape),
]


class Templates(Group):
    """What is made of a record. Templates are Jinja2; a name that a record lacks makes it a dead letter."""

    text: TemplateText | None = None
    """What is embedded or moderated."""
    prompt: TemplateText | None = None
    """The prompt of a completion, or the user's message of a chat."""
    system: TemplateText | None = None
    """The system message of a chat."""
    messages: Messages | None = None
    """The messages of a chat, or the name of the record's field that holds them."""


class Asked(Group):
    """What is asked of the model."""

    model: FieldName | None = None
    """Not needed where every line is a Batch line: those bring their own."""
    params: Mapping[str, Json] = Field(default_factory=dict)
    """Sent in every request as they are: dimensions, temperature, n …"""
    max_output_tokens: Count | None = None
    """The most tokens of an answer, for every request that sets no limit of its own."""
    max_input_tokens: Count | None = None
    """The most tokens of a record, where the model takes fewer than is known of it."""
    too_long: Literal["error", "truncate"] = "error"
    """What becomes of a record with more tokens than the model takes."""
    vectors: Literal["floats", "base64"] = "floats"
    """How result lines show an embedding; base64 is of little-endian float32."""


class Stops(Group):
    """When a run ends before its input does, and how long things may take."""

    timeout: Annotated[Seconds, Field(gt=0)] = 600.0
    """An attempt."""
    deadline: Seconds | None = None
    """The whole run; what is in flight then is still waited for."""
    drain: Seconds = 30.0
    """What is in flight when the run is stopped."""
    lock_wait: Seconds = 0.0
    """Another run of the same output."""
    max_failures: Failures | None = None
    """Dead letters, as a number or a share of the records read (5%)."""
    limit: Count | None = None
    """Only the first so many records."""
    strict: bool = False
    """Refuse an input that has a bad line, instead of making it a dead letter."""

    def most_failures(self, read: int) -> int | None:
        """Return the most dead letters among `read` records; None where any number will do."""
        return None if self.max_failures is None else self.max_failures.most(read)


class Pace(Group):
    """How fast, how often and for how much."""

    batch: Batch = Batch()
    limits: Limits = Limits()
    retry: Retry = Retry()
    budget: Budget = Budget()


class LogFile(Group):
    """The log of runs, beside what they say on stderr."""

    file: PathText | None = None
    """Where notices, failures, progress and the summary are appended; runs may share it. It is private."""
    format: Literal["auto", "text", "json"] = "auto"
    """auto is text, but JSON in a file named .json or .jsonl; text and json are for stderr too."""
    level: Literal["info", "debug", "trace"] = "info"
    """debug has failed attempts and pauses too, trace every attempt."""
    max_bytes: Count = 10_000_000
    """A file that would grow beyond is renamed to FILE.1, and so on."""
    keep: Annotated[int, Field(ge=1, le=1_000)] = 5
    """Old files that are kept."""


class MetricsFile(Group):
    """For the textfile collector of Prometheus' node_exporter."""

    file: PathText | None = None
    """A name that ends in .prom, one for each config; replaced as a whole, and readable by all."""
    every: Annotated[Seconds, Field(gt=0)] = 15.0
    """Time between two versions of the file; the last is of the end."""


class Watched(Group):
    """What is written about a run beside its results."""

    log: LogFile = LogFile()
    metrics: MetricsFile = MetricsFile()
    joblog: PathText | None = None
    """Where a line for every attempt is appended, in the columns of GNU parallel's --joblog."""


class Files(Group):
    """What is read and written."""

    input: Input
    output: Output
    state: PathText | None = None
    """Where progress is kept, if not beside the output."""
    now: Moment | None = None
    """The moment that {date}, {yesterday} and {now:%Y-%m} in paths stand for. Default: when the run began."""


class Named(Group):
    """What is run, and where."""

    job: JobName
    """A file in jobs/, or your.module:YourJob."""
    name: Name = ""
    """Default: the name of the config file without its ending."""
    endpoint: FieldName
    """A name in endpoints.yaml."""
    tags: Mapping[str, str] = Field(default_factory=dict)
    """Words of your own that the run's summary repeats."""


class Told(Group):
    """Who is told how the run goes."""

    notify: Notify = Notify()
    heartbeat: Heartbeat = Heartbeat()


class Config(Told, Watched, Stops, Pace, Templates, Asked, Files, Named):
    """One run, with the keys of its file. A part of the program takes the group that it needs."""
