"""What may stand in the head of a request and of an answer, whichever transport carries it.

A proxy that forwards what a client wrote must not let it end a header early (request smuggling, RFC 9112
section 11.2) or climb out of the base URL's path, where the upstream's key would open other doors.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from proxy.exceptions import BadRequest, UpstreamGarbage
from proxy.upstreams.transport import OWN_HEADERS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from proxy.upstreams.origin import Origin

#: An answer's head over this is refused; vendors send 2 to 4 KB, nginx takes at most 32 KB from an upstream.
MAX_HEAD_BYTES: Final = 65_536
MAX_HEADERS: Final = 128

#: Visible ASCII without "#" (a fragment is never sent), beginning with a slash.
_PATH = re.compile(r"/[!-\"$-~]*")
_DOT_SEGMENT = re.compile(r"/(?:\.|%2e){1,2}(?=[/?\\]|%2f|%5c|$)", re.IGNORECASE)
_METHOD = re.compile(r"[A-Z]+")
#: RFC 9110 sections 5.1 and 5.5: a token, a colon, and anything but the controls that could end the line.
_HEADER_LINES = re.compile(rb"(?:[!#$%&'*+.^_`|~0-9A-Za-z-]+: [^\x00\r\n]*\r\n)*")


def request_target(origin: Origin, method: str, path: str) -> str:
    """``path`` below the base URL's own; raises BadRequest where either cannot be put on the request line."""
    if _METHOD.fullmatch(method) is None:
        raise BadRequest("the method is not one that an upstream can be asked with")
    query = path.find("?")
    if _PATH.fullmatch(path) is None or _DOT_SEGMENT.search(path, 0, len(path) if query < 0 else query):
        raise BadRequest(
            "the path must be percent-encoded, begin with a slash and hold no '.' or '..' segment"
        )
    return origin.prefix + path


def header_lines(headers: Sequence[tuple[bytes, bytes]]) -> bytes:
    """``headers`` as lines, each ended; raises BadRequest where one would break out of its line."""
    lines = []
    for name, value in headers:
        if name.lower() in OWN_HEADERS:
            raise BadRequest(f"the header {name.decode()} is the proxy's own and cannot be passed on")
        lines.append(b"%b: %b\r\n" % (name, value))
    block = b"".join(lines)
    if block.count(b"\n") != len(lines) or _HEADER_LINES.fullmatch(block) is None:
        raise BadRequest("a header has a name or a value that cannot be sent (a line break or a control)")
    return block


def check_framing(headers: Sequence[tuple[bytes, bytes]]) -> int | None:
    """The announced ``content-length``, or None; raises UpstreamGarbage where the body's end is in doubt.

    Two lengths, a length beside a transfer coding, or a coding other than ``chunked`` are how answers are
    smuggled (RFC 9112 section 6.3): the parsers refuse some of these, here all are.
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
