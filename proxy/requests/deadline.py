"""The deadline of a whole request: the route's, or the client's if that is earlier."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, nullcontext
from typing import TYPE_CHECKING, Final

from proxy.exceptions import UpstreamTimeout
from proxy.server import asgi

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from contextlib import AbstractAsyncContextManager

    from proxy.server.asgi import Headers

#: The header in which OpenAI's and Anthropic's SDKs say how many seconds they wait.
_CLIENTS: Final = b"x-stainless-timeout"
_NONE: Final = nullcontext()


def deadline_of(limit_s: float | None, headers: Headers) -> float | None:
    """Return the event loop's time at which a request that starts now must be over; None if there is no limit."""
    if limit_s is None:
        return None
    said = asgi.header(headers, _CLIENTS)
    try:
        waits_s = float(said) if said is not None else limit_s
    except ValueError:
        waits_s = limit_s
    return asyncio.get_running_loop().time() + (min(limit_s, waits_s) if waits_s > 0 else limit_s)


def before(deadline: float | None) -> AbstractAsyncContextManager[None]:
    """Return a context manager that raises UpstreamTimeout at the deadline."""
    return _NONE if deadline is None else _before(deadline)


@asynccontextmanager
async def _before(deadline: float) -> AsyncIterator[None]:
    try:
        async with asyncio.timeout_at(deadline):
            yield
    except TimeoutError as exc:
        raise UpstreamTimeout("there was no answer within the route's deadline", code="deadline") from exc
