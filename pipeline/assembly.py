"""From a config to the parts of a run that need no running event loop."""

from __future__ import annotations

import resource
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

from pipeline.backends.endpoint import Endpoint, Timeouts
from pipeline.builtin_files import builtin, config_home
from pipeline.config import Config, Loaded, compile_template, read_secret, resolve_job
from pipeline.core.end_users import HidesEndUsers
from pipeline.core.limits import Limits
from pipeline.core.lines import RESERVED_FIELDS
from pipeline.core.monthly import Caps, MonthlyCap
from pipeline.core.parse import parse_line
from pipeline.core.request_prices import RequestPrices
from pipeline.core.tokens import (
    TOKENS_PER_MESSAGE,
    TOKENS_PER_REPLY,
    TextTokenizer,
    encoding_name,
    has_own_encoding,
)
from pipeline.errors import PipelineError, Rejected, UsageError
from pipeline.events import Notice, Observer
from pipeline.job import Job, JobSpec, is_batch_line
from pipeline.secret import Secret
from pipeline.storage.local_secret import read_local_secret
from pipeline.storage.prices import load_price_book, price_files
from pipeline.storage.several import Pattern, is_several
from pipeline.storage.state import Places, default_state
from pipeline.storage.vocabulary import load as load_vocabulary
from pipeline.types import BadLine, Item, Request

_EMBEDDING_TOKENS = 8_192
"""The most input tokens of OpenAI's embedding models. Source: its API specification."""
_OTHER_FILES = 32
"""File descriptors that a run needs for anything but connections."""


@dataclass(frozen=True, slots=True)
class Parts:
    """What a run is made of."""

    job: Job
    spec: JobSpec
    """What the job was made from."""
    endpoint: Endpoint
    timeouts: Timeouts
    limits: Limits
    max_items: int
    max_tokens: int
    prices: RequestPrices
    cap_nusd: int | None
    soft_nusd: int | None
    caps: Caps
    """What several runs keep together."""
    tokenizer: TextTokenizer
    exact: bool
    """Whether the tokenizer has the model's own vocabulary."""
    id_field: str | None
    most_failures: Callable[[int], int | None]

    def is_bounded(self, model: str) -> bool:
        """Whether what a request to `model` can cost at the most must be known before it is sent."""
        return self.cap_nusd is not None or bool(self.caps.on(model))

    def require_bound(self, item: Item) -> Item:
        """Return an item, unless a budget needs to know what it can cost and nothing bounds its output.

        Raises:
            Rejected: It is a Batch line without a limit of output tokens.
            UsageError: The config sets none.
        """
        own = is_batch_line(item.record.data)
        model = item.record.data["body"]["model"] if own else self.spec.model
        if item.output_tokens is not None or not self.is_bounded(model):
            return item
        message = "a budget needs a limit of output tokens for every request: set max_output_tokens"
        raise Rejected(message, code="unbounded") if own else UsageError(message)

    def problem(self, line: int, raw: bytes) -> str | None:
        """What is wrong with a line of the input, or None."""
        record = parse_line(line, raw, self.id_field)
        if isinstance(record, BadLine):
            return f"{record.message} ({record.code})"
        try:
            if record is not None:
                self.job.render(record)
        except PipelineError as error:
            return f"{error.message} ({error.code})"
        return None

    def exact_bound(self, request: Request) -> int:
        """The input tokens that a request cannot exceed: counted where that is possible, else its bytes."""
        if not self.exact:
            return request.input_bound
        counts = [_counted(self.tokenizer, item) for item in request.items]
        exact = sum([count for count in counts if count is not None])
        return request.input_bound if None in counts else min(request.input_bound, exact)


