"""What is not gated: forwarded with its bytes unchanged, streaming both ways."""

from __future__ import annotations

import asyncio
import logging
import re
from typing import TYPE_CHECKING

import msgspec

from gating.types import Decision
from proxy.exceptions import UNREADABLE, BadRequest, HttpError, NotFound, UpstreamError, failure_summary
from proxy.gateway import trace_context
from proxy.server import asgi
from proxy.server.bodies import in_pieces
from proxy.server.errors import error_body
from proxy.surfaces.contract import Ask

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from proxy.clients.authentication import Caller, Keys
    from proxy.clients.limits import Limits
    from proxy.requests.exchange import Exchange
    from proxy.requests.route import Route, RouteTable
    from proxy.server.asgi import Headers, Message, Push, Receive, Scope, Send, Wait
    from proxy.server.bodies import Bodies
    from proxy.surfaces.contract import Translator
    from proxy.upstreams.transport import Response

logger = logging.getLogger("idk")

#: TRACE has a server say what it was sent, an upstream's key among it; what it is that others do, nobody knows here.
_METHODS = ("GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE")
#: Of one connection only (RFC 9110, 7.6.1), or made anew for the next one.
_HOP_BY_HOP = frozenset(
    (
        b"connection", b"keep-alive", b"proxy-authenticate", b"proxy-authorization", b"proxy-connection",
        b"te", b"trailer", b"transfer-encoding", b"upgrade", b"host", b"content-length", b"expect",
    )
)  # fmt: skip
#: What a client tells the proxy, or tells of itself, that no upstream should learn.
_OURS = frozenset(
    (b"authorization", b"x-api-key", b"x-idk-key", b"x-idk-route", b"cookie", b"accept-encoding")
)
#: The trace context goes on where it is well-formed, and then once.
_LEFT_OUT = _HOP_BY_HOP | _OURS | {trace_context.PARENT, trace_context.STATE}
#: What an upstream says of itself alone: where it is, which pages may read it, how it is to be reached.
_HIDDEN = _HOP_BY_HOP | frozenset(
    (
        b"set-cookie", b"server", b"date", b"x-request-id", b"content-encoding", b"location", b"content-location",
        b"alt-svc", b"strict-transport-security", b"www-authenticate", b"via",
    )
)  # fmt: skip
_HIDDEN_PREFIX = b"access-control-"
_BOUNDARY = re.compile(rb';[ \t]*boundary=(?:"([^"]{1,70})"|([^\s;",]{1,70}))', re.IGNORECASE)
_NAMED_MODEL = frozenset((b'name="model"', b"name=model"))
#: SDKs put a form's fields before its file; how far in the field is looked for.
_FORM_HEAD = 65_536
_FORM_VALUE = 256
#: The longest name of a model in JSON, in bytes.
_LONGEST_NAME = 1_000_000
#: Paths that give a model's text. Where a route enforces, one of them that has no gate is a way around it.
_GENERATES = re.compile(
    r"(?:^|[/:])(?:chat|completions?|responses|messages|runs|edits|infer\w*|(?:stream)?(?:generate|rawpredict)\w*"
    r"|predict|invoke\w*|converse)(?:[:/]|$)"
)

#: What an upstream keeps of answers, by their ids or in a list: withheld ones too.
_KEEPS = re.compile(r"(?:^|/)(?:chat/completions|completions|responses|messages|threads)(?:/[^/]+|$)")
#: They count, and say nothing.
_COUNTS = re.compile(r"/(?:count_tokens|input_tokens)/?$")

#: What may be asked for without ``/v1`` (as with a base URL that lacks it); any other path is nobody's.
_BARE = frozenset(
    (
        "embeddings", "audio", "images", "files", "moderations", "batches", "uploads", "fine_tuning",
        "vector_stores", "videos", "rerank", "completions", "responses", "messages", "conversations",
    )
)  # fmt: skip


class _Model(msgspec.Struct):
    model: msgspec.Raw = msgspec.Raw(b"null")


