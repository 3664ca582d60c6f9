"""The proxy of the demonstration: its configuration in a dedicated folder, and the server on a loopback port."""

from __future__ import annotations

import json
import logging
import os
import socket
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from proxy import app, config
from proxy.exceptions import RunError
from proxy.server.protocol import server_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

#: Routes: one that enforces the policy, one that observes with it, and one that observes without a policy.
GATED, OPEN, BEFORE = "gated", "open", "before"
#: The model name of the README's example, which the enforcing route takes too.
README_MODEL = "support"
#: A wrong answer costs three right ones, so that the gate answers at a confidence of 3/4 or more.
WRONG_COST = 3.0
#: Answers to the questions are a few words long.
MAX_TOKENS = 32
_STARTING_S = 10.0


@dataclass(frozen=True, slots=True)
class DemoSetup:
    """The settings of a demo run; ``folder`` holds the questions, the records, the policy and the configuration."""

    folder: Path
    upstream: str
    model: str
    #: The ``rag`` section of the routes.
    rag: Mapping[str, object] = field(default_factory=dict)
    #: Further samples of each answer, and whether its logprobs are read.
    samples: int = 0
    logprobs: bool = True

    @property
    def records(self) -> Path:
        """The file of the graded answers of the first half."""
        return self.folder / "records.jsonl"

    @property
    def scorers(self) -> tuple[str, ...] | None:
        """The policy's scorers where both logprobs and samples are read; None for the default of `idk tune`."""
        return ("mean_logprob", "agreement") if self.samples and self.logprobs else None

    @property
    def policy(self) -> Path:
        """The file of the policy."""
        return self.folder / "policy.json"

    def config(self, *modes: str) -> config.Config:
        """Return the configuration with these routes, and write it to the folder."""
        tree = {
            "upstreams": {
                "embedded": {
                    "base_url": self.upstream,
                    "timeout_s": 120,
                    "logprobs": "auto" if self.logprobs else "none",
                }
            },
            "routes": [self._route(mode) for mode in modes],
        }
        path = self.folder / "idk.yaml"
        path.write_text(json.dumps(tree, indent=2), encoding="utf-8")  # JSON is YAML
        return config.load(path)

    def _route(self, name: str) -> dict[str, object]:
        gate: dict[str, dict[str, object]] = {
            GATED: {"mode": "enforce", "policy": str(self.policy), "allow_override": True},
            OPEN: {"mode": "observe", "policy": str(self.policy)},
            BEFORE: {"mode": "observe"},
        }
        return {
            "name": name,
            "models": [name, README_MODEL] if name == GATED else [name],
            "upstream": "embedded",
            "model": self.model,
            "params": {"temperature": 0},
            "rag": dict(self.rag),
            "samples": self.samples,
            "budget": {"samples": max(self.samples, 8), "timeout_s": 120},
            **gate[name],
        }


@contextmanager
def running_proxy(setup: DemoSetup, port: int = 0) -> Iterator[str]:
    """Run the proxy with the policy's routes in a thread; yield its base URL. Raises RunError if it cannot listen."""
    loaded = setup.config(GATED, OPEN)
    parts = app.build(loaded, folder=setup.folder, environ=os.environ)
    server = server_of(app.App(parts), loaded.server)
    logging.getLogger("uvicorn.error").setLevel(logging.WARNING)  # constructing the server sets the level
    try:
        listener = socket.create_server(("127.0.0.1", port))
    except OSError as exc:
        raise RunError(f"demo: cannot listen on 127.0.0.1:{port}; give another --port") from exc
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, name="idk", daemon=True)
    with listener:
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}/v1"
        finally:
            server.should_exit = True
            thread.join(_STARTING_S)
