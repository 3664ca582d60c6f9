"""The client's trace context, forwarded unchanged to upstreams: https://www.w3.org/TR/trace-context/.

A trace then continues at the upstream even if the proxy makes no spans. Headers that are not well-formed are dropped,
and so is a ``tracestate`` without its ``traceparent`` (section 4.3).
"""

from __future__ import annotations

import re
from contextvars import ContextVar
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from proxy.server.asgi import Headers

PARENT: Final = b"traceparent"
STATE: Final = b"tracestate"

#: Section 3.3.1.5: a longer tracestate need not be propagated.
_MOST_BYTES: Final = 512
_MOST_MEMBERS: Final = 32
#: Section 3.2.2: trace, parent and flags. Ids of zeros and version ff are invalid, and only versions after 00 may have
#: further fields.
_IDS = rb"-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}"
_VALID_PARENT = re.compile(rb"00" + _IDS + rb"|(?!00|ff)[0-9a-f]{2}" + _IDS + rb"(?:-[!-~]*)?")
#: Section 3.3.1.3, with the keys of level 2; a member of the list may be empty.
_VALID_MEMBER = re.compile(rb"[ \t]*(?:[a-z0-9][a-z0-9_*/@-]{0,255}=[ -+\--<>-~]{0,255}[!-+\--<>-~][ \t]*)?")

#: The trace context of the current request; its tasks inherit it.
_TAKEN: ContextVar[Headers] = ContextVar("trace_context", default=())


def take(headers: Headers) -> None:
    """Use the trace context of a request's headers for all upstream calls from now on."""
    _TAKEN.set(of(headers))


def taken() -> Headers:
    """Return the headers for an upstream; none if the client sent none."""
    return _TAKEN.get()


def of(headers: Headers) -> Headers:
    """Return the trace context among ``headers``: each of the two headers at most once."""
    parents = [value for name, value in headers if name == PARENT]
    if len(parents) != 1 or len(parents[0]) > _MOST_BYTES or _VALID_PARENT.fullmatch(parents[0]) is None:
        return ()
    # Several headers of one name form one list (RFC 9110 section 5.3).
    state = b",".join(value for name, value in headers if name == STATE)
    return ((PARENT, parents[0]), (STATE, state)) if _passes(state) else ((PARENT, parents[0]),)


def _passes(state: bytes) -> bool:
    if not state or len(state) > _MOST_BYTES:
        return False
    members = state.split(b",")
    return len(members) <= _MOST_MEMBERS and all(map(_VALID_MEMBER.fullmatch, members))
