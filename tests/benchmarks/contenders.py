"""The servers in the benchmark: one table, with a function for each that installs and starts it."""

from __future__ import annotations

import compileall
import json
import os
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from tests.benchmarks import install
from tests.benchmarks.install import Missing

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

ROOT = Path(__file__).parents[2]
PACKAGES = ("calibrators", "gating", "proxy")
MODELS = ("bench-small", "bench-large")
PASSES, ABSTAINS = (
    -50.0,
    0.0,
)  # thresholds on mean_logprob, in nats, that every and no benchmark answer reaches


@dataclass(frozen=True, slots=True)
class Site:
    """Where a contender is to run: its own directory and port, and the port of the upstream."""

    directory: Path
    port: int
    upstream: int

    @property
    def base_url(self) -> str:
        """The upstream as an OpenAI client would be given it."""
        return f"http://127.0.0.1:{self.upstream}/v1"

    def file(self, name: str, text: str) -> str:
        """Writes a configuration file of the contender; its path."""
        path = self.directory / name
        path.write_text(text)
        return str(path)


@dataclass(frozen=True, slots=True)
class Launch:
    """How one contender is started here; ``headers`` go with each request."""

    command: tuple[str, ...]
    version: str
    headers: Mapping[str, str] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Contender:
    """``launch`` raises Missing where it cannot run on this machine; None is the upstream itself.

    ``gates``: it reads logprobs, so it matters whether the client asked for them. ``abstains``: the answer
    must be "I don't know.". ``holds``: a stream comes only when it is whole. ``slow``: measured for longer,
    because requests in flight when the load ends are paid for but not counted.
    """

    title: str
    launch: Callable[[Site], Launch] | None
    gates: bool = False
    abstains: bool = False
    holds: bool = False
    slow: bool = False


def nginx(site: Site) -> Launch:
    """Start nginx as a plain reverse proxy with kept-alive upstream connections, a lower bound for gateways."""
    path = install.program("nginx", "nginx-light")
    user = "user root;" if os.geteuid() == 0 else ""
    temporary = " ".join(
        f"{kind}_temp_path {site.directory}/{kind};"
        for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    text = f"""
        {user} daemon off; worker_processes 1; pid {site.directory}/pid; error_log stderr crit;
        events {{ worker_connections 4096; }}
        http {{
          access_log off; {temporary} keepalive_requests 100000000;
          upstream model {{ server 127.0.0.1:{site.upstream}; keepalive 128; keepalive_requests 100000000; }}
          server {{
            listen 127.0.0.1:{site.port};
            location / {{
              proxy_pass http://model; proxy_http_version 1.1; proxy_set_header Connection "";
              proxy_buffer_size 16k; proxy_buffers 8 16k;
            }}
          }}
        }}"""
    return Launch(
        (path, "-p", str(site.directory), "-c", site.file("nginx.conf", text)), install.version(path, "-v")
    )


def raw(site: Site) -> Launch:
    """Start the minimal Python proxy (raw_asgi.py) in this environment."""
    app = "tests.benchmarks.raw_asgi:app"
    server = ("--host", "127.0.0.1", "--port", str(site.port), "--no-access-log", "--log-level", "warning")
    here = Path(sys.executable).parent
    versions = f"uvicorn {install.python_version(here, 'uvicorn')}, aiohttp {install.python_version(here, 'aiohttp')}"
    command = (sys.executable, "-m", "uvicorn", app, "--loop", "uvloop", "--http", "httptools", *server)
    return Launch(command, versions, environment={"UPSTREAM": site.base_url, "PYTHONPATH": str(ROOT)})


def litellm(site: Site) -> Launch:
    """LiteLLM's proxy: one worker, no database, no callbacks, logging off."""
    home = install.python_environment("litellm", *install.LITELLM)
    models = [
        {
            "model_name": m,
            "litellm_params": {"model": f"openai/{m}", "api_base": site.base_url, "api_key": "none"},
        }
        for m in MODELS
    ]
    config = {
        "model_list": models,
        "litellm_settings": {"num_retries": 0},
        "general_settings": {"disable_spend_logs": True},
    }
    path = site.file("litellm.yaml", json.dumps(config))  # JSON is YAML
    server = ("--host", "127.0.0.1", "--port", str(site.port), "--num_workers", "1", "--telemetry", "False")
    environment = {
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",
        "LITELLM_LOG": "ERROR",
        "LITELLM_MODE": "PRODUCTION",
        # No keys, as idk is run here: the cheaper way for both.
        "LITELLM_DANGEROUSLY_PERMIT_WEAK_OR_UNSET_MASTER_KEY": "true",
    }
    command = (str(home / "litellm"), "--config", path, *server)
    return Launch(command, install.python_version(home, "litellm"), environment=environment)


def portkey(site: Site) -> Launch:
    """Portkey's gateway on Node, which takes the upstream from headers."""
    node = install.program("node", "nodejs")
    home = install.npm_package("@portkey-ai/gateway")
    command = (node, str(home / "build" / "start-server.js"), f"--port={site.port}", "--headless")
    headers = {
        "x-portkey-provider": "openai",
        "x-portkey-custom-host": site.base_url,
        "authorization": "Bearer none",
    }
    environment = {"NODE_ENV": "production", "TRUSTED_CUSTOM_HOSTS": "127.0.0.1,localhost"}
    return Launch(command, install.npm_version(home), headers, environment)


def idk(mode: str, score_threshold: float | None = None) -> Callable[[Site], Launch]:
    """Start idk from this environment, with one route for every model."""

    def launch(site: Site) -> Launch:
        route: dict[str, object] = {"name": "bench", "models": ["*"], "upstream": "bench", "mode": mode}
        if score_threshold is not None:
            route |= {"scorers": ["mean_logprob"], "score_threshold": score_threshold}
        return serve(site, [route])

    return launch


def serve(site: Site, routes: list[dict[str, object]]) -> Launch:
    """``idk serve`` with these routes to the benchmark's upstream, and a store on disk as in production."""
    here = Path(sys.executable).parent
    for package in PACKAGES:  # as pip does where it installs, for the others and for users
        compileall.compile_dir(ROOT / package, quiet=1)
    if not (here / "idk").exists():
        raise Missing("the command idk is not in this environment: make setup")
    config = {
        "server": {"host": "127.0.0.1", "port": site.port, "store": f"sqlite:///{site.directory}/idk.db"},
        "upstreams": {
            "bench": {"base_url": site.base_url, "auth": "forward", "logprobs": "native", "max_retries": 0}
        },
        "routes": routes,
    }
    path = site.file("idk.yaml", json.dumps(config, indent=1))
    return Launch((str(here / "idk"), "serve", "--config", path), install.python_version(here, "idk-proxy"))


CONTENDERS: Mapping[str, Contender] = {
    "direct": Contender("direct (no proxy)", None),
    "nginx": Contender("nginx, plain reverse proxy", nginx),
    "raw": Contender("raw ASGI + aiohttp pass-through", raw),
    "idk-off": Contender("idk, gate off", idk("off")),
    "idk-observe": Contender("idk, observing", idk("observe", PASSES), gates=True),
    "idk-enforce": Contender("idk, enforcing", idk("enforce", PASSES), gates=True, holds=True),
    "idk-abstain": Contender(
        "idk, enforcing, all abstain", idk("enforce", ABSTAINS), gates=True, abstains=True, holds=True
    ),
    "portkey": Contender("Portkey gateway", portkey, slow=True),
    "litellm": Contender("LiteLLM proxy", litellm, slow=True),
}
