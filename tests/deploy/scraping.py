"""A real Prometheus with the project's rules that scrapes one proxy, and queries to it."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

import httpx
import pytest

from tests.benchmarks.measure import free_port
from tests.deploy.conftest import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

UP_S: Final = 30
#: The values of the dashboard's variables.
ANY, INTERVAL = ".*", "30s"


@contextmanager
def prometheus(target: str, folder: Path) -> Iterator[str]:
    """Start Prometheus with the project's rules, scraping one target twice a second; yield its base URL."""
    program = shutil.which("prometheus")
    if program is None:
        pytest.fail("prometheus is not installed: run make test-deploy")
    scraped = {"job_name": "idk", "static_configs": [{"targets": [target]}]}
    text = json.dumps(
        {
            "global": {"scrape_interval": "500ms", "evaluation_interval": "1s"},
            "rule_files": [str(ROOT / "deploy/prometheus/rules.yml")],
            "scrape_configs": [scraped],
        }
    )
    (folder / "prometheus.yml").write_text(text)
    address = f"127.0.0.1:{free_port()}"
    command = [program, f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/data"]
    with (folder / "prometheus.log").open("w") as log:
        server = subprocess.Popen([*command, f"--web.listen-address={address}"], stderr=log)
        try:
            yield f"http://{address}"
        finally:
            server.send_signal(signal.SIGTERM)
            server.wait(UP_S)


def ask(url: str, expr: str) -> list[Any]:
    """Return the result of an instant query; empty while Prometheus starts."""
    return _asked(f"{url}/api/v1/query", expr, {})


def ask_range(url: str, expr: str, start: float, end: float, step_s: float) -> list[Any]:
    """Return the result of a range query; times are in seconds since 1970."""
    return _asked(f"{url}/api/v1/query_range", expr, {"start": start, "end": end, "step": step_s})


def _asked(url: str, expr: str, params: dict[str, Any]) -> list[Any]:
    expr = expr.replace("$route", ANY).replace("$__rate_interval", INTERVAL)
    try:
        reply = httpx.get(url, params={"query": expr, **params}, timeout=10)
    except httpx.TransportError:
        return []
    if reply.status_code == 503:  # Prometheus is starting
        return []
    found = reply.json()
    assert found["status"] == "success", found
    return list(found["data"]["result"])


def await_series(url: str, expr: str) -> None:
    """Wait until a query has a result."""
    deadline = time.monotonic() + UP_S
    while not ask(url, expr):
        assert time.monotonic() < deadline, f"Prometheus has nothing for {expr}"
        time.sleep(0.2)
