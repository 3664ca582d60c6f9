"""A proxy that is attacked by one test after another, and must be well after each."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import httpx
import pytest

from tests.e2e.proxies import PLAIN, Proxy, asking, enforced, route, write_config
from tests.fakes import DEADLINE_S, FakeUpstream, answer, error, says

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.proxy.upstreams.peer import Peer

ADMIN_KEY = "the-key-of-the-admins"


class Unmoved(FakeUpstream):
    """Refuses what no test scripted, whatever form it has."""

    async def _answer(self, peer: Peer) -> None:
        try:
            await super()._answer(peer)
        except (ValueError, TypeError, LookupError, AttributeError, RecursionError):
            await error(400, "not understood")(None, peer)  # type: ignore[arg-type] # it looks at no call


@pytest.fixture(scope="session")
def upstream() -> Iterator[FakeUpstream]:
    """For these tests alone."""
    with Unmoved() as server:
        yield server


@pytest.fixture(scope="session")
def target(upstream: FakeUpstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    """With routes of every kind, and little patience for what comes slowly."""
    folder = tmp_path_factory.mktemp("target")
    fake = {"base_url": upstream.base_url, "max_retries": 0, "timeout_s": 20}
    evil = r"(?s)<context>((?:(?:a+)+)+|.*?)</context>"
    config = {
        "server": {"receive_timeout_s": 1.0, "max_body_bytes": 8_000_000, "max_answer_bytes": 3_000_000},
        "upstreams": {"fake": fake, "chats": {**fake, "formats": ["chat"]}},
        "routes": [
            enforced("enforce"),
            route("observe"),
            route("off", mode="off"),
            enforced("chats", upstream="chats"),
            enforced("passages", rag={"context": evil, "rescue": True}),
            {**enforced("patterns"), "models": ["*a*a*a*a*a*a*a*b", "[!x-z]*?*[a]*\\*c*d"]},
        ],
    }
    environ = {**os.environ, "IDK_ADMIN_KEY": ADMIN_KEY}
    with Proxy("--config", write_config(folder, config), cwd=folder, env=environ) as process:
        yield process


@pytest.fixture(autouse=True)
def is_well(target: Proxy, upstream: FakeUpstream) -> Iterator[None]:
    """Whatever was done to it: no defect was logged, it lives, and it answers as ever."""
    logged = len(target.log)
    yield
    said = "".join(target.log[logged:])
    assert "Traceback" not in said, said
    assert "Exception" not in said, said
    live = httpx.get(f"{target.url}/health/live", timeout=DEADLINE_S, **PLAIN)
    assert live.status_code == 200
    good, bad = (
        upstream.script(answer(says("Par", "is"))),
        upstream.script(answer(says("Ly", "on", logprob=-3.0))),
    )
    assert target.post(asking("enforce", good)).headers["x-idk-decision"] == "answer"
    assert target.post(asking("enforce", bad)).headers["x-idk-decision"] == "abstain"
