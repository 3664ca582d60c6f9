"""The application in the tests' own process, before a fake upstream."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from proxy.app import App, Container, build
from proxy.cli.serve_process import main as serve
from proxy.config import parse
from proxy.metrics import Metrics
from proxy.storage import Sealer, make_store
from proxy.storage.link import StoreLink
from tests.fakes import FakeUpstream
from tests.proxy.asgi_client import Reply, ask

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from contextlib import AbstractAsyncContextManager
    from pathlib import Path

    from proxy.control.recording import Recorder


@pytest.fixture(autouse=True)
def in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Run `idk serve` in this process; tests/e2e checks that it replaces the process."""

    def execv(program: str, arguments: list[str]) -> None:
        assert arguments[:4] == [program, "-P", "-m", "proxy.cli.serve_process"]
        raise SystemExit(serve(arguments[4]))

    monkeypatch.setattr("os.execv", execv)


@pytest.fixture
async def link(tmp_path: Path) -> AsyncIterator[StoreLink]:
    """To an empty store in a file."""
    made = StoreLink(make_store("sqlite:///idk.db", tmp_path, Sealer()), Metrics())
    await made.do("test", lambda store: store.revision())
    yield made
    await made.aclose()


class Running:
    """An application with its parts."""

    def __init__(self, parts: Container) -> None:
        self.parts = parts
        self.app = App(parts)

    async def ask(self, path: str, body: Any = b"", **given: Any) -> Reply:
        """Send one request; see ``asgi_client``."""
        return await ask(self.app, path, body, **given)

    async def chat(self, prompt: str, model: str = "m", **fields: Any) -> Reply:
        """Ask for a chat completion with a scripted prompt."""
        body = {"model": model, "messages": [{"role": "user", "content": prompt}], **fields}
        return await self.ask("/v1/chat/completions", body)

    def count(self, name: str, **labels: str) -> float:
        """Return the value of a metric."""
        return self.parts.metrics.registry.get_sample_value(name, labels) or 0.0


@pytest.fixture(scope="module")
def upstream() -> Iterator[FakeUpstream]:
    """The fake upstream of a module's tests."""
    with FakeUpstream() as server:
        yield server


@pytest.fixture
def serving(upstream: FakeUpstream, tmp_path: Path) -> Callable[..., AbstractAsyncContextManager[Running]]:
    """Makes an application with these routes; an upstream's settings and the server's may be given."""

    @asynccontextmanager
    async def serve(
        *routes: dict[str, Any],
        environ: dict[str, str] | None = None,
        recorder: Recorder | None = None,
        **sections: Any,
    ) -> AsyncIterator[Running]:
        settings = {"base_url": upstream.base_url, "max_retries": 0, "timeout_s": 10}
        settings |= sections.pop("upstream", {})
        config = {
            **sections,
            "upstreams": {"u": settings, **sections.pop("upstreams", {})},
            "routes": [{"models": ["*"], "upstream": "u", **route} for route in routes],
        }
        loaded = parse(yaml.safe_dump(config), "test.yaml")
        running = Running(build(loaded, folder=tmp_path, environ=environ or {}, recorder=recorder))
        try:
            yield running
        finally:
            await running.parts.aclose()

    return serve
