"""CPU of whole processes: ours with everything on, against a bare loop and against the peers.

python -m tests.benchmarks.cpu --rounds 5 --peers
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import click

from tests.benchmarks.clients import flexllm, ours, raw, script
from tests.benchmarks.peer_environments import PEERS, NotInstalledError, Peer, install
from tests.benchmarks.rounds import Client, Row, paired, show
from tests.benchmarks.server import Server, build
from tests.benchmarks.workloads import Workload, write_config, write_input

CHAT_CLAIM, BASE64_CLAIM, FLOATS_CLAIM = 1.35, 0.60, 1.00


@click.command(help=__doc__)
@click.option("--rounds", default=5, show_default=True, help="Paired rounds.")
@click.option("--chat", default=10_000, show_default=True, help="Chat rows; 0 leaves chat out.")
@click.option("--embeddings", default=20_000, show_default=True, help="Vectors of 1536 dimensions; 0 leaves them out.")
@click.option("--peers/--no-peers", default=False, help="Install the peers and run them too.")
@click.option("--peer-folder", type=Path, help="Where peers are installed; kept. Default: a temporary folder.")
def main(rounds: int, chat: int, embeddings: int, *, peers: bool, peer_folder: Path | None) -> None:
    with tempfile.TemporaryDirectory(prefix="benchmark-") as name:
        folder = Path(name)
        program = build(folder)
        if chat:
            installed = peer_folder or folder / "peers"
            _chat(folder, program, Workload("chat", chat), rounds, installed if peers else None)
        if embeddings:
            _embeddings(folder, program, Workload("embeddings", embeddings, vectors="base64"), rounds, BASE64_CLAIM)
            _embeddings(folder, program, Workload("embeddings", embeddings, vectors="floats"), rounds, FLOATS_CLAIM)


def _chat(folder: Path, program: Path, workload: Workload, rounds: int, peers: Path | None) -> None:
    place = _place(folder, workload)
    with Server(program) as server:
        write_config(place, server.url, workload)
        clients = {"raw loop": raw(place, server.url, workload), "ours": ours(place, workload)}
        skipped: list[Row] = []
        for peer in PEERS if peers is not None else ():
            try:
                clients[peer.name] = _peer(peer, install(peer, peers or folder).absolute(), place, server.url, workload)
            except NotInstalledError as error:
                skipped.append(Row(peer.name, [], [], str(error)))
        rows = paired(clients, rounds)
    show("chat", rows + skipped, workload.rows, CHAT_CLAIM)
    _say_server(server)


def _peer(peer: Peer, programs: Path, place: Path, url: str, workload: Workload) -> Client:
    if peer.name == "flexllm":
        return flexllm(programs / "flexllm", place, url, workload.rows)
    module = f"{peer.name.replace('-', '_')}_client"
    return script(programs / "python", module, place, url, str(place / "in.jsonl"))


def _embeddings(folder: Path, program: Path, workload: Workload, rounds: int, claim: float) -> None:
    place = _place(folder, workload)
    with Server(program) as server:
        write_config(place, server.url, workload)
        floats = workload._replace(encoding="float")
        clients = {
            "raw loop, floats": raw(place, server.url, floats),
            f"ours, {workload.vectors} out": ours(place, workload),
            "raw loop, base64 unparsed": raw(place, server.url, workload),
        }
        rows = paired(clients, rounds)
    show(f"embeddings packed {workload.packed}", rows, workload.rows, claim)
    _say_server(server)


def _place(folder: Path, workload: Workload) -> Path:
    place = folder / f"{workload.kind}-{workload.vectors}"
    place.mkdir()
    write_input(place / "in.jsonl", workload.kind, workload.rows)
    return place


def _say_server(server: Server) -> None:
    each = server.cpu / max(1, server.served) * 1e6
    click.echo(f"server: {each:.0f} us of CPU a request, on the other core")


if __name__ == "__main__":
    main()
