"""The private parts of uvicorn that the server subclasses: a new version of uvicorn must still have them."""

from __future__ import annotations

import inspect
import re
from importlib.metadata import requires, version
from pathlib import Path

import uvicorn
from uvicorn.protocols.http import httptools_impl
from uvicorn.supervisors import Multiprocess

from proxy.server import protocol

#: Attributes of uvicorn's protocol, and of its request cycle, that ``proxy.server.protocol`` reads or replaces.
PROTOCOL = (
    "cycle", "flow", "headers", "loop", "parser", "pipeline", "server_state", "timeout_keep_alive", "transport", "url",
)  # fmt: skip
CYCLE = ("chunked_encoding", "disconnected", "flow", "scope", "send", "transport")
OVERRIDDEN = (
    "connection_made", "connection_lost", "data_received", "on_message_begin", "on_headers_complete", "on_body",
    "on_message_complete",
)  # fmt: skip


def assigned(kind: type) -> set[str]:
    """Return the names that a class defines or assigns on ``self``."""
    return {*dir(kind), *re.findall(r"self\.(\w+)", inspect.getsource(kind))}


def test_uvicorn_is_pinned_to_the_minor_version_that_is_tested() -> None:
    (pinned,) = [each for each in requires("idk-proxy") or () if re.match(r"uvicorn\b", each)]
    major, minor, *_ = version("uvicorn").split(".")
    assert f">={major}.{minor}" in pinned
    assert f"<{major}.{int(minor) + 1}" in pinned


def test_the_protocol_has_the_parts_that_are_used() -> None:
    assert set(PROTOCOL) <= assigned(httptools_impl.HttpToolsProtocol)
    assert set(CYCLE) <= assigned(httptools_impl.RequestResponseCycle)
    assert isinstance(httptools_impl.STATUS_LINE, dict)
    assert httptools_impl.STATUS_LINE[200].startswith(b"HTTP/1.1 200")


def test_every_overridden_method_exists_with_the_same_parameters() -> None:
    for name in OVERRIDDEN:
        own = inspect.signature(getattr(protocol.Protocol, name))
        theirs = inspect.signature(getattr(httptools_impl.HttpToolsProtocol, name))
        assert list(own.parameters) == list(theirs.parameters), name
        assert getattr(protocol.Protocol, name) is not getattr(httptools_impl.HttpToolsProtocol, name), name


def test_the_server_and_the_supervisor_have_the_methods_that_are_replaced() -> None:
    source = Path(inspect.getfile(protocol)).parent
    for kind, text in ((uvicorn.Server, "protocol.py"), (Multiprocess, "workers.py")):
        (body,) = re.findall(
            rf"class \w+\((?:uvicorn\.)?{kind.__name__}\):\n(.*?)(?=\n\n\n\S|\Z)",
            (source / text).read_text(encoding="utf-8"),
            re.DOTALL,
        )
        replaced = [name for name in re.findall(r"def (\w+)\(", body) if f"super().{name}(" in body]
        assert "__init__" in replaced or replaced, text
        assert set(replaced) <= set(dir(kind)), text