def places_of(loaded: Loaded) -> Places:
    """Where output and state of a config lie. What goes to stdout is finished in the state directory first.

    Raises:
        UsageError: The output is the input, a directory, a device or a file of the state.
    """
    config = loaded.config
    state = Path(config.state) if config.state else None
    if config.output.path == "-":
        if state is None:
            raise UsageError("an output to stdout needs a place for its progress: --state DIR")
        places = Places(state / "output.jsonl", state)
    else:
        output = Path(config.output.path)
        places = Places(output, state or default_state(output))
    _check_places(places, config.input.path)
    _check_beside(config, places)
    return places


def assemble(loaded: Loaded, observers: Observer, *, sends: bool = True) -> Parts:
    """Make the parts. May take a second to load a vocabulary: call it in a thread.

    Args:
        loaded: The config.
        observers: See remarks on prices.
        sends: Whether requests are to be sent; where not, no key is needed.

    Raises:
        UsageError: The config cannot be run.
    """
    config, endpoint, limits = loaded.config, loaded.endpoint, loaded.config.limits
    caps = _caps(loaded)
    budgeted = config.budget.hard_nusd is not None
    bounded = budgeted or bool(caps)
    longest = config.max_input_tokens or _longest_input(config.model)
    encoding = encoding_name(config.model or "")
    vocabulary = load_vocabulary(encoding) if bounded or longest is not None else None
    tokenizer = TextTokenizer(encoding, vocabulary)
    spec = _spec(config, tokenizer, longest, bounded=bounded)
    job = resolve_job(config.job, loaded)(spec)
    if sends:
        job = HidesEndUsers(job, cache(partial(read_local_secret, loaded.environ)))
    _check_kept(config.output.keep)
    tier = config.params.get("service_tier")
    prices = RequestPrices(
        load_price_book(endpoint.provider, _price_files(loaded)),
        tier=tier if isinstance(tier, str) else None,
        refuse_unknown=budgeted,
        remark=lambda text: observers.see(Notice("warning", text)),
        capped=lambda model: bool(caps.on(model)),
    )
    if config.model is not None:
        prices.require(config.model, time.time())
    bounds = (config.batch.max_items, job.max_items, endpoint.max_items)
    return Parts(
        job=job,
        spec=spec,
        endpoint=_endpoint(loaded, keyed=sends),
        timeouts=Timeouts(total=config.timeout),
        limits=Limits(_affordable(limits.concurrency, observers), limits.rpm, limits.tpm, limits.per_second),
        max_items=min(bound for bound in bounds if bound is not None),
        max_tokens=min(config.batch.max_tokens, endpoint.max_tokens or config.batch.max_tokens),
        prices=prices,
        cap_nusd=config.budget.hard_nusd,
        soft_nusd=config.budget.soft_nusd,
        caps=caps,
        tokenizer=tokenizer,
        exact=vocabulary is not None and has_own_encoding(config.model or ""),
        id_field=config.input.id,
        most_failures=config.max_failures.most if config.max_failures is not None else _no_limit,
    )


def _affordable(concurrency: int, observers: Observer) -> int:
    """The most connections that the limit of open files leaves room for, up to `concurrency`."""
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = concurrency if files == resource.RLIM_INFINITY else max(1, files - _OTHER_FILES)
    if concurrency <= most:
        return concurrency
    observers.see(Notice("warning", f"concurrency is {most}: only {files} files may be open at once (ulimit -n)"))
    return most


def _no_limit(_records: int) -> None:
    return None


def _longest_input(model: str | None) -> int | None:
    return _EMBEDDING_TOKENS if model is not None and model.startswith("text-embedding-") else None


def _caps(loaded: Loaded) -> Caps:
    """The monthly caps of the run, of its endpoint and of the endpoint's models."""
    nusd, endpoint = loaded.config.budget.monthly_nusd, loaded.endpoint
    own = [] if nusd is None else [MonthlyCap("budget.monthly_usd", nusd)]
    return Caps([*own, *endpoint.caps], endpoint.monthly_usd_by_model or ())


