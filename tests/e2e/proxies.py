"""The command ``idk`` in separate processes, requests to it, and what the end-to-end tests share."""

from __future__ import annotations

import asyncio
import json
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import httpx
import yaml

from proxy.storage import Sealer, make_store
from tests.fakes import DEADLINE_S, answer, says

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from proxy.storage import Store
    from tests.fakes import FakeUpstream

#: A proxy that imports LiteLLM takes seconds to start, on a busy machine tens of them.
START_S = 60.0
IDK = Path(sys.executable).with_name("idk")
#: No certificates are read for a plain connection: reading them takes sixty times as long as the request.
PLAIN: dict[str, Any] = {"verify": False, "trust_env": False}
_LISTENING = re.compile(r"running on (http://\S+)")
_SAMPLE = re.compile(r"^(\w+)(?:\{(.*)\})? (\S+)$", re.MULTILINE)


def idk(
    *arguments: object, cwd: Path, env: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a command to its end."""
    return subprocess.run(
        [IDK, *map(str, arguments)], cwd=cwd, env=env, capture_output=True, text=True, timeout=30, check=False
    )


class Proxy:
    """``idk serve`` with these arguments on a port that it chooses itself; a context manager."""

    def __init__(self, *arguments: object, cwd: Path, env: Mapping[str, str] | None = None) -> None:
        given = [str(each) for each in arguments]
        port = [] if "--port" in given else ["--port", "0"]
        self._command = [str(IDK), "serve", *port, *given]
        self._cwd = cwd
        self._env = env
        self._said = threading.Condition()
        #: What it has said on standard error.
        self.log: list[str] = []
        self.url = ""

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            self._command, cwd=self._cwd, env=self._env, stderr=subprocess.PIPE, text=True
        )
        self._reader = threading.Thread(target=self._follow)
        self._reader.start()
        self.url = _LISTENING.search(self.says("running on http://", START_S))[1]  # type: ignore[index] # it was found
        self._listens()
        return self

    def _listens(self) -> None:
        """Wait until the server answers: with workers, the port is logged before a worker accepts connections."""
        host, port = self.url.removeprefix("http://").split(":")
        end = time.monotonic() + DEADLINE_S
        while True:
            try:
                socket.create_connection((host, int(port)), DEADLINE_S).close()
            except ConnectionRefusedError:
                assert time.monotonic() < end, "nobody listens"
                threading.Event().wait(0.01)
            else:
                return

    def stop(self) -> None:
        """Ask it to end, without waiting for it."""
        self._process.send_signal(signal.SIGTERM)

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal."""
        self._process.send_signal(number)

    def kill(self) -> None:
        """End it at once."""
        self._process.kill()

    def wait(self) -> int:
        """Wait for the end of the process and return its exit status."""
        return self._process.wait(DEADLINE_S)

    def __exit__(self, *_: object) -> None:
        self.stop()
        try:
            self._process.wait(DEADLINE_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            raise
        finally:
            self._reader.join(DEADLINE_S)

    def _follow(self) -> None:
        assert self._process.stderr is not None
        with self._process.stderr as lines:
            for line in lines:
                with self._said:
                    self.log.append(line)
                    self._said.notify_all()

    def says(self, words: str, deadline_s: float = DEADLINE_S) -> str:
        """Wait for a line of the log with these words, and return it."""
        with self._said:
            found = self._said.wait_for(lambda: [line for line in self.log if words in line], deadline_s)
        if not found:
            self.__exit__()
            raise AssertionError(f"idk serve does not say {words!r}:\n" + "".join(self.log))
        return found[0]

    @property
    def base_url(self) -> str:
        """As an OpenAI client takes it."""
        return f"{self.url}/v1"

    def post(
        self, body: Any, path: str = "/v1/chat/completions", headers: Mapping[str, str] | None = None
    ) -> httpx.Response:
        """Send JSON (or bytes as they are), and read the whole answer."""
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        sent = {"content-type": "application/json", **(headers or {})}
        return httpx.post(f"{self.url}{path}", content=content, headers=sent, timeout=DEADLINE_S, **PLAIN)

    def open(self, body: Any, path: str = "/v1/chat/completions") -> socket.socket:
        """Send JSON and read nothing: the connection, for a client that leaves."""
        content = json.dumps(body).encode()
        head = f"POST {path} HTTP/1.1\r\nhost: idk\r\nconnection: close\r\ncontent-length: {len(content)}\r\n\r\n"
        host, port = self.url.removeprefix("http://").split(":")
        connection = socket.create_connection((host, int(port)), DEADLINE_S)
        connection.sendall(head.encode() + content)
        return connection

    def wire(self, body: Any) -> bytes:
        """Return every byte of the answer: status line, headers and framing."""
        with self.open(body) as connection:
            return b"".join(iter(lambda: connection.recv(65_536), b""))

    @property
    def pid(self) -> int:
        """The id of the process."""
        return self._process.pid

    def metric_sum(self, name: str, **labels: str) -> float:
        """All samples of /metrics with these labels, added up."""
        wanted = {f'{label}="{value}"' for label, value in labels.items()}
        found = _SAMPLE.findall(httpx.get(f"{self.url}/metrics", timeout=START_S, **PLAIN).text)
        return sum(
            float(value) for each, given, value in found if each == name and wanted <= set(given.split(","))
        )

    def metric(self, name: str, **labels: str) -> float:
        """Return a sample of /metrics, or 0 where there is none yet."""
        wanted = {f'{label}="{value}"' for label, value in labels.items()}
        for found, given, value in _SAMPLE.findall(
            httpx.get(f"{self.url}/metrics", timeout=START_S, **PLAIN).text
        ):
            if found == name and wanted <= set(given.split(",")):
                return float(value)
        return 0.0


def events(response: httpx.Response) -> list[Any]:
    """Return the payloads of an event stream, and check that it ended properly."""
    payloads = [
        line.removeprefix("data: ") for line in response.text.splitlines() if line.startswith("data: ")
    ]
    assert payloads[-1] == "[DONE]"
    return [json.loads(payload) for payload in payloads[:-1]]


def asking(model: str, prompt: str, **fields: Any) -> dict[str, Any]:
    """Return a chat request."""
    return {"model": model, "messages": [{"role": "user", "content": prompt}], **fields}


def write_config(folder: Path, config: Mapping[str, Any], name: str = "idk.yaml") -> Path:
    """Write a configuration; gives its file."""
    path = folder / name
    path.write_text(yaml.safe_dump(dict(config)))
    return path


def route(name: str, upstream: str = "fake", **settings: Any) -> dict[str, Any]:
    """Return a route that takes the model with the same name."""
    return {"name": name, "models": [name], "upstream": upstream, **settings}


def enforced(name: str, scorer: str = "mean_logprob", least: float = -0.5, **settings: Any) -> dict[str, Any]:
    """Return a route that withholds answers with a lower score."""
    return route(name, mode="enforce", scorers=[scorer], score_threshold=least, **settings)


def one_line(result: subprocess.CompletedProcess[str], *words: str) -> None:
    """Check that a command exited with status 2 and one line on standard error that contains the words."""
    assert result.returncode == 2, result.stderr
    assert result.stdout == ""
    assert result.stderr.count("\n") == 1, result.stderr
    for word in words:
        assert word in result.stderr


def wait_until(true: Callable[[], bool], what: str) -> None:
    """Poll until a condition holds that no event announces."""
    end = time.monotonic() + 3 * DEADLINE_S  # long enough for workers to start
    while not true():
        assert time.monotonic() < end, what
        threading.Event().wait(0.02)


def config_of(upstream: FakeUpstream, *routes: dict[str, Any], **server: object) -> dict[str, Any]:
    """Return a configuration with the fake upstream and these routes."""
    return {
        "server": server,
        "upstreams": {"fake": {"base_url": upstream.base_url, "max_retries": 0}},
        "routes": list(routes),
    }


def verdict_of(
    proxy: Proxy, upstream: FakeUpstream, logprob: float = -0.7, model: str = "r"
) -> dict[str, Any]:
    """Return the verdict about an answer with these logprobs, and its text."""
    response = proxy.post(asking(model, upstream.script(answer(says("Paris", logprob=logprob)))))
    assert response.status_code == 200, response.text
    return {**response.json()["idk"], "text": response.json()["choices"][0]["message"]["content"]}


def with_store(
    tmp_path: Path, url: str, call: Callable[[Store], Awaitable[Any]], key: str | None = None
) -> Any:
    """Open the store from outside the proxy and return the result of ``call``."""

    async def run() -> Any:
        store = make_store(url, tmp_path, Sealer(key))
        await store.open()
        try:
            return await call(store)
        finally:
            await store.aclose()

    return asyncio.run(run())
