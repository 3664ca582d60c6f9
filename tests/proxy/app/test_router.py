"""Access to each path: the routes are listed from the application, so a new path must be closed or named here."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import pytest
import yaml
from starlette.routing import Mount, Route

from proxy.app import App, AppSettings, application
from proxy.config import parse
from proxy.control.policies import StoreSnapshot
from proxy.storage import StoredKey
from tests.proxy.asgi_client import ask

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from starlette.routing import BaseRoute

#: Probes and metrics, which hold nothing about clients; the files of the admin page; and its login, which tells whether
#: a session is open, opens one with the key, and ends one.
OPEN = {
    ("GET", "/health"), ("GET", "/health/live"), ("GET", "/health/ready"), ("GET", "/metrics"),
    ("GET", "/admin"), ("GET", "/admin/{path:path}"), ("GET", "/admin/api/session"), ("DELETE", "/admin/api/session"),
}  # fmt: skip


@pytest.fixture
def app(upstream, tmp_path: Path) -> App:
    config = {
        "server": {"store": "memory://"},
        "keys": [{"name": "app", "sha256": hashlib.sha256(b"client").hexdigest()}],
        "upstreams": {"u": {"base_url": upstream.base_url, "max_retries": 0}},
        "routes": [{"name": "x", "models": ["*"], "upstream": "u"}],
    }
    return application(
        AppSettings(parse(yaml.safe_dump(config), "test.yaml"), tmp_path),
        {"IDK_ADMIN_KEY": "the key of the admins"},
    )


def table(routes: Sequence[BaseRoute], below: str = "") -> Iterator[tuple[str, str]]:
    """Method and path of every route."""
    for each in routes:
        if isinstance(each, Mount):
            yield from table(each.routes, below + each.path)
        else:
            assert isinstance(each, Route), each
            for method in each.methods or ():
                if method != "HEAD":  # with every GET
                    yield method, below + each.path


def paths(app: App) -> list[tuple[str, str]]:
    """Return every path: gated ones, Starlette's and passed-through ones."""
    inside = app._router
    cold = list(table(inside._cold.routes))
    assert len(cold) > 15
    gated = [("POST", path) for path in inside._gated]
    assert ("POST", "/v1/chat/completions") in gated
    assert inside._cold.router.default.__class__.__name__ == "Relay"
    passed = [
        (method, path) for path in ("/v1/embeddings", "/v1/{rest}", "/files") for method in ("GET", "POST")
    ]
    return [*cold, *gated, *passed]


async def asked(app: App, method: str, path: str, **headers: str) -> int:
    name = "admin.css" if path == "/admin/{path:path}" else "x"
    there = "/".join(name if part.startswith("{") else part for part in path.split("/"))
    body: object = {"key": "wrong"} if method == "POST" else b""
    return (await ask(app, there, body, method=method, headers=headers)).status


async def test_every_path_wants_a_key_but_a_named_few(app):
    opened = {
        (method, path) for method, path in paths(app) if await asked(app, method, path) not in (401, 403)
    }
    assert opened == OPEN


async def test_the_admins_key_is_no_clients(app):
    for method, path in paths(app):
        if (method, path) not in OPEN and not path.startswith("/admin"):
            assert await asked(app, method, path, authorization="Bearer the key of the admins") == 401, (
                method,
                path,
            )


@pytest.mark.parametrize(
    ("method", "path"), [("GET", "/routes"), ("GET", "/routes/x"), ("POST", "/routes/x/labels")]
)
async def test_a_clients_key_is_no_admins(app, method, path):
    assert await asked(app, method, f"/admin/api{path}", authorization="Bearer client") == 401


@pytest.mark.parametrize(("stored_keys", "status"), [(False, 200), (True, 401)])
async def test_keys_of_the_store_count_only_with_stored_keys(tmp_path, upstream, stored_keys, status):
    config = {
        "server": {"store": "memory://", "stored_keys": stored_keys},
        "upstreams": {"u": {"base_url": upstream.base_url, "max_retries": 0}},
        "routes": [{"name": "x", "models": ["*"], "upstream": "u"}],
    }
    key = StoredKey(name="app", sha256="0" * 64, who="ada", at=0.0)
    made = application(
        AppSettings(parse(yaml.safe_dump(config), "test.yaml"), tmp_path, StoreSnapshot(keys=(key,))), {}
    )
    assert (await ask(made, "/v1/models", method="GET")).status == status
