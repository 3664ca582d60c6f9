"""Every documented path of five servers, in every spelling: only harmless ones reach an upstream that is gated.

The upstream answers every request with a marker word. The tests run in about a minute.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest
import yaml

from proxy.app import App, build
from proxy.config import parse
from tests.fakes import Call, FakeUpstream, error, raw
from tests.proxy.asgi_client import Reply, ask

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

    from tests.proxy.upstreams.peer import Peer

MARKER: Final = b"MARKER-of-an-ungated-answer"
#: A path's segment for a name in braces in the table.
ID: Final = "id-1"

#: What the upstream may receive besides gated requests: no response to these holds an answer of a gated model.
HARMLESS: Final = re.compile(
    r"(?:GET|HEAD) /models(?:/[^/]+){0,2}"
    r"|POST /(?:embeddings|rerank|reranking|moderations)"
    r"|POST /audio/(?:speech|transcriptions|translations)"
    r"|POST /images/(?:generations|edits|variations)"
    r"|POST /(?:messages/count_tokens|(?:responses|chat/completions)/input_tokens)"
)
#: Requests of these paths are judged; the proxy sends them on under their plain names.
GATED: Final = ("POST /chat/completions", "POST /completions", "POST /responses", "POST /messages")
METHODS: Final = ("GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE", "TRACE")


def encoded(path: str) -> str:
    """Return the path with every letter percent-encoded."""
    return "".join(sign if sign == "/" else f"%{ord(sign):02x}" for sign in path)


#: How a path can be written so that some server reads it as the plain one.
SPELLINGS: Final[dict[str, Callable[[str], str]]] = {
    "plain": lambda path: f"/v1{path}",
    "without /v1": lambda path: path,
    "/v1 twice": lambda path: f"/v1/v1{path}",
    "upper case": lambda path: f"/v1{path.upper()}",
    "mixed case": lambda path: f"/V1{path.title()}",
    "last slash": lambda path: f"/v1{path}/",
    "doubled slashes": lambda path: f"//v1{path.replace('/', '//')}",
    "backslashes": lambda path: f"/v1/{path[1:].replace('/', '%5c')}",
    "encoded": lambda path: f"/v1{encoded(path)}",
    "encoded twice": lambda path: f"/v1{encoded(path).replace('%', '%25')}",
    "encoded slashes": lambda path: f"/v1/{path[1:].replace('/', '%2f')}",
    "parameters": lambda path: f"/v1{path};x=1",
    "parameters inside": lambda path: f"/v1;x{path.replace('/', ';y/')}",
    "empty parameter": lambda path: f"/v1{path};",
    "last dot": lambda path: f"/v1{path}.",
    "last space": lambda path: f"/v1{path}%20",
    "last tab": lambda path: f"/v1{path}%09",
    "null byte": lambda path: f"/v1{path}%00",
    "encoded query": lambda path: f"/v1{path}%3fx=1",
    "encoded fragment": lambda path: f"/v1{path}%23x",
    "dot segment": lambda path: f"/v1/.{path}",
    "up and down": lambda path: f"/v1/models/..{path}",
    "up and down with parameters": lambda path: f"/v1/embeddings/..;{path}",
    "up encoded twice": lambda path: f"/v1/embeddings/%252e%252e{path}",
    "up from the base": lambda path: f"/v1/..;/..;{path}",
    "behind a harmless path": lambda path: f"/v1/embeddings{path}",
    "before a harmless path": lambda path: f"/v1{path}/input_tokens",
    "query of a harmless path": lambda path: f"/v1{path}?/embeddings",
}


def documented() -> list[tuple[str, str, str]]:
    """Return the server, method and path of each line of the table."""
    found = []
    server = ""
    for line in (Path(__file__).parent / "documented_paths.txt").read_text(encoding="utf-8").splitlines():
        if line.startswith("["):
            server = line[1 : line.index("]")]
        elif line and not line.startswith("#"):
            method, path = line.split()
            found.append((server, method, re.sub(r"\{\w+\}", ID, path)))
    return found


TABLE: Final = documented()
SERVERS: Final = sorted({server for server, _, _ in TABLE})


class Recording(FakeUpstream):
    """An upstream that answers every request with the marker, and knows what it received."""

    def __init__(self) -> None:
        super().__init__(self._marked)
        self._lines: list[str] = []
        answer = json.dumps({"marker": MARKER.decode(), "choices": [], "object": "list"}).encode()
        self._whole, self._empty = raw(answer), raw(b"")
        self._refusal = error(400, "not now")

    async def _marked(self, call: Call, peer: Peer) -> None:
        line = f"{call.method} {call.path.partition('?')[0].removeprefix('/v1')}"
        self._lines.append(line)
        if line in GATED:  # what is done with their answers is not a question of the path
            await self._refusal(call, peer)
        else:
            await (self._empty if call.method == "HEAD" else self._whole)(call, peer)

    def received(self) -> list[str]:
        """Return the method and path, without /v1, of every request since the last call."""
        lines, self._lines = self._lines, []
        return lines


@pytest.fixture(scope="module")
def upstream() -> Iterator[Recording]:
    """One upstream for all tests."""
    with Recording() as server:
        yield server


@pytest.fixture
async def app(upstream: Recording, tmp_path: Path) -> AsyncIterator[App]:
    """A proxy with an enforcing route, and another route that is off for the same upstream."""
    routes: list[dict[str, Any]] = [
        {
            "name": "strict", "models": ["strict"], "upstream": "u", "mode": "enforce",
            "scorers": ["mean_logprob"], "score_threshold": -1.0,
        },
        {"name": "off", "models": ["vectors"], "upstream": "u", "mode": "off"},
    ]  # fmt: skip
    upstreams = {"u": {"base_url": upstream.base_url, "max_retries": 0}}
    loaded = parse(yaml.safe_dump({"upstreams": upstreams, "routes": routes}), "test.yaml")
    parts = build(loaded, folder=tmp_path, environ={})
    yield App(parts)
    await parts.aclose()


async def sent(app: App, method: str, path: str, model: str) -> Reply:
    """Send one request, with a body where the method has one."""
    body: Any = b"" if method in ("GET", "HEAD", "OPTIONS", "TRACE") else {"model": model, "input": "?"}
    return await ask(app, path, body, method=method)


def test_the_table_is_read() -> None:
    assert SERVERS == ["anthropic", "llama.cpp", "ollama", "openai", "vllm"]
    assert len(TABLE) > 450
    assert ("llama.cpp", "POST", "/infill") in TABLE


@pytest.mark.parametrize("spelling", SPELLINGS)
@pytest.mark.parametrize("server", SERVERS)
async def test_only_harmless_paths_reach_the_upstream(
    app: App, upstream: Recording, server: str, spelling: str
) -> None:
    upstream.received()
    for _, method, path in (line for line in TABLE if line[0] == server):
        reply = await sent(app, method, SPELLINGS[spelling](path), "strict")
        passed = upstream.received()
        for line in passed:
            assert HARMLESS.fullmatch(line) or line in GATED, (method, path, line)
        if MARKER in reply.body:
            assert len(passed) == 1, (method, path)
            assert HARMLESS.fullmatch(passed[0]), (method, path, passed)


@pytest.mark.parametrize("method", METHODS)
async def test_only_harmless_methods_reach_the_upstream(app: App, upstream: Recording, method: str) -> None:
    upstream.received()
    for path in sorted({path for _, _, path in TABLE}):
        reply = await sent(app, method, f"/v1{path}", "strict")
        passed = upstream.received()
        assert all(HARMLESS.fullmatch(line) or line in GATED for line in passed), (path, passed)
        assert MARKER not in reply.body or HARMLESS.fullmatch(passed[0]), path


async def test_harmless_paths_do_reach_it(app: App, upstream: Recording) -> None:
    upstream.received()
    for path in ("/embeddings", "/rerank", "/images/edits", "/messages/count_tokens"):
        for spelling in ("plain", "without /v1", "last slash", "doubled slashes", "encoded", "last dot"):
            reply = await sent(app, "POST", SPELLINGS[spelling](path), "strict")
            assert MARKER in reply.body, (path, spelling)
            assert upstream.received() == [f"POST {path}"]
