"""The section `keys`."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct

from proxy.config.kinds import Name


class Key(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A client's key, known by its hash alone."""

    name: Name
    sha256: Annotated[str, Meta(pattern=r"^[0-9a-f]{64}$")]
    routes: tuple[Name, ...] | None = None
    #: In the last 60 seconds, over all replicas that share the store.
    requests_per_minute: Annotated[int, Meta(ge=1)] | None = None
    tokens_per_minute: Annotated[int, Meta(ge=1)] | None = None
