"""The whole of `idk.yaml`."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct

from proxy.config.keys import Key
from proxy.config.kinds import Name
from proxy.config.routes import Route
from proxy.config.server import Server
from proxy.config.upstreams import Upstream


class Config(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The whole file."""

    server: Server = Server()
    keys: tuple[Key, ...] = ()
    upstreams: dict[Name, Upstream]
    routes: Annotated[tuple[Route, ...], Meta(min_length=1)]