def _spec(config: Config, tokenizer: TextTokenizer, longest: int | None, *, bounded: bool) -> JobSpec:
    sources = {"text": config.text, "prompt": config.prompt, "system": config.system}
    messages = config.messages
    return JobSpec(
        model=config.model or "",
        tokenizer=tokenizer,
        params=config.params,
        templates={key: compile_template(source, key) for key, source in sources.items() if source is not None},
        messages=messages
        if isinstance(messages, str)
        else [(message.role, compile_template(message.content, "messages")) for message in messages or ()],
        too_long=config.too_long,
        max_input_tokens=longest,
        max_output_tokens=config.max_output_tokens,
        vectors=config.vectors,
        bounded=bounded,
    )


def _endpoint(loaded: Loaded, *, keyed: bool) -> Endpoint:
    endpoint = loaded.endpoint
    reference = endpoint.api_key if keyed else None
    key = Secret(read_secret(reference, loaded.environ)) if reference is not None else None
    return Endpoint(loaded.config.endpoint, endpoint.base_url, key, endpoint.organization, endpoint.project)


def _price_files(loaded: Loaded) -> list[Path]:
    return price_files(loaded.folder, config_home(loaded.environ), builtin("prices.yaml"))


def _check_kept(keep: Sequence[str]) -> None:
    taken = sorted(RESERVED_FIELDS.intersection(keep))
    if taken:
        raise UsageError(f"output.keep: every result line has its own {', '.join(taken)}; leave it out")


def _check_places(places: Places, source: str) -> None:
    """Refuse an output that is no plain file or one of the state's, and an input that the run would write to."""
    output = places.output
    if output.is_symlink() or (output.exists() and not output.is_file()):
        raise UsageError(f"{output} is not a plain file: choose another output")
    if output.parent.resolve() == places.state.resolve() and places.is_reserved(output.name):
        raise UsageError(f"{output} is a file of the state directory: choose another output")
    written = (output, places.partial, places.ordered, places.errors, places.ledger)
    if is_several(source):
        _refuse_covered(Pattern.of(source), written)
    if source == "-" or not Path(source).exists():
        return
    for path in written:
        if path.exists() and path.samefile(source):
            what = "the input itself" if path == output else f"written as {path.name}, which is the input"
            raise UsageError(f"{output} is {what}: choose another output")


def _check_beside(config: Config, places: Places) -> None:
    """Refuse to log or count into a file that is the run's own, or into the same file twice."""
    own = (places.output, places.partial, places.ordered, places.errors, places.ledger, places.status, places.summary)
    taken = {path.resolve() for path in own} | {Path(config.input.path).resolve()}
    for beside in (config.log.file, config.joblog, config.metrics.file):
        if beside is not None and Path(beside).resolve() in taken:
            raise UsageError(f"{beside} is taken: logs and metrics need files of their own")
        taken |= {Path(beside).resolve()} if beside is not None else set()
    if is_several(config.input.path):
        _refuse_covered(
            Pattern.of(config.input.path),
            [Path(beside) for beside in (config.log.file, config.joblog, config.metrics.file) if beside is not None],
        )


def _refuse_covered(pattern: Pattern, written: Sequence[Path]) -> None:
    for path in written:
        if pattern.covers(path):
            raise UsageError(f"{path} would be read as a file of the input: choose another output, or a closer pattern")


def _counted(tokenizer: TextTokenizer, item: Item) -> int | None:
    """The input tokens of an item, counted; None where its content is more than text or messages of text."""
    content = item.content
    if isinstance(content, str):
        return tokenizer.count(content)
    if isinstance(content, list) and all(isinstance(message.get("content"), str) for message in content):
        texts = sum(tokenizer.count(text) for message in content for text in message.values() if isinstance(text, str))
        return texts + TOKENS_PER_MESSAGE * len(content) + TOKENS_PER_REPLY
    if isinstance(content, dict) and isinstance(content.get("input"), str):
        return tokenizer.count(content["input"])
    return None
