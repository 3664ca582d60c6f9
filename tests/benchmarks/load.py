"""The load: wrk for fixed bodies, client.c for streams (and for fixed bodies where there is no wrk)."""

from __future__ import annotations

import json
import os
import subprocess
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from tests.benchmarks import bodies, install, measure

if TYPE_CHECKING:
    from collections.abc import Mapping

HERE = Path(__file__).parent


@dataclass(frozen=True, slots=True)
class Scenario:
    """What the clients ask for; ``asks``: they want the logprobs themselves."""

    model: str
    stream: bool
    asks: bool
    concurrency: int

    @property
    def asking(self) -> Scenario:
        """Return the scenario with the client requesting logprobs."""
        return replace(self, asks=True)

    @property
    def request(self) -> bytes:
        return bodies.request(self.model, stream=self.stream, asks=self.asks)


@dataclass(frozen=True, slots=True)
class Run:
    """What the clients saw in one run; times in microseconds, ``first`` only of streams."""

    requests: int
    errors: int
    seconds: float
    total_p50: float
    total_p99: float
    first_p50: float | None = None
    first_p99: float | None = None


class Load:
    """The programs that make the load, on their cores."""

    def __init__(self, directory: Path, core: str) -> None:
        self._directory = directory
        self._core = core
        self._client = str(install.compiled(HERE / "client.c"))
        try:
            self._wrk: str | None = install.program("wrk", "wrk")
        except install.Missing:
            self._wrk = None

    @property
    def version(self) -> str:
        """Which program drives the fixed bodies."""
        return f"wrk {install.version(self._wrk, '-v')}" if self._wrk else "client.c for want of wrk"

    def run(self, port: int, headers: Mapping[str, str], scenario: Scenario, seconds: float) -> Run:
        """Run the scenario against 127.0.0.1:port for ``seconds``."""
        if self._wrk and not scenario.stream:
            return self._with_wrk(self._wrk, port, headers, scenario, seconds)
        head = "".join(f"{k}: {v}\r\n" for k, v in {**_HEADERS, **headers}.items())
        body = scenario.request
        text = f"POST {_PATH} HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\ncontent-length: {len(body)}\r\n{head}\r\n"
        request = self._file("request", text.encode() + body)
        number = str(scenario.concurrency), str(round(seconds * 1000))
        return self._measure(
            (self._client, str(port), *number, request, "[DONE]" if scenario.stream else ""), {}, seconds
        )

    def _with_wrk(
        self, wrk: str, port: int, headers: Mapping[str, str], scenario: Scenario, seconds: float
    ) -> Run:
        lines = "".join(f"{k}: {v}\n" for k, v in {**_HEADERS, **headers}.items())
        environment = {
            "REQUEST": self._file("body", scenario.request),
            "HEADERS": self._file("headers", lines.encode()),
        }
        options = ("-t1", f"-c{scenario.concurrency}", f"-d{round(seconds)}s", "--timeout", "30s")
        command = (wrk, *options, "-s", str(HERE / "wrk.lua"), f"http://127.0.0.1:{port}{_PATH}")
        return self._measure(command, environment, seconds)

    def _measure(self, command: tuple[str, ...], environment: Mapping[str, str], seconds: float) -> Run:
        answer = subprocess.run(
            measure.pinned(self._core, *command),
            env={**os.environ, **environment},
            capture_output=True,
            text=True,
            timeout=seconds + 90,
            check=False,
        )
        if answer.returncode:
            raise measure.Broken(f"{Path(command[0]).name}: {answer.stderr.strip() or answer.returncode}")
        return Run(**json.loads(answer.stdout.strip().splitlines()[-1]))

    def _file(self, name: str, data: bytes) -> str:
        path = self._directory / name
        path.write_bytes(data)
        return str(path)


_PATH = "/v1/chat/completions"
_HEADERS = {"content-type": "application/json", "authorization": "Bearer none"}
