"""The stores that the shared tests run on; servers start once, and each test uses a separate prefix."""

from __future__ import annotations

from contextlib import contextmanager
from itertools import count
from typing import TYPE_CHECKING

import pytest

from proxy.storage import Sealer, make_store
from tests.proxy.storage import redis_servers
from tests.proxy.storage.making import SECRET

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path

    from proxy.storage import Store


@contextmanager
def _alone(folder: Path) -> Iterator[str]:
    with redis_servers.alone(folder) as server:
        yield f"redis://127.0.0.1:{server.port}/0"


@contextmanager
def _no_server(url: str) -> Iterator[str]:
    yield url


BACKENDS: dict[str, Callable[[Path], AbstractContextManager[str]]] = {
    "memory": lambda _: _no_server("memory://"),
    "sqlite": lambda _: _no_server("sqlite:///idk.db"),
    "redis": _alone,
    "tls": redis_servers.over_tls,
    "sentinel": redis_servers.behind_sentinel,
    "cluster": redis_servers.cluster,
}
_NUMBERS = count()


@pytest.fixture(scope="module", params=BACKENDS)
def url(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of each backend, its servers running."""
    with BACKENDS[request.param](tmp_path_factory.mktemp("servers") / request.param) as found:
        yield found


def own(url: str) -> str:
    """Return ``url`` with a prefix that no other test uses."""
    if not url.startswith("redis"):
        return url
    return f"{url}{'&' if '?' in url else '?'}prefix=test-{next(_NUMBERS)}"


@pytest.fixture
async def store(url: str, tmp_path: Path) -> AsyncIterator[Store]:
    """An empty store, open."""
    made = make_store(own(url), tmp_path, Sealer(SECRET))
    await made.open()
    yield made
    await made.aclose()
