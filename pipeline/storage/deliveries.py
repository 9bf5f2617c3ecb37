"""What is delivered to standard output: a log while it grows, or a finished output."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal

import orjson

from pipeline.errors import JobStopped
from pipeline.storage.delivery import Delivery
from pipeline.storage.ledger import Ledger
from pipeline.storage.outlet import Appended, Outlet, appended_to
from pipeline.storage.sequence import AsTheyCome, InOrder, Sequence
from pipeline.storage.state import Places, storage_errors

Stop = Callable[[JobStopped], None]


def deliver_log(
    ledger: Ledger, places: Places, order: Literal["input", "done"], descriptor: int, stop: Stop
) -> Delivery:
    """Start to deliver OUT.partial, which is open and recovered; nothing is sent yet.

    Raises:
        StorageFailed: The disk refused.
    """
    with storage_errors("cannot deliver", places.partial):
        sequence: Sequence = AsTheyCome(places.partial)
        if order == "input":
            sequence = InOrder(places.partial, places.state)
            sequence.pass_over(_without_result(ledger))
    return _started(sequence, ledger, descriptor, stop)


def deliver_output(ledger: Ledger, output: Path, descriptor: int, stop: Stop) -> Delivery:
    """Start to deliver a finished output. Raises StorageFailed where the disk refuses."""
    with storage_errors("cannot deliver", output):
        sequence = AsTheyCome(output)
    return _started(sequence, ledger, descriptor, stop)


def _started(sequence: Sequence, ledger: Ledger, descriptor: int, stop: Stop) -> Delivery:
    earlier = ledger.meta.get("stdout")
    appended = appended_to(descriptor, Appended(*orjson.loads(earlier)) if earlier else None)
    if appended is not None:
        with ledger.transaction():
            ledger.set_meta(stdout=orjson.dumps(tuple(appended)).decode())
    delivery = Delivery(sequence, Outlet(descriptor, appended), ledger.out_off, stop)
    delivery.start()
    return delivery


def _without_result(ledger: Ledger) -> Iterator[int]:
    """Yield the lines that earlier runs ended without a result: dead letters, and blank lines of whole chunks."""
    for letter in ledger.dead_letters():
        yield letter.line
    for chunk in ledger.chunks.values():
        if chunk.blank and ledger.complete_chunk(chunk.number):
            lines = range(chunk.first_line, chunk.last_line + 1)
            yield from (line for line in lines if line not in ledger.done)