class Relay:
    """Every path without a gate."""

    def __init__(self, routes: RouteTable, keys: Keys, limits: Limits, bodies: Bodies) -> None:
        self._routes = routes
        self._keys = keys
        self._limits = limits
        self._bodies = bodies

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        base = [(b"x-request-id", asgi.request_id())]
        try:
            if not _is_api(scope["path"]):
                raise NotFound("no such path")
            if scope["method"] not in _METHODS:
                base.append((b"allow", ", ".join(_METHODS).encode()))
                raise HttpError("use another method", status=405, type="invalid_request_error")
            caller = self._keys.caller(scope["headers"])
            if caller.limited:
                await self._limits.admit(caller)
            with self._limits.under_way(caller):
                await self._admitted(caller, scope, receive, send, base)
        except asgi.ClientGone:
            return
        except HttpError as exc:
            await asgi.respond(
                send, exc.http_status, [*base, asgi.JSON, *asgi.retry_after(exc)], error_body(exc)
            )

    async def _admitted(
        self,
        caller: Caller,
        scope: Scope,
        receive: Receive,
        send: Send,
        base: list[tuple[bytes, bytes]],
    ) -> None:
        upload = _Upload(receive)
        model, body = await self._model(scope, upload)
        route = self._route(scope, caller, model)
        base.append((b"x-idk-route", route.name.encode()))
        async with asgi.CancelOnDisconnect(upload.after):
            await self._forward(scope, route, body, send, base)

    async def _model(self, scope: Scope, upload: _Upload) -> tuple[str | None, bytes | AsyncIterator[bytes]]:
        """The request's model, and its body: whole where it was JSON, else as it comes."""
        headers = scope["headers"]
        given = asgi.header(headers, b"content-type") or b""
        kind = given.lower()
        if scope["method"] in ("GET", "HEAD", "OPTIONS", "DELETE"):
            upload.skip()
            return None, b""
        if kind.startswith(b"multipart/form-data"):
            found = _BOUNDARY.search(given)
            boundary = found and (found[1] or found[2])
            head, model = await upload.head(_FORM_HEAD, boundary) if boundary else (b"", None)
            return model, upload.pieces(head)
        if b"json" in kind:
            body = await self._bodies.receive(upload.receive, headers)
            return await self._bodies.on_request(len(body), _named_model, body), body
        return None, upload.pieces(b"")

    def _route(self, scope: Scope, caller: Caller, model: str | None) -> Route:
        named = asgi.header(scope["headers"], b"x-idk-route")
        if named is not None or model is not None:
            name = None if named is None else named.decode("latin-1")
            route = self._routes.find(model or "", caller, name)
        else:
            usable = self._routes.usable(caller)
            if not usable:
                raise NotFound("no route is open to this key")
            route = usable[0]
        self._check_gated(route, scope["path"].lower(), model)
        return route

    def _check_gated(self, route: Route, path: str, model: str | None) -> None:
        """Refuse a path by which a withheld answer, or one that nothing has judged, would get out."""
        if _COUNTS.search(path):
            return
        if route.holds and _GENERATES.search(path):
            raise BadRequest(
                "this path gives a model's answers and has no gate, and the route enforces one; "
                "use /v1/chat/completions",
                code="ungated_path",
            )
        # Who reads what is kept names any model, or none: whose answer it was is not known here.
        if self._routes.any_holds and _KEEPS.search(path):
            raise BadRequest(
                "this path gives answers that an upstream has kept, and a route of this proxy withholds some; "
                "use a key of the upstream's own",
                code="ungated_path",
            )

    async def _forward(
        self, scope: Scope, route: Route, body: bytes | AsyncIterator[bytes], send: Send, base: Headers
    ) -> None:
        headers = scope["headers"]
        sent = [(name, value) for name, value in headers if name not in _LEFT_OUT]
        sent += trace_context.of(headers)
        credentials = self._keys.credentials(headers)
        try:
            response = await route.upstream.relay(
                scope["method"], upstream_path(scope), sent, body, credentials
            )
            error = await self._redacted(response, route) if response.status >= 400 else None
        except UpstreamError as exc:
            route.upstream_metrics.failed(exc.kind)
            raise
        kept = [
            (name, value)
            for name, value in response.headers
            if name not in _HIDDEN and not name.startswith(_HIDDEN_PREFIX)
        ]
        if error is None:
            await self._send_on(response, send, asgi.pusher(scope, send), [*base, *kept], route)
        else:
            await asgi.respond(send, response.status, [*base, *kept], error)

    async def _redacted(self, response: Response, route: Route) -> bytes:
        """The upstream's error, whole: it may name a key or an address of its own."""
        try:
            body = await response.read(self._bodies.max_answer_bytes)
        finally:
            response.close()
        # Byte for byte there and back: what is no secret stays as it was sent, whatever its encoding.
        return route.upstream.redact(body.decode("latin-1")).encode("latin-1")

    async def ungated(self, exchange: Exchange, send: Send, push: Push, base: Headers) -> None:
        """A gated surface's request on a route that is off: the answer's bytes as they come."""
        route, request = exchange.route, exchange.request
        if request.context:
            raise BadRequest("idk: this route is off, and puts no context before a question", param="idk")
        ask = Ask(route.config.model, route.config.params, logprobs=False, top_logprobs=0)
        body = await self._bodies.on_request(exchange.size, exchange.surface.outgoing, request, ask)
        response = await route.upstream.post(exchange.surface.path, body, exchange.credentials)
        route.metrics.decided(_OFF)
        translator = exchange.surface.ungated(request)
        if request.stream:
            headers = [*base, *asgi.EVENT_STREAM, *_OFF_HEADERS]
            out = push if translator is None else _through(translator, push)
            await self._send_on(response, send, out, headers, route)
        elif translator is None:
            headers = [*base, asgi.JSON, *_length(response), *_OFF_HEADERS]
            await self._send_on(response, send, push, headers, route)
        else:
            try:
                whole = await response.read(self._bodies.max_answer_bytes)
            finally:
                response.close()
            translated = await self._bodies.read_answer(whole, translator.whole)
            await asgi.respond(send, response.status, [*base, asgi.JSON, *_OFF_HEADERS], translated)

    async def _send_on(
        self, response: Response, send: Send, push: Push, headers: Headers, route: Route
    ) -> None:
        """Send the upstream's answer on, piece by piece.

        Its head has gone out when the upstream fails in the middle: then the client's connection is cut as the
        upstream's was, by leaving the response unfinished, so that nobody takes a part for the whole.
        """
        try:
            await send({"type": "http.response.start", "status": response.status, "headers": headers})
            if (asgi.header(headers, b"content-type") or b"").startswith(b"text/event-stream"):
                # The head now, whenever the first event comes: servers keep it for the body's first piece.
                await send({"type": "http.response.body", "body": b"", "more_body": True})
            await response.pour(push)
        except UpstreamError as exc:
            route.upstream_metrics.failed(exc.kind)
            logger.warning("%s: passed-through answer cut short: %s", route.name, failure_summary(exc))
            return
        finally:
            response.close()
        await send({"type": "http.response.body", "body": b"", "more_body": False})


