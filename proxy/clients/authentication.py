"""Authentication of clients by keys, which are known by their hashes."""

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
        """Return whether the caller may use a route."""
        return self.routes is None or route in self.routes


class Keys:
    """The keys of the configuration and of the store. Without any, every client may use the proxy.

    ``note`` is called with the name of each stored key that a request is made with.
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
        # Revoking the last key closes the proxy: revoked keys still count.
        self._required = required or bool(keys or stored)
        self._anyone = Caller(None, None)

    def caller(self, headers: Sequence[tuple[bytes, bytes]]) -> Caller:
        """Return the client that sent these headers; raises Unauthorized."""
        if not self._required:
            return self._anyone
        token = _token(headers)
        if token is None:
            raise Unauthorized("no API key; send it as `Authorization: Bearer KEY`", code="invalid_api_key")
        digest = hashlib.sha256(token).digest()
        found = None
        # Every key is compared, in constant time, so that the time taken reveals nothing.
        for known, caller in self._keys:
            if hmac.compare_digest(known, digest):
                found = caller
        if found is None:
            raise Unauthorized("the API key is not known here", code="invalid_api_key")
        if found.stored is not None and self._note is not None:
            self._note(found.stored)
        return found

    def credentials(self, headers: Sequence[tuple[bytes, bytes]]) -> bytes | None:
        """Return the client's Authorization header for an upstream; None where it may be a key of this proxy.

        Where the proxy has keys, the client sends its key as ``x-idk-key``, so that it is never forwarded.
        """
        found = dict(headers)
        if self._required and b"x-idk-key" not in found:
            return None
        return found.get(b"authorization")

    @property
    def required(self) -> bool:
        """Whether requests need a key."""
        return self._required


def _caller(key: Key | StoredKey, *, stored: str | None = None) -> Caller:
    routes = None if key.routes is None else frozenset(key.routes)
    return Caller(key.name, routes, key.requests_per_minute, key.tokens_per_minute, stored)


def _token(headers: Sequence[tuple[bytes, bytes]]) -> bytes | None:
    """Return the client's key. ``x-idk-key`` comes first: with ``auth: forward`` Authorization is the upstream's."""
    found = {name: value for name, value in headers if name in _NAMES}
    if b"x-idk-key" in found:
        return found[b"x-idk-key"]
    bearer = found.get(b"authorization", b"")
    if bearer[:7].lower() == _BEARER:
        return bearer[7:].strip()
    return found.get(b"x-api-key")
