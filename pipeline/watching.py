"""What watches a run beside its job: the log file, the joblog, metrics and traces, as the config asks for them.

Each writes from a thread of its own. What is slow, full or gone loses lines, which are counted; it never slows the run
and never fails it.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from pipeline.config import Loaded
from pipeline.errors import Locked
from pipeline.events import AttemptEnded, AttemptSent, Exchange, Notice, Observers
from pipeline.observers.background import Background
from pipeline.observers.joblog import HEADER, JobLog
from pipeline.observers.log import Level, Log, Source, progress_fields, summary_json
from pipeline.observers.metrics import Metrics
from pipeline.observers.progress import Pace, Trouble
from pipeline.observers.status import Status
from pipeline.observers.summary import Summary
from pipeline.storage.line_file import LineFile
from pipeline.storage.metrics_file import MetricsFile

_PROGRESS = 30.0
"""Seconds between two lines of progress in the log file."""


class Watch:
    """Watches one run. Every method belongs to the event loop's thread.

    Args:
        loaded: The config.
        status: How the run stands.
        observers: Of the run; what watches is added to them.

    Attributes:
        exchanges: What wants to know everything about every attempt; empty where nothing does.
        log_progress: Writes how the run stands to the log file, where there is one.
    """

    def __init__(self, loaded: Loaded, status: Status, observers: Observers) -> None:
        self._loaded, self._status, self._observers = loaded, status, observers
        self.exchanges: list[Callable[[Exchange], None]] = []
        self._places: dict[str, Background[Any]] = {}
        self._periodic: list[asyncio.Task[None]] = []
        self._last: list[Callable[[Summary], None]] = []
        self.log_progress: Callable[[], None] = _nothing

    def begin(self) -> None:
        """Begin to watch, as the config asks for it."""
        config, environ = self._loaded.config, self._loaded.environ
        if config.log.file is not None:
            self._log(Path(config.log.file))
        if config.metrics.file is not None:
            self._metrics(Path(config.metrics.file))
        if config.joblog is not None:
            host = urlsplit(self._loaded.endpoint.base_url).netloc
            joblog = JobLog(LineFile(Path(config.joblog), header=HEADER), host)
            self.exchanges.append(self._place("lines of the joblog", joblog.write).put)
        if _traces_wanted(environ):
            self._traces(environ)

    async def end(self, summary: Summary) -> None:
        """Say how the run ended and close everything, without waiting for long. What was lost becomes notices."""
        for task in self._periodic:
            task.cancel()
        for tell in self._last:
            tell(summary)
        await asyncio.gather(*(asyncio.to_thread(place.end) for place in self._places.values()))
        for items, place in self._places.items():
            if place.lost:
                self._observers.see(Notice("warning", _loss(items, place)))

    def _log(self, path: Path) -> None:
        settings = self._loaded.config.log
        file = LineFile(path, settings.max_bytes, settings.keep)
        lines = self._place("lines of the log", lambda group: file.append([_encoded(line) for line in group]))
        as_json = settings.format == "json" or (settings.format == "auto" and path.suffix in {".json", ".jsonl"})
        source = Source(self._loaded.config.name, os.getpid())
        log = Log(lines.put, _now, least=settings.level, style="json" if as_json else "text", source=source)
        trouble, pace = Trouble(), Pace()

        def progress() -> None:
            snapshot = trouble.noted(self._status.snapshot())
            log.say("info", "progress", progress_fields(snapshot, pace.see(snapshot)))

        log.say("info", "started", _about(self._loaded))
        self._observers.add(log, *log.kinds)
        self._observers.add(trouble, AttemptEnded)
        self.log_progress = progress
        self._periodic.append(asyncio.create_task(_repeat(_PROGRESS, progress)))
        in_text = partial(_say_summary, log)
        self._last.append((lambda ended: lines.put(summary_json(ended.as_dict(), source))) if as_json else in_text)

    def _metrics(self, path: Path) -> None:
        config = self._loaded.config
        labels = {"job": config.job, "name": config.name, "endpoint": config.endpoint}
        metrics = Metrics(labels | ({"model": config.model} if config.model is not None else {}))
        texts = self._place("versions of the metrics", MetricsFile(path).write)

        def tell(summary: Summary) -> None:
            # While another run has the lock, the file is that one's.
            waiting = summary.exit_code is None and not self._status.holds_lock
            if not waiting and summary.exit_code != Locked.exit_code:
                texts.put(metrics.text(summary, self._status.snapshot()))

        self._observers.add(metrics, AttemptEnded, AttemptSent)
        self._periodic.append(asyncio.create_task(_repeat(config.metrics.every, lambda: tell(self._status.summary()))))
        self._last.append(tell)

    def _traces(self, environ: Mapping[str, str]) -> None:
        if find_spec("opentelemetry.sdk") is None:
            text = "OTEL_EXPORTER_OTLP_ENDPOINT asks for traces, which need the extra pipeline[otel]"
            self._observers.see(Notice("info", text))
            return
        # The library reads the process's variables only, and a `.env` may have some.
        os.environ |= {name: value for name, value in environ.items() if name.startswith("OTEL_")}
        from pipeline.observers.traces import Traced, Traces  # noqa: PLC0415 - wanted by few

        config, address = self._loaded.config, urlsplit(self._loaded.endpoint.base_url)
        port = address.port or (443 if address.scheme == "https" else 80)
        traced = Traced(config.job, config.name, self._loaded.endpoint.provider, address.hostname or "", port)
        traces = Traces(traced, self._spans_lost)
        self.exchanges.append(self._place("spans", traces.write, traces.close).put)

    def _spans_lost(self, spans: int) -> None:
        self._places["spans"].lost += spans

    def _place(
        self, items: str, write: Callable[[Any], None], close: Callable[[], None] = lambda: None
    ) -> Background[Any]:
        """Open a place for `items`, which is written to by `write`."""
        loop = asyncio.get_running_loop()

        def complain(error: Exception) -> None:
            notice = Notice("warning", f"{items} cannot be written: {_words(error)}")
            with contextlib.suppress(RuntimeError):  # the loop has ended, and with it all who could hear it
                loop.call_soon_threadsafe(self._observers.see, notice)

        place = self._places[items] = Background(items, write, complain, close)
        return place


def _words(error: Exception) -> str:
    """An error's own text may hold anything; the system's words for a failed call do not."""
    return (isinstance(error, OSError) and error.strerror) or type(error).__name__


def _loss(items: str, place: Background[Any]) -> str:
    return f"{place.lost} {items} were lost" + (f": {_words(place.failure)}" if place.failure is not None else "")


def _nothing() -> None:
    """There is no log file."""


async def _repeat(seconds: float, act: Callable[[], None]) -> None:
    while True:
        await asyncio.sleep(seconds)
        act()


def _about(loaded: Loaded) -> dict[str, str | int | float | None]:
    config = loaded.config
    return {"job": config.job, "endpoint": config.endpoint, "model": config.model, "output": config.output.path}


def _say_summary(log: Log, summary: Summary) -> None:
    """What a text log says at the end."""
    level: Level = "info" if summary.exit_code == 0 else "warning"
    records = summary.whole.records
    fields = {
        "state": summary.state,
        "exit_code": summary.exit_code,
        "ok": records.ok,
        "failed": records.failed,
        "remaining": records.remaining,
        "sent": summary.this_run.requests.sent,
        "spent_nusd": summary.whole.money.spent_nusd,
        "seconds": round(summary.seconds, 3),
        "message": summary.message,
    }
    log.say(level, "summary", fields)


def _traces_wanted(environ: Mapping[str, str]) -> bool:
    """Whether the standard variables ask for traces by OTLP."""
    endpoint = environ.get("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT") or environ.get("OTEL_EXPORTER_OTLP_ENDPOINT")
    disabled = environ.get("OTEL_SDK_DISABLED", "").lower() == "true"
    return bool(endpoint) and not disabled and environ.get("OTEL_TRACES_EXPORTER", "otlp") in {"", "otlp"}


def _encoded(line: str) -> bytes:
    return f"{line}\n".encode("utf-8", "backslashreplace")


def _now() -> datetime:
    return datetime.now(UTC)
