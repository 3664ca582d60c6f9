"""Every failure that the proxy knows, as one tree; foreign exceptions are mapped to it once, at the edge.

ProxyError
├── ConfigError            a file, key or value of the configuration or of a policy: exit 2, one line
├── RunError               a command that could not do its work: exit 1, one line
│   └── StoreError         the store failed: it cannot be reached, or is not what it should be
│       └── StoreRefused   the store is well, and has not what is asked of it
└── HttpError              what a client gets: a status and the vendor's error shape
    ├── BadRequest         400 (or the given status)
    ├── Unauthorized       401
    ├── Forbidden          403
    ├── NotFound           404
    ├── BodyTooLarge       413
    ├── Overloaded         503
    └── UpstreamError      502 unless said otherwise; `kind` is its label in the metrics
        ├── UpstreamUnreachable   connect   refused, no such host, TLS refused
        ├── UpstreamBusy          busy      503; all connections to the upstream are in use
        ├── UpstreamTimeout       timeout   504; nothing came in time
        ├── UpstreamCut           cut       the connection ended inside a body
        ├── UpstreamGarbage       garbage   not HTTP, not JSON, or not the vendor's JSON
        ├── UpstreamTooLarge      too_large a body over the limit
        └── UpstreamStatus        status    the upstream's own error, with its status and message
"""

from __future__ import annotations

import re
from typing import ClassVar, Final, Self

import msgspec

#: The exceptions for bytes that are not the expected JSON: not JSON, not text, or nested too deeply.
UNREADABLE: Final = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
#: A bearer token, or a key in one of the forms that vendors give them.
_CREDENTIAL: Final = re.compile(r"(?i)\b(?:bearer\s+\S+|(?:sk|pk|key|api)[-_][\w*.\-]{6,})")


def without_credentials(text: str) -> str:
    """Return ``text`` with everything that looks like a credential replaced."""
    return _CREDENTIAL.sub("[redacted]", text)


def escaped(text: str, *, keep: str = "") -> str:
    """Return the text with control characters written out, so that it can neither steer a terminal nor forge a line.

    Names, answers, errors of upstreams and keys of YAML may hold such characters. ``keep`` lists characters that pass.
    """
    if text.isprintable():
        return text
    return "".join(
        each if each.isprintable() or each in keep else each.encode("unicode_escape").decode()
        for each in text
    )


def failure_summary(exc: HttpError | TimeoutError) -> str:
    """Describe a failed call for the log by its status and kind, without the upstream's own text.

    An upstream's error may repeat the request or the answer, which must not reach the log.
    """
    if isinstance(exc, UpstreamError):
        return f"{_FAILURES.get(exc.kind, 'the upstream failed')} (status {exc.http_status}, kind {exc.kind})"
    return str(exc) or "no answer in time"


#: Each kind of an upstream's failure in words for the log.
_FAILURES: Final = {
    "connect": "the upstream cannot be reached",
    "timeout": "the upstream did not answer in time",
    "cut": "the upstream's answer was cut off",
    "garbage": "the upstream's answer cannot be read",
    "too_large": "the upstream's answer is too large",
    "status": "the upstream answered with an error",
    "busy": "all connections to the upstream are in use",
}


class ProxyError(Exception):
    """The root of the tree. An exception outside the tree is a defect."""


class ConfigError(ProxyError):
    """A mistake in a configuration or policy: one line with the file, the key and the fix."""

    def __init__(self, message: str) -> None:
        super().__init__(" ".join(message.splitlines()))


class RunError(ProxyError):
    """A command failed: one line that says what happened and what to do."""


class StoreError(RunError):
    """The store cannot be reached, or its contents are not valid."""


class StoreRefused(StoreError):
    """The store works but cannot do what was requested: the message says why, and the fix."""


class HttpError(ProxyError):
    """An error response in the vendor's format; ``message`` never contains a key or an upstream's address."""

    status: ClassVar[int] = 500
    type: ClassVar[str] = "server_error"

    def __init__(
        self,
        message: str,
        *,
        param: str | None = None,
        code: str | None = None,
        status: int | None = None,
        type: str | None = None,  # noqa: A002 - the vendor's own field name
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.param = param
        self.code = code
        self.http_status = self.status if status is None else status
        self.error_type = self.type if type is None else type
        self.retry_after_s = retry_after_s

    @property
    def metrics_code(self) -> str:
        """The value of the label ``code``: one of the proxy's own words, never a text of the upstream's."""
        return self.code or self.error_type


class BadRequest(HttpError):
    """The request cannot be understood or is not allowed."""

    status = 400
    type = "invalid_request_error"


class Unauthorized(HttpError):
    """The request has no key, or an unknown one."""

    status = 401
    type = "invalid_request_error"


class Forbidden(HttpError):
    """The key is known but may not do this."""

    status = 403
    type = "invalid_request_error"


class NotFound(HttpError):
    """The path, the model or the route does not exist."""

    status = 404
    type = "invalid_request_error"


class BodyTooLarge(HttpError):
    """A request body over ``server.max_body_bytes``, or one that costs too much to read."""

    status = 413
    type = "invalid_request_error"


class Overloaded(HttpError):
    """The proxy cannot take more requests at the moment."""

    status = 503


class UpstreamError(HttpError):
    """The upstream failed; ``kind`` is the value of the metrics' label."""

    status = 502
    type = "upstream_error"
    kind: ClassVar[str] = "upstream"
    #: The first words of an answer that cannot be read, for commands; never sent to a client and never logged.
    excerpt: str = ""

    def beginning_with(self, body: bytes) -> Self:
        """Set ``excerpt`` to the first words of the upstream's answer, and return this error."""
        words = " ".join(body[:400].decode("utf-8", "replace").split())
        self.excerpt = without_credentials(words[:80])
        return self

    def described(self, upstream: str) -> str:
        """Describe the failure for the operator's terminal: the upstream's name, and the first words of its answer."""
        begins = f"; its answer begins with {self.excerpt!r}" if self.excerpt else ""
        return f"upstream {upstream}: {self.message}{begins}"

    @property
    def metrics_code(self) -> str:
        return f"upstream_{self.kind}"

    @property
    def may_retry(self) -> bool:
        """Whether a retry may succeed and cannot be charged twice, since nothing was generated."""
        return False


class UpstreamUnreachable(UpstreamError):
    """The connection could not be made."""

    kind = "connect"

    @property
    def may_retry(self) -> bool:
        """True: no request was sent."""
        return True


class UpstreamBusy(UpstreamError):
    """No connection to the upstream became free in time; the upstream itself has not failed."""

    status = 503
    kind = "busy"


class UpstreamTimeout(UpstreamError):
    """A phase took longer than the upstream's ``timeout_s``."""

    status = 504
    kind = "timeout"


class UpstreamCut(UpstreamError):
    """The connection ended before the body did."""

    kind = "cut"


class UpstreamGarbage(UpstreamError):
    """The upstream's response is not what was requested."""

    kind = "garbage"


class UpstreamTooLarge(UpstreamError):
    """The response body is larger than the limit."""

    kind = "too_large"


#: Statuses after which the same request may succeed (408, 409 and 429, and the server's own failures).
_PASSING = frozenset({408, 409, 429, 500, 502, 503, 504, 529})


class UpstreamStatus(UpstreamError):
    """The upstream's own error answer; passed on with its status, type, code and message."""

    kind = "status"

    @property
    def may_retry(self) -> bool:
        """Whether the status is a temporary one."""
        return self.http_status in _PASSING
