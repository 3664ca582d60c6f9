"""A surface over an upstream that speaks another format: translated to the chat's, gated there, translated back.

Everything that decides (holding, abstentions, logprobs) happens in the chat's format; a translation is a pure
function of what the chat's surface would have sent to its client, so that it can let out nothing else.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from proxy import sse
from proxy.exceptions import UNREADABLE, UpstreamGarbage, UpstreamTooLarge
from proxy.large import ENCODING, is_large, pause, prefault
from proxy.shape import check_answer
from proxy.surfaces.chat import Chat

if TYPE_CHECKING:
    from collections.abc import Callable

    from proxy.exceptions import HttpError
    from proxy.wire import Ask, Completion, Edit, Request, StreamReader, Verdict, Watch


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


class _Function(msgspec.Struct):
    name: str | None = None
    arguments: str | None = None


class _Call(msgspec.Struct):
    index: int | None = None
    function: _Function | None = None


class _Said(msgspec.Struct):
    content: str | None = None
    refusal: str | None = None
    reasoning: str | None = None
    reasoning_content: str | None = None
    tool_calls: list[_Call] | None = None


class _Choice(msgspec.Struct):
    message: _Said | None = None
    delta: _Said | None = None
    finish_reason: str | None = None


class _Details(msgspec.Struct):
    cached_tokens: int | None = None
    reasoning_tokens: int | None = None


class _Usage(msgspec.Struct):
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    total_tokens: int | None = None
    prompt_tokens_details: _Details | None = None
    completion_tokens_details: _Details | None = None


class _Chat(msgspec.Struct):
    """What a translation relies on in an answer or a chunk."""

    choices: list[_Choice] | None = None
    usage: _Usage | None = None


def _shaped(answer: dict[str, Any]) -> dict[str, Any]:
    """The same, if a translation can read it; raises UpstreamGarbage."""
    try:
        msgspec.convert(answer, _Chat)
    except msgspec.ValidationError as exc:
        raise UpstreamGarbage(f"the upstream's answer has an unexpected form: {exc}") from exc
    return answer


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
        chat = self._translation.to_chat(body)
        pause()
        prefault(ENCODING * len(body))
        written = msgspec.json.encode(chat)
        pause()
        request = self._chat.parse(written)
        pause()
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
        answer = msgspec.json.decode(self._chat.render(request, ask, completion, verdict))
        return msgspec.json.encode(self._translation.from_chat(_shaped(answer), request))

    def stream(
        self, request: Request, ask: Ask, *, hold: bool, watch: Callable[[], Watch] | None
    ) -> StreamReader:
        """The chat's reader, what it gives translated."""
        reader = self._chat.stream(request, ask, hold=hold, watch=watch)
        return _TranslatedStream(reader, self._translation.events(request))

    def plain(self, request: Request, limit: int, most_strings: int) -> Plain:
        """What translates an answer that no gate has seen, within these bounds where it is whole."""
        return Plain(self._translation, request, limit, most_strings)

    def error(self, exc: HttpError) -> bytes:
        """In the client's format."""
        return self._translation.error(exc)

    def error_event(self, exc: HttpError) -> bytes:
        """In the client's format."""
        return self._translation.error_event(exc)


#: One event holds a few tokens; a megabyte of them is no event.
_EVENT_LIMIT = 1_000_000
_FIELDS = msgspec.json.Decoder(dict[str, msgspec.Raw])


class _TranslatedStream:
    def __init__(self, reader: StreamReader, translation: EventTranslation) -> None:
        self._reader = reader
        self._translation = translation

    def feed(self, data: bytes) -> bytes:
        return self._translated(self._reader.feed(data))

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
                out.append(self._translation.chunk(_shaped(msgspec.json.decode(payload))))
        return b"".join(out)


class Plain:
    """A chat's answer as it comes, translated: a stream event by event, a whole one at its end."""

    def __init__(self, translation: Translation, request: Request, limit: int, most_strings: int) -> None:
        self._translation = translation
        self._request = request
        self._limit = limit
        self._most_strings = most_strings
        self._events = translation.events(request) if request.stream else None
        self._splitter = sse.Splitter(_EVENT_LIMIT)
        self._body = bytearray()

    def feed(self, data: bytes) -> bytes:
        """What of it may go out now; raises UpstreamGarbage."""
        if self._events is None:
            self._body += data
            if len(self._body) > self._limit:
                raise UpstreamTooLarge(f"the upstream's answer is larger than {self._limit} bytes")
            return b""
        return b"".join(
            self._events.done() if payload == sse.DONE else self._events.chunk(_decoded(payload))
            for payload in self._splitter.feed(data)
        )

    @property
    def is_large(self) -> bool:
        """Whether its ``end`` takes long."""
        return is_large(self._body)

    def end(self) -> bytes:
        """The rest; raises UpstreamGarbage, and UpstreamTooLarge where it would take too long to read."""
        if self._events is not None:
            return b""
        if self.is_large:
            check_answer(self._body, self._most_strings)
        return msgspec.json.encode(self._translation.from_chat(_decoded(bytes(self._body)), self._request))


def _decoded(payload: bytes) -> dict[str, Any]:
    try:
        return _shaped(msgspec.json.decode(payload, type=dict[str, Any]))
    except UNREADABLE as exc:
        raise UpstreamGarbage("the upstream's answer is no JSON object") from exc


def named_event(payload: dict[str, Any]) -> bytes:
    """An event whose name is its payload's type."""
    return b"event: " + str(payload["type"]).encode() + b"\n" + sse.event(msgspec.json.encode(payload))
