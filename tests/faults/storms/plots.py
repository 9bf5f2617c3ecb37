"""How an output got to where a fault strikes it: each plot prepares a scene and says which command comes next."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from tests.faults.storms.interposer import Strike, read_trace
from tests.faults.storms.scene import Scene, Server, expect, recorded

RECORDS = 15
_KEYS = {"batch": {"max_items": 3}, "limits": {"concurrency": 2, "rpm": 1_000_000}}


class Plot(NamedTuple):
    """A prepared scene, and the flags of the run that is to be struck."""

    scene: Scene
    flags: tuple[str, ...] = ()


def first(folder: Path, server: Server) -> Plot:
    """Nothing is there yet."""
    return Plot(Scene(folder / "first", server, RECORDS, _KEYS))


def done(folder: Path, server: Server) -> Plot:
    """Nothing is there yet, and the output keeps the order in which answers came."""
    keys = {**_KEYS, "limits": {"concurrency": 1, "rpm": 1_000_000}, "output": _output("done")}
    return Plot(Scene(folder / "done", server, RECORDS, keys))


def recovery(folder: Path, server: Server) -> Plot:
    """A run was killed when answers were on disk that its ledger did not know of."""
    scene = Scene(folder / "recovery", server, RECORDS, _KEYS)
    kill_between(scene, answers=3)
    return Plot(scene)


def torn(folder: Path, server: Server) -> Plot:
    """The same, and the last of these answers is torn."""
    scene = recovery(folder, server).scene
    content = scene.places.partial.read_bytes()
    scene.places.partial.write_bytes(content[:-20])
    scene.owned = scene.on_disk()
    return Plot(scene)


def grown(folder: Path, server: Server) -> Plot:
    """The output was finished, and then the input grew."""
    scene = Scene(folder / "grown", server, RECORDS, _KEYS)
    scene.finish()
    scene.write_input(RECORDS + 6)
    return Plot(scene)


def packed(folder: Path, server: Server) -> Plot:
    """The output is compressed; it was finished, and then the input grew."""
    scene = Scene(folder / "packed", server, RECORDS, {**_KEYS, "output": _output("input", "out.jsonl.gz")})
    scene.finish()
    scene.write_input(RECORDS + 6)
    return Plot(scene)


def repaired(folder: Path, server: Server) -> Plot:
    """A run was killed, its ledger is damaged, and `--repair` is asked for."""
    scene = Scene(folder / "repaired", server, RECORDS, _KEYS)
    kill_between(scene, answers=2)
    scene.rebuilding, scene.forgotten = True, recorded(scene.places.ledger).reserved
    content = scene.places.ledger.read_bytes()
    scene.places.ledger.write_bytes(content[:1000] + bytes(len(content) - 1000))
    return Plot(scene, ("--repair",))


def mended(folder: Path, server: Server) -> Plot:
    """A run was killed, its output was edited, and `--repair` is asked for: what the ledger knows must not be lost."""
    scene = Scene(folder / "mended", server, RECORDS, _KEYS)
    kill_between(scene, answers=3)
    scene.rebuilding = True
    lines = scene.places.partial.read_bytes().splitlines(keepends=True)
    scene.places.partial.write_bytes(b"".join(lines[1:]))
    scene.owned = scene.on_disk()
    return Plot(scene, ("--repair",))


def edited(folder: Path, server: Server) -> Plot:
    """A run was killed, the input was edited, and `--accept-changes` is asked for."""
    scene = Scene(folder / "edited", server, RECORDS, _KEYS)
    kill_between(scene, answers=3)
    scene.edition = " edited"
    scene.write_input(RECORDS)
    return Plot(scene, ("--accept-changes",))


PLOTS: dict[str, Callable[[Path, Server], Plot]] = {
    plot.__name__: plot for plot in (first, done, recovery, torn, grown, packed, edited, repaired, mended)
}


def kill_between(scene: Scene, answers: int, *, written: bool = True) -> None:
    """Kill a run of `scene` when so many requests were answered, before its ledger knows of the last.

    Args:
        scene: Nothing was run in it yet.
        answers: How many.
        written: Whether the last answers are in the output.
    """
    probe = scene.copy("probe")
    probe.run(strike=Strike(0))
    calls = read_trace(probe.log).calls
    probe.remove()
    scene.position = len(scene.server.lines(0))
    writes = [number for number, (name, path) in enumerate(calls, 1) if name == "write" and path.suffix == ".partial"]
    after = 2 if written else 0  # the write, its fdatasync, and then the ledger
    ended = scene.run(strike=Strike(writes[answers - 1] + after))
    expect(ended.code == -9, f"it was not killed: exit {ended.code} {ended.err}")
    expect(recorded(scene.places.ledger).inflight > 0, "nothing was in flight")
    scene.settle()
    scene.look()


def _output(order: str, path: str = "out.jsonl") -> dict[str, object]:
    return {"path": path, "keep": ["q"], "order": order}
