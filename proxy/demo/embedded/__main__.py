"""``python -m proxy.demo.embedded``: the embedded model as an upstream on a loopback port, until Ctrl-C."""

from __future__ import annotations

import argparse
import signal
import sys
from contextlib import suppress

from proxy.demo.embedded.fetch import fetch
from proxy.demo.embedded.models import DEFAULT, MODELS
from proxy.demo.embedded.server import EmbeddedServer
from proxy.exceptions import RunError


def main() -> int:
    """Serve one embedded model; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m proxy.demo.embedded", description=__doc__)
    parser.add_argument("--model", choices=sorted(MODELS), default=DEFAULT, help="default: %(default)s")
    parser.add_argument("--port", type=int, default=8000, help="default: %(default)s; 0 takes a free one")
    options = parser.parse_args()
    # SIGTERM ends the model in the same way as Ctrl-C.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with (
            suppress(KeyboardInterrupt),
            EmbeddedServer(fetch(MODELS[options.model]), port=options.port) as server,
        ):
            print(f"{MODELS[options.model].title} listens on {server.base_url}; Ctrl-C ends it", flush=True)
            signal.pause()
    except RunError as exc:
        print(f"idk: {exc}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
