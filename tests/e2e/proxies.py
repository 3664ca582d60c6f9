"""The command ``idk`` in processes of its own, and requests whose answers are read to the last byte."""

from __future__ import annotations

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

from tests.fakes import DEADLINE_S

if TYPE_CHECKING:
    from collections.abc import Mapping

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
        """With workers the port is bound and said a moment before anyone listens on it."""
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
        """Its exit status, once it has ended."""
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
        """The line of its log with these words, waited for."""
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
        """Every byte of the answer: status line, headers, framing and all."""
        with self.open(body) as connection:
            return b"".join(iter(lambda: connection.recv(65_536), b""))

    @property
    def pid(self) -> int:
        """Of the process that was started."""
        return self._process.pid

    def metric_sum(self, name: str, **labels: str) -> float:
        """All samples of /metrics with these labels, added up."""
        wanted = {f'{label}="{value}"' for label, value in labels.items()}
        found = _SAMPLE.findall(httpx.get(f"{self.url}/metrics", timeout=START_S, **PLAIN).text)
        return sum(
            float(value) for each, given, value in found if each == name and wanted <= set(given.split(","))
        )

    def metric(self, name: str, **labels: str) -> float:
        """A sample of /metrics; 0 where there is none yet."""
        wanted = {f'{label}="{value}"' for label, value in labels.items()}
        for found, given, value in _SAMPLE.findall(
            httpx.get(f"{self.url}/metrics", timeout=START_S, **PLAIN).text
        ):
            if found == name and wanted <= set(given.split(",")):
                return float(value)
        return 0.0


def events(response: httpx.Response) -> list[Any]:
    """The payloads of an event stream that ended as it should."""
    payloads = [
        line.removeprefix("data: ") for line in response.text.splitlines() if line.startswith("data: ")
    ]
    assert payloads[-1] == "[DONE]"
    return [json.loads(payload) for payload in payloads[:-1]]


def asking(model: str, prompt: str, **fields: Any) -> dict[str, Any]:
    """A chat request."""
    return {"model": model, "messages": [{"role": "user", "content": prompt}], **fields}


def write_config(folder: Path, config: Mapping[str, Any], name: str = "idk.yaml") -> Path:
    """Write a configuration; gives its file."""
    path = folder / name
    path.write_text(yaml.safe_dump(dict(config)))
    return path


def route(name: str, upstream: str = "fake", **settings: Any) -> dict[str, Any]:
    """A route that takes the model of its own name."""
    return {"name": name, "models": [name], "upstream": upstream, **settings}


def enforced(name: str, scorer: str = "mean_logprob", least: float = -0.5, **settings: Any) -> dict[str, Any]:
    """A route that withholds what scores less."""
    return route(name, mode="enforce", scorers=[scorer], score_threshold=least, **settings)


def one_line(result: subprocess.CompletedProcess[str], *words: str) -> None:
    """It failed over its configuration, with one line on standard error that holds the words."""
    assert result.returncode == 2, result.stderr
    assert result.stdout == ""
    assert result.stderr.count("\n") == 1, result.stderr
    for word in words:
        assert word in result.stderr
