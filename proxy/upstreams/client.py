"""The interface of an upstream and its abilities, which HTTP upstreams, LiteLLM and groups implement."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import asyncio
    from collections.abc import AsyncIterator, Sequence

    from proxy.upstreams.abilities import Ability, Kind, Suspicion
    from proxy.upstreams.transport import Response


class UpstreamAbilities(Protocol):
    """The abilities of an upstream or of a group; see ``proxy.upstreams.abilities``."""

    @property
    def complete(self) -> bool:
        """Whether nothing is known to be missing."""
        ...

    def accepts(self, model: str, kind: Kind, ability: Ability, credentials: bytes | None) -> bool:
        """Return whether a request of this kind may use ``ability``."""
        ...

    def lacks(self, model: str, kind: Kind, ability: Ability) -> bool:
        """Return whether a probe confirmed that ``ability`` is missing."""
        ...

    def suspect(self, suspicion: Suspicion, credentials: bytes | None) -> asyncio.Future[Any] | None:
        """Take note of a retry that succeeded; return the end of the probes, None where there are none."""
        ...


class UpstreamClient(Protocol):
    """An upstream. Calls raise only subclasses of HttpError; a cancelled call is cancelled at the upstream too."""

    #: The name in the configuration.
    name: str

    @property
    def abilities(self) -> UpstreamAbilities:
        """The request parameters and formats that the upstream's models accept, as far as they were learnt."""
        ...

    @property
    def gives_logprobs(self) -> bool:
        """Whether token log probabilities can be requested; False with ``logprobs: none`` in the configuration."""
        ...

    @property
    def formats(self) -> set[str]:
        """The names of the surfaces whose wire format the upstream accepts."""
        ...

    @property
    def forwards_credentials(self) -> bool:
        """Whether the client's Authorization header is sent in place of the proxy's key."""
        ...

    async def post(
        self, path: str, body: bytes, credentials: bytes | None, *, fresh: bool = False
    ) -> Response:
        """Request a completion and return the 2xx response; raises UpstreamStatus for another status.

        With ``fresh``, caches between the proxy and the model must not answer.
        """
        ...

    async def relay(
        self,
        method: str,
        path: str,
        headers: Sequence[tuple[bytes, bytes]],
        body: bytes | AsyncIterator[bytes],
        credentials: bytes | None,
    ) -> Response:
        """Pass a request through unchanged and return the response of any status; never retries."""
        ...

    def redact(self, text: str) -> str:
        """Return a text of the upstream's without keys and without the upstream's address."""
        ...

    async def aclose(self) -> None:
        """Close the connections."""
        ...
