"""Access to the admin page: by the admin key as a bearer token, or by a session cookie that was opened with it.

A session is a signed, timed token, which every worker and replica can verify. It ends after SESSION_S, by logging out
(which the store remembers for all workers), or for all sessions when the admin key is changed. Wrong keys are counted
in the store, over all workers; the right key always opens the page, so that others cannot lock the operator out.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections import OrderedDict
from ipaddress import ip_address, ip_network
from time import monotonic, time
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from itsdangerous import BadSignature, TimestampSigner

from proxy.exceptions import ConfigError, Forbidden, HttpError, NotFound, StoreError, Unauthorized
from proxy.server.forwarded import TrustedProxies

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.requests import HTTPConnection

    from proxy.storage.link import StoreLink

#: The least length of an admin key, as of the audit key.
MIN_KEY_LENGTH: Final = 16
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


def check_admin_key(key: str | None, variable: str) -> None:
    """Raise ConfigError for an admin key that is too short to resist guessing."""
    if key and len(key) < MIN_KEY_LENGTH:
        raise ConfigError(
            f"server.admin_key_env: {variable} holds fewer than {MIN_KEY_LENGTH} characters; use a longer secret, "
            "for example from: openssl rand -hex 16"
        )


class AdminAccess:
    """Checks the admin key (None: the page is off) and sessions, and limits wrong keys per address.

    ``link`` is the store that all workers share; without it, each process counts and remembers by itself.
    """

    def __init__(
        self,
        key: str | None,
        variable: str,
        link: StoreLink | None = None,
        *,
        proxies: TrustedProxies | None = None,
        clock: Callable[[], float] = time,
        steady: Callable[[], float] = monotonic,
    ) -> None:
        self._link = link
        self._proxies = TrustedProxies() if proxies is None else proxies
        self._clock = clock
        self._digest = _digest(key)
        self._signer = None if self._digest is None else _Signer(self._digest, clock)
        self._variable = variable
        #: The clock of the failures: setting the machine's clock neither forgives them nor locks an address out.
        self._steady = steady
        self._failures: OrderedDict[str, list[float]] = OrderedDict()

    def same(self, key: str | None, variable: str, proxies: TrustedProxies) -> bool:
        """Return whether this object was made from the same key, variable and trusted proxies."""
        return (
            self._variable == variable
            and self._digest == _digest(key)
            and self._proxies.networks == proxies.networks
        )

    def require_key(self) -> _Signer:
        """Return the signer of sessions; raises NotFound where no admin key is configured."""
        if self._signer is None:
            raise NotFound(
                f"the admin page is off: set {self._variable} (server.admin_key_env) and restart the proxy",
                code="admin_off",
            )
        return self._signer

    async def authorize(self, connection: HTTPConnection) -> None:
        """Accept a valid session cookie or the admin key as a bearer token; raises HttpError or StoreError."""
        self.require_key()
        self.require_same_site(connection)
        token = _bearer(connection)
        if token is not None:
            await self.check_key(token, self._proxies.address(connection))
        elif not await self.has_session(connection):
            raise Unauthorized("the admin key is required; log in, or send it as a bearer token")

    async def has_session(self, connection: HTTPConnection) -> bool:
        """Return whether the connection's cookie is a session that has not ended; raises StoreError."""
        session = self._session(connection)
        if session is None:
            return False
        return self._link is None or not await self._link.do(
            "admin", lambda store: store.session_ended(session)
        )

    def _session(self, connection: HTTPConnection) -> str | None:
        """Return the session of a validly signed cookie that has not expired."""
        if self._signer is None:
            return None
        try:
            return self._signer.unsign(connection.cookies.get(COOKIE, ""), max_age=SESSION_S).decode()
        except (BadSignature, UnicodeError):  # SignatureExpired is a BadSignature
            return None

    def require_same_site(self, connection: HTTPConnection) -> None:
        """Raise Forbidden where a page of another site sends the request."""
        origin = connection.headers.get("origin")
        foreign = origin is not None and urlsplit(origin).netloc != connection.headers.get("host")
        if foreign or connection.headers.get("sec-fetch-site") not in _SAME_SITE:
            raise Forbidden("pages of other sites may not use the admin API")

    async def log_in(self, key: str, connection: HTTPConnection) -> str:
        """Return a new session token for the cookie; raises HttpError."""
        signer = self.require_key()
        self.require_same_site(connection)
        await self.check_key(key, self._proxies.address(connection))
        return signer.sign(secrets.token_urlsafe(16)).decode()

    async def log_out(self, connection: HTTPConnection) -> None:
        """End the session of the cookie on all workers and replicas; raises StoreError."""
        session, now = self._session(connection), self._clock()
        if session is not None and self._link is not None:
            await self._link.do("admin", lambda store: store.end_session(session, now + SESSION_S, now))

    def is_https(self, connection: HTTPConnection) -> bool:
        """Return whether the browser's connection is encrypted, so that the cookie may be Secure."""
        return self._proxies.is_https(connection)

    async def check_key(self, key: str, address: str) -> None:
        """Raise Unauthorized for a wrong key, and 429 after MAX_FAILURES of them from an address within a minute."""
        digest = hashlib.sha256(key.encode("utf-8", "surrogateescape")).digest()
        if self._digest is not None and hmac.compare_digest(digest, self._digest):
            return
        wait_s = await self._count_failure(_account(address))
        if wait_s is not None:
            raise HttpError(
                "too many wrong admin keys from this address",
                status=429,
                type="rate_limit_error",
                retry_after_s=wait_s,
            )
        raise Unauthorized("this is not the admin key")

    async def _count_failure(self, account: str) -> float | None:
        """Count a wrong key; return the seconds to wait where there were too many in the last minute."""
        now = self._steady()
        recent = [at for at in self._failures.get(account, ()) if at > now - _MINUTE_S]
        if len(recent) >= MAX_FAILURES:  # not counted: a guesser must not make the store work
            return recent[0] + _MINUTE_S - now
        self._failures[account] = [*recent, now]
        self._failures.move_to_end(account)
        while len(self._failures) > _MAX_ADDRESSES:
            self._failures.popitem(last=False)
        if self._link is None:
            return None
        at = self._clock()
        try:
            return await self._link.do("admin", lambda store: store.spend(account, 1, MAX_FAILURES, at))
        except StoreError:  # logged and counted by the link; this process has counted
            return None


def _digest(key: str | None) -> bytes | None:
    return hashlib.sha256(key.encode()).digest() if key else None


def _bearer(connection: HTTPConnection) -> str | None:
    scheme, _, token = connection.headers.get("authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else None


def _account(address: str) -> str:
    """Return the account of an address's failures; one IPv6 subscriber has a whole /64 network."""
    try:
        parsed = ip_address(address)
    except ValueError:
        return f"admin failures {address}"
    if parsed.version == 6:
        return f"admin failures {ip_network((parsed, 64), strict=False)}"
    return f"admin failures {parsed}"
