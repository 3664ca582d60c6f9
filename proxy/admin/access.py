"""Access to the admin page: by the admin key as a bearer token, or by a session cookie that was opened with it.

A session is a signed, timed token, which every worker and replica can verify. It ends after SESSION_S, or for all
sessions when the admin key is changed.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections import OrderedDict
from time import monotonic, time
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from itsdangerous import BadSignature, TimestampSigner

from proxy.exceptions import Forbidden, HttpError, NotFound, Unauthorized

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.requests import HTTPConnection

COOKIE: Final = "idk_admin"
SESSION_S: Final = 12 * 3_600
#: Wrong keys that one address may try in a minute.
MAX_FAILURES: Final = 5
_MINUTE_S: Final = 60.0
#: Addresses whose failures are remembered at the same time.
_MAX_ADDRESSES: Final = 4_096
#: Values of ``sec-fetch-site`` with which the page's own requests arrive; old browsers send none.
_SAME_SITE: Final = (None, "same-origin", "none")


class _Signer(TimestampSigner):
    """A signer whose clock can be given by tests."""

    def __init__(self, secret: bytes, clock: Callable[[], float]) -> None:
        super().__init__(secret, salt=b"idk admin session", digest_method=hashlib.sha256)
        self._clock = clock

    def get_timestamp(self) -> int:
        return int(self._clock())


class AdminAccess:
    """Checks the admin key (None: the page is off), and limits wrong keys per address."""

    def __init__(
        self,
        key: str | None,
        variable: str,
        clock: Callable[[], float] = time,
        steady: Callable[[], float] = monotonic,
    ) -> None:
        self._digest = _digest(key)
        self._signer = None if self._digest is None else _Signer(self._digest, clock)
        self._variable = variable
        #: The clock of the failures: setting the machine's clock neither forgives them nor locks an address out.
        self._steady = steady
        self._failures: OrderedDict[str, list[float]] = OrderedDict()

    def same(self, key: str | None, variable: str) -> bool:
        """Return whether this object was made for the given key and variable."""
        return self._variable == variable and self._digest == _digest(key)

    def require_key(self) -> _Signer:
        """Return the signer of sessions; raises NotFound where no admin key is configured."""
        if self._signer is None:
            raise NotFound(
                f"the admin page is off: set {self._variable} (server.admin_key_env) and restart the proxy",
                code="admin_off",
            )
        return self._signer

    def authorize(self, connection: HTTPConnection) -> None:
        """Accept a valid session cookie or the admin key as a bearer token; raises HttpError."""
        self.require_key()
        self.require_same_site(connection)
        token = _bearer(connection)
        if token is not None:
            self.check_key(token, _address(connection))
        elif not self.has_session(connection):
            raise Unauthorized("the admin key is required; log in, or send it as a bearer token")

    def has_session(self, connection: HTTPConnection) -> bool:
        """Return whether the connection's cookie is a valid session."""
        if self._signer is None:
            return False
        try:
            self._signer.unsign(connection.cookies.get(COOKIE, ""), max_age=SESSION_S)
        except BadSignature:  # SignatureExpired is one of its kinds
            return False
        return True

    def require_same_site(self, connection: HTTPConnection) -> None:
        """Raise Forbidden where a page of another site sends the request."""
        origin = connection.headers.get("origin")
        foreign = origin is not None and urlsplit(origin).netloc != connection.headers.get("host")
        if foreign or connection.headers.get("sec-fetch-site") not in _SAME_SITE:
            raise Forbidden("pages of other sites may not use the admin API")

    def log_in(self, key: str, connection: HTTPConnection) -> str:
        """Return a new session token for the cookie; raises HttpError."""
        signer = self.require_key()
        self.require_same_site(connection)
        self.check_key(key, _address(connection))
        return signer.sign(secrets.token_urlsafe(16)).decode()

    def check_key(self, key: str, address: str) -> None:
        """Raise Unauthorized for a wrong key, and 429 after MAX_FAILURES of them within a minute."""
        now = self._steady()
        recent = [at for at in self._failures.get(address, ()) if at > now - _MINUTE_S]
        if len(recent) >= MAX_FAILURES:
            raise HttpError(
                "too many wrong admin keys from this address",
                status=429,
                type="rate_limit_error",
                retry_after_s=recent[0] + _MINUTE_S - now,
            )
        digest = hashlib.sha256(key.encode("utf-8", "surrogateescape")).digest()
        if self._digest is not None and hmac.compare_digest(digest, self._digest):
            self._failures.pop(address, None)
            return
        self._failures[address] = [*recent, now]
        self._failures.move_to_end(address)
        while len(self._failures) > _MAX_ADDRESSES:
            self._failures.popitem(last=False)
        raise Unauthorized("this is not the admin key")


def _digest(key: str | None) -> bytes | None:
    return hashlib.sha256(key.encode()).digest() if key else None


def _bearer(connection: HTTPConnection) -> str | None:
    scheme, _, token = connection.headers.get("authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else None


def _address(connection: HTTPConnection) -> str:
    return connection.client.host if connection.client else ""
