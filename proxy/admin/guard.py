"""Who may use the page: whoever knows the admin key, or holds a session that was opened with it.

A session is a signed word and nothing is kept of it, so that every worker and replica knows it. It ends by its
time, or for all when the key is changed.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections import OrderedDict
from time import monotonic, time
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from proxy.exceptions import Forbidden, HttpError, NotFound, Unauthorized

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.requests import HTTPConnection

COOKIE = "idk_admin"
SESSION_S = 12 * 3_600
#: Wrong keys that an address may show in a minute.
FAILURES = 5
_MINUTE_S = 60.0
#: Addresses that are remembered at once.
_ADDRESSES = 4_096
_SAME = (None, "same-origin", "none")


class Guard:
    """The admin key (None: the page is off) and the failures of the last minute."""

    def __init__(
        self,
        key: str | None,
        variable: str,
        clock: Callable[[], float] = time,
        steady: Callable[[], float] = monotonic,
    ) -> None:
        self._key = None if not key else hashlib.sha256(key.encode()).digest()
        self._secret = (
            None if self._key is None else hashlib.sha256(b"idk admin session" + self._key).digest()
        )
        self._variable = variable
        self._clock = clock
        #: Of failures: setting the machine's clock neither forgives them nor shuts anyone out.
        self._steady = steady
        self._failures: OrderedDict[str, list[float]] = OrderedDict()

    def same(self, key: str | None, variable: str) -> bool:
        """Whether it guards with this key already."""
        digest = None if not key else hashlib.sha256(key.encode()).digest()
        return self._variable == variable and digest == self._key

    def check_on(self) -> None:
        """Raise NotFound where there is no admin key."""
        if self._key is None:
            raise NotFound(
                f"the admin page is off: set {self._variable} (server.admin_key_env) and start again",
                code="admin_off",
            )

    def check(self, connection: HTTPConnection) -> None:
        """Let in a session's cookie or the key as a bearer token; raises HttpError."""
        self.check_on()
        self.check_site(connection)
        shown = _bearer(connection)
        if shown is not None:
            self.open(shown, _address(connection))
        elif not self.remembers(connection):
            raise Unauthorized("the admin key is needed; log in, or send it as a bearer token")

    def remembers(self, connection: HTTPConnection) -> bool:
        """Whether the connection shows a session that lasts."""
        return self._valid(connection.cookies.get(COOKIE, ""))

    def check_site(self, connection: HTTPConnection) -> None:
        """Raise Forbidden where another site's page sends the request."""
        origin = connection.headers.get("origin")
        foreign = origin is not None and urlsplit(origin).netloc != connection.headers.get("host")
        if foreign or connection.headers.get("sec-fetch-site") not in _SAME:
            raise Forbidden("the admin page is not for other sites")

    def log_in(self, key: str, connection: HTTPConnection) -> str:
        """A new session's word for its cookie; raises HttpError."""
        self.check_on()
        self.check_site(connection)
        self.open(key, _address(connection))
        body = f"{int(self._clock()) + SESSION_S}.{secrets.token_hex(16)}"
        return f"{body}.{self._signed(body)}"

    def open(self, key: str, address: str) -> None:
        """Raise Unauthorized on a wrong key, and 429 after several of them."""
        now = self._steady()
        recent = [at for at in self._failures.get(address, ()) if at > now - _MINUTE_S]
        if len(recent) >= FAILURES:
            raise HttpError(
                "too many wrong admin keys from this address",
                status=429,
                type="rate_limit_error",
                retry_after_s=recent[0] + _MINUTE_S - now,
            )
        digest = hashlib.sha256(key.encode("utf-8", "surrogateescape")).digest()
        if self._key is not None and hmac.compare_digest(digest, self._key):
            self._failures.pop(address, None)
            return
        self._failures[address] = [*recent, now]
        self._failures.move_to_end(address)
        while len(self._failures) > _ADDRESSES:
            self._failures.popitem(last=False)
        raise Unauthorized("that is not the admin key")

    def _signed(self, body: str) -> str:
        return hmac.new(self._secret or b"", body.encode("utf-8", "replace"), hashlib.sha256).hexdigest()

    def _valid(self, word: str) -> bool:
        body, _, signature = word.rpartition(".")
        if self._secret is None or not hmac.compare_digest(self._signed(body).encode(), signature.encode()):
            return False
        return float(body.partition(".")[0]) > self._clock()


def _bearer(connection: HTTPConnection) -> str | None:
    scheme, _, token = connection.headers.get("authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else None


def _address(connection: HTTPConnection) -> str:
    return connection.client.host if connection.client else ""
