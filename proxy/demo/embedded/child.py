"""The embedded model's process: llama.cpp's own OpenAI-compatible server, until standard input ends.

Run by file name, never imported: ``xllamacpp`` is loaded in this process alone, so that a crash of native
code cannot take the proxy with it. The first line on standard output is the address. Standard input is a pipe
that only the parent holds: the kernel closes it however the parent ends, SIGKILL too.
"""

from __future__ import annotations

import argparse
import os
import sys


def main() -> None:
    """Serve ``--model`` on a free loopback port until standard input ends."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", required=True)
    parser.add_argument("--alias", required=True)
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one")
    parser.add_argument("--slots", type=int, required=True)
    parser.add_argument("--context", type=int, required=True, help="tokens for each slot")
    parser.add_argument("--threads", type=int, required=True)
    options = parser.parse_args()

    # Native code may print on standard output, which must contain only the address.
    address = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())

    try:
        from xllamacpp import CommonParams, Server
    except ImportError as error:
        sys.exit(f"{error}; if a system library is missing, install it (libgomp: apt-get install libgomp1)")

    params = CommonParams()
    params.model.path = options.model
    params.model_alias = {options.alias}
    params.hostnames = ["127.0.0.1"]
    params.port = options.port
    params.n_parallel = options.slots
    params.n_ctx = options.context * options.slots
    params.cpuparams.n_threads = options.threads
    params.cpuparams_batch.n_threads = options.threads
    params.verbosity = 2  # warnings and errors
    params.cpuparams.poll = 0  # an idle model does not use the CPU; measured to be no slower
    params.cpuparams_batch.poll = 0
    # A prompt that is partly cached is computed in another batch shape, which changes logprobs (by up to 0.02 here).
    # Without the cache, the same greedy request asked alone gets the same answer and the same logprobs.
    params.cache_prompt = False
    params.cache_ram_mib = 0
    params.ui = False
    params.endpoint_slots = False
    params.offline = True
    try:
        server = Server(params)  # returns when the model is loaded and the port is open
    except RuntimeError as error:
        sys.exit(str(error))  # llama.cpp has printed the reason on standard error; a traceback would hide it

    print(server.listening_address, file=address, flush=True)
    sys.stdin.buffer.read()
    # Destructors would first wait for answers that no client reads any more.
    os._exit(0)


if __name__ == "__main__":
    main()
