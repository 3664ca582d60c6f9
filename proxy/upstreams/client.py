"""The interface of an upstream, which HTTP upstreams, LiteLLM and groups implement."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from proxy.upstreams.abilities import Abilities
    from proxy.upstreams.transport import Response


class UpstreamClient(Protocol):
    """An upstream. Calls raise only subclasses of HttpError; a cancelled call is cancelled at the upstream too."""

    #: The name in the configuration.
    name: str
    #: Request parameters that its models do not accept.
    abilities: Abilities

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
