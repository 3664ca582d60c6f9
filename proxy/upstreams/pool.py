"""Several upstreams as one: asked in order, or drawn by weight, the next where one fails."""

from __future__ import annotations

from dataclasses import dataclass, field
from random import Random
from typing import TYPE_CHECKING

from proxy.exceptions import UpstreamError, UpstreamStatus
from proxy.upstreams.abilities import Abilities
from proxy.upstreams.breaker import UpstreamOpen

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence

    from proxy.metrics import UpstreamMetrics
    from proxy.server.asgi import Push
    from proxy.upstreams.client import UpstreamClient
    from proxy.upstreams.transport import Response


@dataclass(frozen=True, slots=True)
class Member:
    """One of the pool. ``weight`` is None where the members are asked in order."""

    client: UpstreamClient
    weight: float | None
    metrics: UpstreamMetrics


class Answered:
    """A member's answer, which says whose it is: a policy holds for the upstream that it was fitted on."""

    __slots__ = ("_response", "headers", "status", "upstream")

    def __init__(self, response: Response, upstream: str) -> None:
        self._response = response
        self.upstream = upstream
        self.status = response.status
        self.headers: Sequence[tuple[bytes, bytes]] = response.headers

    async def read(self, limit: int) -> bytes:
        """As the member's."""
        return await self._response.read(limit)

    def chunks(self) -> AsyncIterator[bytes]:
        """As the member's."""
        return self._response.chunks()

    async def pour(self, sink: Push) -> None:
        """As the member's."""
        await self._response.pour(sink)

    def close(self) -> None:
        """As the member's."""
        self._response.close()


@dataclass(slots=True)
class PoolUpstream:
    """See ``UpstreamClient``. Credentials, retries and the breaker are each member's own."""

    name: str
    members: Sequence[Member]
    random: Random = field(default_factory=Random)
    #: What one member does not take none of them is asked for: which one answers is not known before.
    abilities: Abilities = field(default_factory=Abilities)

    @property
    def forwards_credentials(self) -> bool:
        """Whether any member gets the client's own key; the others never see it."""
        return any(member.client.forwards_credentials for member in self.members)

    @property
    def gives_logprobs(self) -> bool:
        """Whether any member does; what one of them lacks is unmeasured."""
        return any(member.client.gives_logprobs for member in self.members)

    @property
    def formats(self) -> set[str]:
        """What every member speaks: the next must understand what the first was asked."""
        return set.intersection(*(member.client.formats for member in self.members))

    async def post(
        self, path: str, body: bytes, credentials: bytes | None, *, fresh: bool = False
    ) -> Response:
        """The first member's answer that is one; raises the last one's error."""
        *others, last = self._order()
        for member in others:
            try:
                return Answered(
                    await member.client.post(path, body, credentials, fresh=fresh), member.client.name
                )
            except UpstreamError as exc:
                if not _next_may_help(exc):
                    raise
                member.metrics.failed(exc.kind)
        return Answered(await last.client.post(path, body, credentials, fresh=fresh), last.client.name)

    async def relay(
        self,
        method: str,
        path: str,
        headers: Sequence[tuple[bytes, bytes]],
        body: bytes | AsyncIterator[bytes],
        credentials: bytes | None,
    ) -> Response:
        """The first member's: what is passed through may change something there, and is never sent twice."""
        return await self.members[0].client.relay(method, path, headers, body, credentials)

    def redact(self, text: str) -> str:
        """``text`` without any member's secrets."""
        for member in self.members:
            text = member.client.redact(text)
        return text

    async def aclose(self) -> None:
        """The members are closed by whoever made them."""

    def _order(self) -> list[Member]:
        """In the order given, or drawn by weight without replacement (Efraimidis & Spirakis, 2006)."""

        def key(member: Member) -> float:
            return -(self.random.random() ** (1.0 / member.weight)) if member.weight else 0.0

        return sorted(self.members, key=key)


def _next_may_help(error: UpstreamError) -> bool:
    """Where nothing was generated, or the upstream is not to be had; never for a request that it refused."""
    if isinstance(error, UpstreamStatus):
        return error.may_retry or error.http_status >= 500
    return error.may_retry or isinstance(error, UpstreamOpen) or error.kind in ("timeout", "busy")


def members_of(
    name: str,
    given: Sequence[str] | Mapping[str, float],
    clients: Mapping[str, UpstreamClient],
    metrics: Mapping[str, UpstreamMetrics],
) -> PoolUpstream:
    """The pool ``name`` of the upstreams that ``given`` names, in order or with their weights."""
    weights = given if isinstance(given, dict) else dict.fromkeys(given)
    members = [Member(clients[each], weight, metrics[each]) for each, weight in weights.items()]
    return PoolUpstream(name, members)
