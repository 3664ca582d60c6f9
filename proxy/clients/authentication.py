"""Who asks: clients' keys, known by their hashes."""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass
from typing import TYPE_CHECKING

from proxy.exceptions import Unauthorized

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from proxy.config import Key
    from proxy.storage import StoredKey

_BEARER = b"bearer "
_NAMES = (b"x-idk-key", b"authorization", b"x-api-key")


@dataclass(frozen=True, slots=True)
class Caller:
    """A client that was let in; ``routes`` is None where it may use all of them, a limit where there is none."""

    name: str | None
    routes: frozenset[str] | None
    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    #: The name of a key of the store, whose use is noted; None for one of the configuration's.
    stored: str | None = None

    @property
    def limited(self) -> bool:
        """Whether what it uses must be counted."""
        return self.requests_per_minute is not None or self.tokens_per_minute is not None

    def may_use(self, route: str) -> bool:
        """Whether the route is open to this caller."""
        return self.routes is None or route in self.routes


class Keys:
    """The keys of the configuration and of the store; without any, everyone who reaches the proxy may use it.

    ``note`` is told the name of each key of the store that lets someone in.
    """

    def __init__(
        self,
        keys: Sequence[Key],
        stored: Sequence[StoredKey] = (),
        *,
        required: bool = False,
        note: Callable[[str], None] | None = None,
    ) -> None:
        self._keys = [(bytes.fromhex(key.sha256), _caller(key)) for key in keys]
        self._keys += [
            (bytes.fromhex(key.sha256), _caller(key, stored=key.name))
            for key in stored
            if key.revoked_at is None
        ]
        self._note = note
        # The last key revoked shuts the door; it does not take it off its hinges.
        self._required = required or bool(keys or stored)
        self._anyone = Caller(None, None)

    def caller(self, headers: Sequence[tuple[bytes, bytes]]) -> Caller:
        """Who sent these headers; raises Unauthorized."""
        if not self._required:
            return self._anyone
        token = _token(headers)
        if token is None:
            raise Unauthorized("no API key; send it as `Authorization: Bearer KEY`", code="invalid_api_key")
        digest = hashlib.sha256(token).digest()
        found = None
        # Every key is compared, in constant time, so that the time taken tells nothing.
        for known, caller in self._keys:
            if hmac.compare_digest(known, digest):
                found = caller
        if found is None:
            raise Unauthorized("the API key is not known here", code="invalid_api_key")
        if found.stored is not None and self._note is not None:
            self._note(found.stored)
        return found

    def credentials(self, headers: Sequence[tuple[bytes, bytes]]) -> bytes | None:
        """The client's Authorization, for an upstream that is to have it; None where it may be a key of ours.

        With keys the client shows its own as ``x-idk-key`` beside it: one key is never sent on as another.
        """
        found = dict(headers)
        if self._required and b"x-idk-key" not in found:
            return None
        return found.get(b"authorization")

    @property
    def required(self) -> bool:
        """Whether a key is needed at all."""
        return self._required


def _caller(key: Key | StoredKey, *, stored: str | None = None) -> Caller:
    routes = None if key.routes is None else frozenset(key.routes)
    return Caller(key.name, routes, key.requests_per_minute, key.tokens_per_minute, stored)


def _token(headers: Sequence[tuple[bytes, bytes]]) -> bytes | None:
    """``x-idk-key`` stands over the rest: with ``auth: forward`` the Authorization is the upstream's."""
    found = {name: value for name, value in headers if name in _NAMES}
    if b"x-idk-key" in found:
        return found[b"x-idk-key"]
    bearer = found.get(b"authorization", b"")
    if bearer[:7].lower() == _BEARER:
        return bearer[7:].strip()
    return found.get(b"x-api-key")
