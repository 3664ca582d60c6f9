"""The client's trace context, handed on to upstreams as it came: https://www.w3.org/TR/trace-context/.

So that a trace does not end at the proxy where the proxy itself makes no spans. What is not well-formed is left
out, and so is a ``tracestate`` without the ``traceparent`` that it belongs to (section 4.3).
"""

from __future__ import annotations

import re
from contextvars import ContextVar
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from proxy.server.asgi import Headers

PARENT: Final = b"traceparent"
STATE: Final = b"tracestate"

#: Section 3.3.1.5: what is longer need not be passed on.
_MOST_BYTES: Final = 512
_MOST_MEMBERS: Final = 32
#: Section 3.2.2: trace, parent and flags; an id of zeros alone is none. Version ff is none either, and only a later
#: version than 00 may say more after them.
_IDS = rb"-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}"
_VALID_PARENT = re.compile(rb"00" + _IDS + rb"|(?!00|ff)[0-9a-f]{2}" + _IDS + rb"(?:-[!-~]*)?")
#: Section 3.3.1.3, and a key as level 2 has it; a list's member may be empty.
_VALID_MEMBER = re.compile(rb"[ \t]*(?:[a-z0-9][a-z0-9_*/@-]{0,255}=[ -+\--<>-~]{0,255}[!-+\--<>-~][ \t]*)?")

#: Of the request under way; its tasks inherit it.
_TAKEN: ContextVar[Headers] = ContextVar("trace_context", default=())


def take(headers: Headers) -> None:
    """What is asked of upstreams from here on belongs to the trace that a request's headers name."""
    _TAKEN.set(of(headers))


def taken() -> Headers:
    """The headers for an upstream; none where the client sent none."""
    return _TAKEN.get()


def of(headers: Headers) -> Headers:
    """The trace context among ``headers``: each of the two once, or not at all."""
    parents = [value for name, value in headers if name == PARENT]
    if len(parents) != 1 or len(parents[0]) > _MOST_BYTES or _VALID_PARENT.fullmatch(parents[0]) is None:
        return ()
    # Several are one list (RFC 9110, 5.3).
    state = b",".join(value for name, value in headers if name == STATE)
    return ((PARENT, parents[0]), (STATE, state)) if _passes(state) else ((PARENT, parents[0]),)


def _passes(state: bytes) -> bool:
    if not state or len(state) > _MOST_BYTES:
        return False
    members = state.split(b",")
    return len(members) <= _MOST_MEMBERS and all(map(_VALID_MEMBER.fullmatch, members))