_OFF = Decision("answer", "off")
_OFF_HEADERS = ((b"x-idk-decision", b"answer"), (b"x-idk-reason", b"off"))


class _Upload:
    """A request's body on its way; once it has all come, ``after`` waits for the client to leave."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._ended = asyncio.Event()

    async def receive(self) -> Message:
        message = await self._receive()
        if not message.get("more_body", False):
            self._ended.set()
        return message

    def skip(self) -> None:
        """There is no body to wait for."""
        self._ended.set()

    async def after(self) -> Message:
        await self._ended.wait()
        return await self._receive()

    async def head(self, limit: int, boundary: bytes) -> tuple[bytes, str | None]:
        """A form's first bytes, and its field ``model``: until it is among them, ``limit`` is reached, or all came."""
        head = b""
        looked = 0
        while True:
            ended = self._ended.is_set() or len(head) >= limit
            if ended or len(head) >= 2 * looked:  # not after each piece: a form may come byte by byte
                looked = max(len(head), 1)
                model = form_model(head, boundary)
                if ended or model is not None:
                    return head, model
            message = await self.receive()
            if message["type"] == "http.disconnect":
                raise asgi.ClientGone
            head += message.get("body", b"")

    async def pieces(self, head: bytes) -> AsyncIterator[bytes]:
        """The whole body: what was read already, and the rest as it comes."""
        if head:
            yield head
        if not self._ended.is_set():
            async for piece in asgi.body_pieces(self.receive):
                yield piece


def _named_model(body: bytes) -> str | None:
    """The field ``model`` of a JSON body; raises BadRequest."""
    try:
        named = msgspec.json.decode(body, type=_Model).model
        if len(memoryview(named)) > _LONGEST_NAME:
            raise BadRequest(f"model: a name of over {_LONGEST_NAME} bytes", param="model")
        return msgspec.json.decode(named, type=str | None)
    except UNREADABLE as exc:
        raise BadRequest(f"the body is not JSON with a model's name: {exc}") from exc


def form_model(head: bytes, boundary: bytes) -> str | None:
    """The whole value of the field ``model`` in a form's first bytes, read in one pass."""
    parts = (b"\r\n" + head).split(b"\r\n--" + boundary)
    for part in parts[1:-1]:  # the last one's end has not come, or is the form's own
        fields, _, value = part.partition(b"\r\n\r\n")
        if len(value) <= _FORM_VALUE and any(map(_names_model, fields.split(b"\r\n"))):
            return value.decode("utf-8", "replace")
    return None


def _names_model(line: bytes) -> bool:
    name, _, value = line.partition(b":")
    if name.strip().lower() != b"content-disposition":
        return False
    return any(parameter.strip() in _NAMED_MODEL for parameter in value.split(b";"))


def _length(response: Response) -> Headers:
    """Where it is known, one write sends the whole answer."""
    return [header for header in response.headers if header[0] == b"content-length"]


def _through(translator: Translator, push: Push) -> Push:
    """Return a ``Push`` that translates a stream before ``push`` gets it."""

    def translated(data: bytes) -> Wait | None:
        ready = translator.feed(data)
        return push(ready) if ready else None

    return in_pieces(translated)


def _is_api(path: str) -> bool:
    return path.startswith("/v1/") or path.removeprefix("/").partition("/")[0] in _BARE


def upstream_path(scope: Scope) -> str:
    """The request's path and query as they were sent, without ``/v1``, which the base URL brings."""
    path = scope["raw_path"].decode("ascii").partition("?")[0].removeprefix("/v1")
    query = scope["query_string"].decode("ascii")
    return f"{path}?{query}" if query else path
