"""Checks of request and response heads, shared by all transports.

A header that a client wrote must not end early (request smuggling, RFC 9112 section 11.2), and a path must not leave
the base URL's path: the upstream's key would give access to other endpoints.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from proxy.exceptions import BadRequest, UpstreamGarbage
from proxy.upstreams.transport import OWN_HEADERS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from proxy.upstreams.origin import Origin

#: The largest accepted response head; vendors send 2 to 4 KB, and nginx accepts at most 32 KB from an upstream.
MAX_HEAD_BYTES: Final = 65_536
MAX_HEADERS: Final = 128

#: Visible ASCII without "#" (a fragment is never sent), beginning with a slash.
_PATH = re.compile(r"/[!-\"$-~]*")
_DOT_SEGMENT = re.compile(r"/(?:\.|%2e){1,2}(?=[/?\\]|%2f|%5c|$)", re.IGNORECASE)
_METHOD = re.compile(r"[A-Z]+")
#: RFC 9110 sections 5.1 and 5.5: a token, a colon, and anything but the controls that could end the line.
_HEADER_LINES = re.compile(rb"(?:[!#$%&'*+.^_`|~0-9A-Za-z-]+: [^\x00\r\n]*\r\n)*")


def request_target(origin: Origin, method: str, path: str) -> str:
    """Return the request target for ``path`` below the base URL; raises BadRequest for an unsafe method or path."""
    if _METHOD.fullmatch(method) is None:
        raise BadRequest("the HTTP method is not valid; it must consist of capital letters")
    query = path.find("?")
    if _PATH.fullmatch(path) is None or _DOT_SEGMENT.search(path, 0, len(path) if query < 0 else query):
        raise BadRequest(
            "the path must be percent-encoded, begin with a slash and contain no '.' or '..' segment"
        )
    return origin.prefix + path


def header_lines(headers: Sequence[tuple[bytes, bytes]]) -> bytes:
    """Return ``headers`` as header lines; raises BadRequest where a line break or a control would end one early."""
    lines = []
    for name, value in headers:
        if name.lower() in OWN_HEADERS:
            raise BadRequest(f"the header {name.decode()} is set by the proxy and cannot be passed on")
        lines.append(b"%b: %b\r\n" % (name, value))
    block = b"".join(lines)
    if block.count(b"\n") != len(lines) or _HEADER_LINES.fullmatch(block) is None:
        raise BadRequest("the name or value of a header contains a line break or a control character")
    return block


def check_framing(headers: Sequence[tuple[bytes, bytes]]) -> int | None:
    """Return ``content-length``, or None; raises UpstreamGarbage where the end of the body is ambiguous.

    Two lengths, a length with a transfer coding, or a coding other than ``chunked`` are used for response smuggling
    (RFC 9112 section 6.3). Parsers reject some of these; this function rejects all.
    """
    length: bytes | None = None
    coding: bytes | None = None
    for name, value in headers:
        if name == b"content-length":
            if length is not None or not value.isdigit():
                raise UpstreamGarbage("the upstream's answer has a content-length that is not one number")
            length = value
        elif name == b"transfer-encoding":
            if coding is not None or value.lower() != b"chunked":
                raise UpstreamGarbage("the upstream's answer has a transfer coding other than chunked")
            coding = value
    if length is not None and coding is not None:
        raise UpstreamGarbage("the upstream's answer has both a content-length and a transfer coding")
    return None if length is None else int(length)
