"""The gate inside the ``openai`` client: ``wrap(OpenAI(), policy="policy.json")``.

The wrapped client is judged at its HTTP transport, so that every way of asking (``create``, ``parse``, ``stream``,
``with_raw_response``) passes the same code as in the proxy. A path that the gate does not know is refused.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final, Self, TypeVar

from gating import Policy
from proxy.exceptions import HttpError
from proxy.integrations.judging import ChoiceJudgement, Judgement, PolicyJudge, surface_of
from proxy.server.errors import error_body

if TYPE_CHECKING:
    from pathlib import Path

    from gating.gate import OnUnmeasured
    from proxy.surfaces.contract import Ask, Request, Surface

__all__ = ["ChoiceJudgement", "Judgement", "PolicyJudge", "wrap"]

Client = TypeVar("Client", bound=Any)

#: POST requests whose responses hold no text of a model; ``GET /models`` and ``/models/{id}`` pass too.
_HARMLESS: Final = ("/embeddings", "/moderations", "/audio/speech", "/images/generations")
#: Headers that no longer hold once the body is another one.
_OF_THE_BODY: Final = frozenset({"content-length", "content-encoding", "transfer-encoding"})
_EVENTS: Final = "text/event-stream"


def wrap(
    client: Client,
    policy: str | Path | Policy | PolicyJudge,
    *,
    threshold: float | None = None,
    abstain_text: str = "I don't know.",
    on_unmeasured: OnUnmeasured = "abstain",
) -> Client:
    """Return a copy of an ``openai`` client (sync or async) whose uncertain answers become ``abstain_text``.

    Answers of chat completions, completions, responses and messages are judged, whole and streamed (a stream is held
    until its end). Models, embeddings, moderations, speech and images pass; every other path is answered with 403,
    since its answers would not be judged. Raises ConfigError where the policy cannot be used.
    """
    judge = _judge_of(policy, threshold, on_unmeasured)
    inner = client._client  # noqa: SLF001 - the client's HTTP client, with the user's own settings
    kind, library = _http_library(inner)
    transport = (_AsyncTransport if kind == "AsyncClient" else _Transport)(
        inner, _Gate(judge, abstain_text, library)
    )
    http_client = getattr(library, kind)(transport=transport, timeout=inner.timeout)
    wrapped: Client = client.with_options(http_client=http_client)
    return wrapped


def _http_library(inner: Any) -> tuple[str, Any]:
    """Return ``Client`` or ``AsyncClient``, and the library of an openai client's HTTP client.

    It is httpx, or httpx2 in later versions of openai: the same interface, whose types do not mix.
    """
    for each in type(inner).__mro__:
        if each.__name__ in ("Client", "AsyncClient"):
            return each.__name__, import_module(each.__module__.partition(".")[0])
    raise TypeError(f"wrap takes an openai client, whose HTTP client is httpx's, not {type(inner).__name__}")


def _judge_of(
    policy: str | Path | Policy | PolicyJudge, threshold: float | None, on_unmeasured: OnUnmeasured
) -> PolicyJudge:
    if isinstance(policy, PolicyJudge):
        return policy
    if isinstance(policy, Policy):
        return PolicyJudge(policy, threshold=threshold, on_unmeasured=on_unmeasured)
    return PolicyJudge.load(policy, threshold=threshold, on_unmeasured=on_unmeasured)


class _Asked:
    """A gated request on its way: what the client asked for, and what the upstream is asked."""

    def __init__(self, surface: Surface, request: Request, ask: Ask) -> None:
        self.surface = surface
        self.request = request
        self.ask = ask


class _Gate:
    """What both transports do before and after a call."""

    def __init__(self, judge: PolicyJudge, abstain_text: str, library: Any) -> None:
        self._judge = judge
        self._abstain_text = abstain_text
        self._library = library

    def before(self, request: Any, body: bytes) -> tuple[Any, _Asked | None]:
        """Return the request for the upstream, and how its response is judged; None: it holds no answer.

        Raises HttpError where the path is unknown or the body cannot be read.
        """
        path = request.url.path
        surface = surface_of(path) if request.method == "POST" else None
        if surface is None:
            if not _is_harmless(request.method, path):
                raise HttpError(
                    f"{request.method} {path}: its answers are not judged; use the unwrapped client",
                    status=403,
                    type="invalid_request_error",
                    code="ungated_path",
                )
            return self._with_body(request, body), None
        read = surface.parse(body)
        ask = self._judge.ask(read)
        return self._with_body(request, surface.outgoing(read, ask)), _Asked(surface, read, ask)

    def after(self, asked: _Asked, response: Any, body: bytes) -> Any:
        """Return the judged response; an error of the upstream stays as it is."""
        headers = [
            (name, value) for name, value in response.headers.multi_items() if name not in _OF_THE_BODY
        ]
        if response.status_code == 200:
            body = self._judged(asked, body, events=_EVENTS in response.headers.get("content-type", ""))
        return self._library.Response(
            response.status_code, headers=headers, content=body, request=response.request
        )

    def refusal(self, request: Any, exc: HttpError) -> Any:
        """Return an error of the gate's own, in OpenAI's shape."""
        return self._library.Response(
            exc.http_status,
            headers={"content-type": "application/json"},
            content=error_body(exc),
            request=request,
        )

    def _with_body(self, request: Any, body: bytes) -> Any:
        headers = [(name, value) for name, value in request.headers.multi_items() if name not in _OF_THE_BODY]
        return self._library.Request(
            request.method, request.url, headers=headers, content=body, extensions=request.extensions
        )

    def _judged(self, asked: _Asked, body: bytes, *, events: bool) -> bytes:
        surface, request, ask = asked.surface, asked.request, asked.ask
        if not events:
            completion = surface.read(body, ask)
            return surface.render(
                request, ask, completion, self._judge.verdict(completion, self._abstain_text)
            )
        reader = surface.stream(request, ask, hold=True, watch=None)
        reader.feed(body)
        completion = reader.completion()
        return reader.finish(completion, self._judge.verdict(completion, self._abstain_text))


def _is_harmless(method: str, path: str) -> bool:
    plain = path.rstrip("/")
    if method == "GET":
        return plain.endswith("/models") or plain.rpartition("/")[0].endswith("/models")
    return method == "POST" and plain.endswith(_HARMLESS)


class _Channel:
    """The transport of the wrapped client: it sends by the original HTTP client."""

    def __init__(self, inner: Any, gate: _Gate) -> None:
        self._inner = inner
        self._gate = gate


class _Transport(_Channel):
    """Judges the responses of a sync client."""

    def handle_request(self, request: Any) -> Any:
        """Send one request, and return its judged response."""
        try:
            outgoing, asked = self._gate.before(request, request.read())
            response = self._inner.send(outgoing, stream=asked is None)
            return response if asked is None else self._gate.after(asked, response, response.read())
        except HttpError as exc:
            return self._gate.refusal(request, exc)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close nothing: the original client owns the connections."""


class _AsyncTransport(_Channel):
    """Judges the responses of an async client."""

    async def handle_async_request(self, request: Any) -> Any:
        """Send one request, and return its judged response."""
        try:
            outgoing, asked = self._gate.before(request, await request.aread())
            response = await self._inner.send(outgoing, stream=asked is None)
            return response if asked is None else self._gate.after(asked, response, await response.aread())
        except HttpError as exc:
            return self._gate.refusal(request, exc)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close nothing: the original client owns the connections."""
