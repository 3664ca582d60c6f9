"""Several upstreams used as one: tried in order, or drawn by weight, with the next one after a failure."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from random import Random
from typing import TYPE_CHECKING, Any

from proxy.exceptions import UpstreamBusy, UpstreamError, UpstreamStatus, UpstreamTimeout
from proxy.upstreams.breaker import UpstreamOpen

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence

    from proxy.metrics import UpstreamMetrics
    from proxy.server.asgi import Push
    from proxy.upstreams.abilities import Ability, Kind, Suspicion
    from proxy.upstreams.client import UpstreamClient
    from proxy.upstreams.transport import Response


@dataclass(frozen=True, slots=True)
class Member:
    """An upstream of a group; ``weight`` is None where the members are tried in order."""

    client: UpstreamClient
    weight: float | None
    metrics: UpstreamMetrics


class MemberResponse:
    """A response with the name of the member that sent it: a policy applies to the upstream it was fitted on."""

    __slots__ = ("_response", "headers", "status", "upstream")

    def __init__(self, response: Response, upstream: str) -> None:
        self._response = response
        self.upstream = upstream
        self.status = response.status
        self.headers: Sequence[tuple[bytes, bytes]] = response.headers

    async def read(self, limit: int) -> bytes:
        """Return the whole body; see ``Response.read``."""
        return await self._response.read(limit)

    def chunks(self) -> AsyncIterator[bytes]:
        """Yield the body as it arrives; see ``Response.chunks``."""
        return self._response.chunks()

    async def pour(self, sink: Push) -> None:
        """Pass the body to ``sink`` as it arrives; see ``Response.pour``."""
        await self._response.pour(sink)

    def close(self) -> None:
        """Close the response; see ``Response.close``."""
        self._response.close()


@dataclass(frozen=True, slots=True)
class GroupAbilities:
    """The abilities of a group: a request uses what all members accept, since its member is not known in advance."""

    members: Sequence[Member]

    @property
    def complete(self) -> bool:
        """Whether no member is known to lack anything."""
        return all(member.client.abilities.complete for member in self.members)

    def accepts(self, model: str, kind: Kind, ability: Ability, credentials: bytes | None) -> bool:
        """Return whether all members accept ``ability``."""
        accepting = True
        for (
            member
        ) in self.members:  # without a short cut: asking starts the probes of members whose last one is old
            accepting &= member.client.abilities.accepts(model, kind, ability, credentials)
        return accepting

    def lacks(self, model: str, kind: Kind, ability: Ability) -> bool:
        """Return whether a probe confirmed that a member lacks ``ability``."""
        return any(member.client.abilities.lacks(model, kind, ability) for member in self.members)

    def suspect(self, suspicion: Suspicion, credentials: bytes | None) -> asyncio.Future[Any] | None:
        """Let every member look into the suspicion; return the end of their probes, None where there are none."""
        probes = [
            probe
            for member in self.members
            if (probe := member.client.abilities.suspect(suspicion, credentials)) is not None
        ]
        return asyncio.gather(*probes, return_exceptions=True) if probes else None


@dataclass(slots=True)
class UpstreamGroup:
    """An ``UpstreamClient`` that sends each request to one of its members.

    Credentials, retries and the circuit breaker belong to each member.
    """

    name: str
    members: Sequence[Member]
    random: Random = field(default_factory=Random)

    @property
    def abilities(self) -> GroupAbilities:
        """The abilities that all members have."""
        return GroupAbilities(self.members)

    @property
    def forwards_credentials(self) -> bool:
        """Whether any member receives the client's Authorization header; the others never do."""
        return any(member.client.forwards_credentials for member in self.members)

    @property
    def gives_logprobs(self) -> bool:
        """Whether any member returns log probabilities; answers of the others are unmeasured."""
        return any(member.client.gives_logprobs for member in self.members)

    @property
    def formats(self) -> set[str]:
        """The formats that all members are configured with, because the next member receives the same body."""
        return set.intersection(*(member.client.formats for member in self.members))

    async def post(
        self, path: str, body: bytes, credentials: bytes | None, *, fresh: bool = False
    ) -> Response:
        """Return the response of the first member that succeeds; raises the last member's error."""
        *others, last = self._order()
        for member in others:
            try:
                return await _post(member.client, path, body, credentials, fresh=fresh)
            except UpstreamError as exc:
                if not _try_next(exc):
                    raise
                member.metrics.failed(exc.kind)
        return await _post(last.client, path, body, credentials, fresh=fresh)

    async def relay(
        self,
        method: str,
        path: str,
        headers: Sequence[tuple[bytes, bytes]],
        body: bytes | AsyncIterator[bytes],
        credentials: bytes | None,
    ) -> Response:
        """Pass a request through to the first member only: it may have side effects and is never sent twice."""
        return await self.members[0].client.relay(method, path, headers, body, credentials)

    def redact(self, text: str) -> str:
        """Return ``text`` without the keys and addresses of all members."""
        for member in self.members:
            text = member.client.redact(text)
        return text

    async def aclose(self) -> None:
        """Do nothing: the members are closed separately."""

    def _order(self) -> list[Member]:
        """Return the members in the given order, or drawn by weight (Efraimidis & Spirakis, 2006)."""

        def key(member: Member) -> float:
            return -(self.random.random() ** (1.0 / member.weight)) if member.weight else 0.0

        return sorted(self.members, key=key)


async def _post(
    client: UpstreamClient, path: str, body: bytes, credentials: bytes | None, *, fresh: bool
) -> MemberResponse:
    return MemberResponse(await client.post(path, body, credentials, fresh=fresh), client.name)


def _try_next(error: UpstreamError) -> bool:
    """Return whether another member may succeed: not where the upstream rejected the request itself."""
    if isinstance(error, UpstreamStatus):
        return error.may_retry or error.http_status >= 500
    return error.may_retry or isinstance(error, UpstreamOpen | UpstreamBusy | UpstreamTimeout)


def make_group(
    name: str,
    given: Sequence[str] | Mapping[str, float],
    clients: Mapping[str, UpstreamClient],
    metrics: Mapping[str, UpstreamMetrics],
) -> UpstreamGroup:
    """Return the group ``name`` of the upstreams in ``given``, in order or with their weights."""
    weights = given if isinstance(given, dict) else dict.fromkeys(given)
    members = [Member(clients[each], weight, metrics[each]) for each, weight in weights.items()]
    return UpstreamGroup(name, members)
