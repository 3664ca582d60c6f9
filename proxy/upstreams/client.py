"""What the pipeline sees of an upstream, whichever way it is called."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from proxy.upstreams.abilities import Abilities
    from proxy.upstreams.transport import Response


class UpstreamClient(Protocol):
    """One upstream. Every call raises only HttpError's kinds; a cancelled call ends at the upstream too."""

    #: Its name in the configuration.
    name: str
    #: What its models were found not to take.
    abilities: Abilities

    @property
    def gives_logprobs(self) -> bool:
        """False where the configuration says that it has none."""
        ...

    @property
    def formats(self) -> set[str]:
        """The names of the surfaces whose format it speaks."""
        ...

    @property
    def forwards_credentials(self) -> bool:
        """Whether the client's own Authorization is sent on in place of the proxy's key."""
        ...

    async def post(
        self, path: str, body: bytes, credentials: bytes | None, *, fresh: bool = False
    ) -> Response:
        """Ask for a completion. Gives a 2xx answer whose head has come; raises UpstreamStatus for any other.

        ``fresh``: no cache on the way may answer.
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
        """Pass a request on as it is; gives whatever the upstream answers, once, without a retry."""
        ...

    def redact(self, text: str) -> str:
        """``text`` of the upstream's, without keys and without its address."""
        ...

    async def aclose(self) -> None:
        """Close its connections."""
        ...
