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
            _embeddings(folder, program, embeddings, rounds, indented=True)
            _embeddings(folder, program, embeddings, rounds, indented=False)


def _chat(folder: Path, program: Path, workload: Workload, rounds: int, peers: Path | None) -> None:
    with Server(program) as server:
        place = _place(folder, workload, server)
        clients = {"raw loop": raw(place, server.url, workload), "ours": ours(place, workload)}
        skipped: list[Row] = []
        for peer in PEERS if peers is not None else ():
            try:
                clients[peer.name] = _peer(peer, install(peer, peers or folder).absolute(), place, server.url, workload)
            except NotInstalledError as error:
                skipped.append(Row(peer.name, [], [], str(error)))
        rows = paired(clients, rounds)
    show("chat", rows + skipped, workload.rows, {"ours": CHAT_CLAIM})
    _say_server(server)


def _peer(peer: Peer, programs: Path, place: Path, url: str, workload: Workload) -> Client:
    if peer.name == "flexllm":
        return flexllm(programs / "flexllm", place, url, workload.rows)
    module = f"{peer.name.replace('-', '_')}_client"
    return script(programs / "python", module, place, url, str(place / "in.jsonl"))


def _embeddings(folder: Path, program: Path, count: int, rounds: int, *, indented: bool) -> None:
    """Compare on one server, whose JSON is `indented` as OpenAI's or has no white space."""
    floats, base64 = Workload("embeddings", count), Workload("embeddings", count, vectors="base64")
    with Server(program, indented=int(indented)) as server:
        place = _place(folder, floats, server)
        clients = {
            "raw loop, floats": raw(place, server.url, floats._replace(encoding="float")),
            "ours, base64 out": ours(_place(folder, base64, server), base64),
            "ours, floats out": ours(place, floats),
            "raw loop, base64 unparsed": raw(place, server.url, floats),
        }
        rows = paired(clients, rounds)
    shape = "one number a line, as from api.openai.com" if indented else "no white space, as from TEI"
    claims = {"ours, base64 out": BASE64_CLAIM, "ours, floats out": FLOATS_CLAIM}
    show(f"embeddings packed {floats.packed}, {shape}", rows, count, claims)
    _say_server(server)


def _place(folder: Path, workload: Workload, server: Server) -> Path:
    place = Path(tempfile.mkdtemp(prefix=f"{workload.kind}-", dir=folder))
    write_input(place / "in.jsonl", workload.kind, workload.rows)
    write_config(place, server.url, workload)
    return place


def _say_server(server: Server) -> None:
    each = server.cpu / max(1, server.served) * 1e6
    click.echo(f"server: {each:.0f} us of CPU a request, on the other core")


if __name__ == "__main__":
    main()
