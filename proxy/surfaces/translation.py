"""A surface over an upstream that speaks another format: translated to the chat's, gated there, translated back.

Everything that decides (holding, abstentions, logprobs) happens in the chat's format; a translation is a pure
function of what the chat's surface would have sent to its client, so that it can let out nothing else.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, TypedDict, cast

import msgspec
from msgspec import Raw

from proxy.exceptions import UNREADABLE, UpstreamGarbage
from proxy.server.bodies import check_utf8, encode
from proxy.surfaces import sse
from proxy.surfaces.chat.surface import Chat

if TYPE_CHECKING:
    from collections.abc import Callable

    from proxy.exceptions import HttpError
    from proxy.surfaces.contract import (
        Ask,
        Completion,
        Edit,
        Request,
        StreamReader,
        Translator,
        Verdict,
        Watch,
    )


class Translation(Protocol):
    """One format in terms of the chat's."""

    name: str
    path: str

    def to_chat(self, body: bytes) -> dict[str, Any]:
        """A client's body as a chat's; raises BadRequest."""
        ...

    def from_chat(self, answer: dict[str, Any], request: Request) -> dict[str, Any]:
        """A chat's answer, with its ``idk``, as this format's."""
        ...

    def events(self, request: Request) -> EventTranslation:
        """What translates one stream."""
        ...

    def error(self, exc: HttpError) -> bytes:
        """An error in this format."""
        ...

    def error_event(self, exc: HttpError) -> bytes:
        """The same inside a stream."""
        ...


class EventTranslation(Protocol):
    """One stream, event by event."""

    def chunk(self, chunk: dict[str, Any]) -> bytes:
        """What goes out for a chat's chunk."""
        ...

    def done(self) -> bytes:
        """What ends the stream."""
        ...


#: What stands for itself; no object and no list.
_Scalar: TypeAlias = str | int | float | bool | None


class _Function(TypedDict, total=False):
    name: str | None
    arguments: str | None


class _Call(TypedDict, total=False):
    index: int | None
    id: _Scalar
    function: _Function | None


class _Said(TypedDict, total=False):
    content: str | None
    refusal: str | None
    reasoning: str | None
    reasoning_content: str | None
    tool_calls: list[_Call] | None


class _Choice(TypedDict, total=False):
    message: _Said | None
    delta: _Said | None
    finish_reason: str | None
    logprobs: Raw


class _Details(TypedDict, total=False):
    cached_tokens: int | None
    reasoning_tokens: int | None


class _Usage(TypedDict, total=False):
    prompt_tokens: int | None
    completion_tokens: int | None
    total_tokens: int | None
    prompt_tokens_details: _Details | None
    completion_tokens_details: _Details | None


class _Chat(TypedDict, total=False):
    """What a translation reads of an answer or a chunk; the rest is passed over and costs next to nothing."""

    id: _Scalar
    model: _Scalar
    created: _Scalar
    choices: list[_Choice] | None
    usage: _Usage | None
    idk: Raw


_CHAT = msgspec.json.Decoder(_Chat)


def _decoded(payload: bytes) -> dict[str, Any]:
    """An answer or a chunk, if a translation can read it; raises UpstreamGarbage."""
    try:
        check_utf8(payload)
        return cast("dict[str, Any]", _CHAT.decode(payload))
    except msgspec.ValidationError as exc:
        raise UpstreamGarbage(f"the upstream's answer has an unexpected form: {exc}") from exc
    except UNREADABLE as exc:
        raise UpstreamGarbage("the upstream's answer is no JSON") from exc


class TranslatedSurface:
    """See ``Surface``; ``path`` is the client's, and the upstream is asked for chat completions."""

    def __init__(self, translation: Translation) -> None:
        self._translation = translation
        self._chat = Chat()
        self.name = translation.name
        self.path = self._chat.path
        self.takes_n = self._chat.takes_n

    def parse(self, body: bytes) -> Request:
        """The chat's request that asks the same; raises BadRequest."""
        request = self._chat.parse(encode(self._translation.to_chat(body), len(body)))
        return msgspec.structs.replace(request, origin=_FIELDS.decode(body))

    def outgoing(self, request: Request, ask: Ask) -> bytes:
        """The chat's body."""
        return self._chat.outgoing(request, ask)

    def edited(self, request: Request, edit: Edit) -> Request:
        """As the chat's."""
        return self._chat.edited(request, edit)

    def read(self, body: bytes, ask: Ask) -> Completion:
        """As the chat's."""
        return self._chat.read(body, ask)

    def render(self, request: Request, ask: Ask, completion: Completion, verdict: Verdict) -> bytes:
        """The chat's answer, translated."""
        answer = _decoded(self._chat.render(request, ask, completion, verdict))
        return msgspec.json.encode(self._translation.from_chat(answer, request))

    def stream(
        self, request: Request, ask: Ask, *, hold: bool, watch: Callable[[], Watch] | None
    ) -> StreamReader:
        """The chat's reader, what it gives translated."""
        reader = self._chat.stream(request, ask, hold=hold, watch=watch)
        return _TranslatedStream(reader, self._translation.events(request))

    def ungated(self, request: Request) -> Translator:
        """Return what translates an answer that no gate reads."""
        return _Translator(self._translation, request)

    def error(self, exc: HttpError) -> bytes:
        """In the client's format."""
        return self._translation.error(exc)

    def error_event(self, exc: HttpError) -> bytes:
        """In the client's format."""
        return self._translation.error_event(exc)


#: One event holds a few tokens; a megabyte of them is no event.
_EVENT_LIMIT = 1_000_000
_FIELDS = msgspec.json.Decoder(dict[str, Raw])


class _TranslatedStream:
    def __init__(self, reader: StreamReader, translation: EventTranslation) -> None:
        self._reader = reader
        self._translation = translation

    def feed(self, data: bytes) -> bytes:
        return self._translated(self._reader.feed(data))

    @property
    def pending(self) -> int:
        return self._reader.pending

    @property
    def settled(self) -> bool:
        return self._reader.settled

    def completion(self) -> Completion:
        return self._reader.completion()

    def finish(self, completion: Completion, verdict: Verdict, *, cancelled: bool = False) -> bytes:
        return self._translated(self._reader.finish(completion, verdict, cancelled=cancelled))

    def _translated(self, events: bytes) -> bytes:
        """Whole events only come from the reader, each on one line."""
        out: list[bytes] = []
        for line in events.split(b"\n\n"):
            payload = line.removeprefix(b"data: ")
            if payload == sse.DONE:
                out.append(self._translation.done())
            elif payload:
                out.append(self._translation.chunk(_decoded(payload)))
        return b"".join(out)


class _Translator:
    """Translates one answer of a chat that no gate reads; see ``Translator``."""

    def __init__(self, translation: Translation, request: Request) -> None:
        self._translation = translation
        self._request = request
        self._events = translation.events(request)
        self._splitter = sse.Splitter(_EVENT_LIMIT)

    def whole(self, body: bytes) -> bytes:
        """Translate a whole answer; raises UpstreamGarbage."""
        return msgspec.json.encode(self._translation.from_chat(_decoded(body), self._request))

    def feed(self, data: bytes) -> bytes:
        """Translate the events that ``data`` completes; raises UpstreamGarbage."""
        return b"".join(
            self._events.done() if payload == sse.DONE else self._events.chunk(_decoded(payload))
            for payload in self._splitter.feed(data)
        )


def named_event(payload: dict[str, Any]) -> bytes:
    """An event whose name is its payload's type."""
    return b"event: " + str(payload["type"]).encode() + b"\n" + sse.event(msgspec.json.encode(payload))
