"""A real llama.cpp server on loopback: `python -m tests.acceptance.llama_server MODEL.gguf`. Prints its address."""

from __future__ import annotations

import sys
import time

import xllamacpp


def main(model: str) -> None:
    params = xllamacpp.CommonParams()
    params.model.path = model
    params.hostnames = ["127.0.0.1"]
    params.port = 0
    params.n_ctx = 4096
    params.n_parallel = 4
    params.cpuparams.n_threads = 2
    params.model_alias = {"smollm2-135m"}
    server = xllamacpp.Server(params)
    print(server.listening_address, flush=True)
    while True:
        time.sleep(3600)


if __name__ == "__main__":
    main(sys.argv[1])
