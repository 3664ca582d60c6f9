"""The pass-through of requests without a gate: forwarded with their bodies unchanged, streamed both ways."""

from __future__ import annotations

import asyncio
import json
import logging
import re
from typing import TYPE_CHECKING

import msgspec

from gating.types import Decision
from proxy.exceptions import UNREADABLE, BadRequest, HttpError, NotFound, UpstreamError, failure_summary
from proxy.gateway import trace_context
from proxy.gateway.paths import is_api
from proxy.gateway.token_meter import TokenMeter
from proxy.server import asgi
from proxy.server.bodies import in_pieces
from proxy.server.errors import error_body
from proxy.surfaces.contract import Ask

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from proxy.clients.authentication import Caller, Keys
    from proxy.clients.limits import Limits
    from proxy.gateway.paths import UngatedPaths
    from proxy.requests.exchange import Exchange
    from proxy.requests.route import Route, RouteTable
    from proxy.server.asgi import Headers, Message, Push, Receive, Scope, Send, Wait
    from proxy.server.bodies import Bodies
    from proxy.surfaces.contract import Translator
    from proxy.upstreams.transport import Response

logger = logging.getLogger("idk")

#: Methods that are passed on. TRACE would return the request with the upstream's key; others are unknown.
_METHODS = ("GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE")
#: Request headers that are passed on. Unknown ones stay here: they could change the method, the path or the account.
_SENT = frozenset(
    (
        b"accept", b"accept-language", b"content-type", b"content-disposition", b"user-agent", b"idempotency-key",
        b"if-match", b"if-none-match", b"if-modified-since", b"range", b"if-range", b"openai-beta",
        b"anthropic-beta", b"anthropic-version", b"http-referer", b"x-title",
    )
)  # fmt: skip
_SENT_PREFIX = b"x-stainless-"
#: The client's own account, which belongs to the client's own key.
_ACCOUNT = frozenset((b"openai-organization", b"openai-project"))
#: Response headers that are passed on; cookies, redirects, addresses and permissions of the upstream stay behind.
_RETURNED = frozenset(
    (
        b"content-type", b"content-disposition", b"content-range", b"content-language", b"accept-ranges", b"etag",
        b"last-modified", b"cache-control", b"expires", b"vary", b"retry-after", b"retry-after-ms", b"x-should-retry",
        b"openai-processing-ms", b"openai-version", b"openai-model",
    )
)  # fmt: skip
_RETURNED_PREFIXES = (b"x-ratelimit-", b"anthropic-ratelimit-")
#: A passed-through page runs no script and has no origin, so it cannot use the session of an admin.
_SANDBOX = ((b"content-security-policy", b"sandbox"), (b"x-content-type-options", b"nosniff"))
_BOUNDARY = re.compile(rb';[ \t]*boundary=(?:"([^"]{1,70})"|([^\s;",]{1,70}))', re.IGNORECASE)
_NAMED_MODEL = frozenset((b'name="model"', b"name=model"))
#: Bytes of a form in which the field is looked for: SDKs put a form's fields before its file.
_FORM_HEAD = 65_536
_FORM_VALUE = 256
#: A form's field ``model``, however it is written.
_MODEL_FIELD = re.compile(rb"""name\*?[ \t]*=[ \t]*["']?(?:utf-8'')?model\b""", re.IGNORECASE)
_LONGEST_FIELD = 64
#: A key ``model`` in JSON, and an escaped letter, which could hide one.
_MODEL_KEY = re.compile(rb'("model")\s*:', re.IGNORECASE)
_ESCAPED_LETTER = re.compile(rb"\\u00[46]", re.IGNORECASE)
#: The longest name of a model in JSON, in bytes.
_LONGEST_NAME = 1_000_000


class _Model(msgspec.Struct):
    model: msgspec.Raw = msgspec.Raw(b"null")


class Relay:
    """Answers every path that has no gate."""

    def __init__(
        self, routes: RouteTable, keys: Keys, limits: Limits, bodies: Bodies, paths: UngatedPaths
    ) -> None:
        self._paths = paths
        self._routes = routes
        self._keys = keys
        self._limits = limits
        self._bodies = bodies

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        base = [(b"x-request-id", asgi.request_id())]
        try:
            if not is_api(raw_path(scope)):
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
            await asgi.respond_error(scope, send, exc, base, error_body(exc))

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
        target = self._target(scope, route)
        counted = caller.tokens_per_minute is not None and scope["method"] == "POST"
        meter = TokenMeter(len(body) if isinstance(body, bytes) else 0) if counted else None
        try:
            with self._limits.upstream_share(caller, route.upstream.name):
                async with asgi.CancelOnDisconnect(upload.after):
                    await self._forward(scope, target, route, body, send, base, meter)
        finally:
            if meter is not None:
                await self._limits.used(caller, meter.tokens)

    async def _model(self, scope: Scope, upload: _Upload) -> tuple[str | None, bytes | AsyncIterator[bytes]]:
        """Return the request's model and its body: whole if it is JSON, otherwise in pieces as it arrives."""
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
            return model, upload.pieces(head, most_models=int(model is not None))
        if b"json" in kind:
            body = await self._bodies.receive(upload.receive, headers)
            return await self._bodies.on_request(len(body), _named_model, body), body
        return None, upload.pieces(b"")

    def _route(self, scope: Scope, caller: Caller, model: str | None) -> Route:
        named = asgi.header(scope["headers"], b"x-idk-route")
        if named is not None or model is not None:
            name = None if named is None else named.decode("latin-1")
            route = self._routes.find(model, caller, name)
        else:
            usable = self._routes.usable(caller)
            if not usable:
                raise NotFound("no route is open to this key")
            route = usable[0]
        return route

    def _target(self, scope: Scope, route: Route) -> str:
        """Return the path and query for the upstream; raises HttpError for a request that it may not receive."""
        method, upstream, headers = scope["method"], route.upstream.name, scope["headers"]
        raw = raw_path(scope)
        target = self._paths.target(upstream, method, raw)
        if method in ("POST", "PUT", "PATCH"):
            kind = asgi.header(headers, b"content-type") or b""
            length = asgi.header(headers, b"content-length")
            empty = asgi.header(headers, b"transfer-encoding") is None and length in (None, b"0")
            self._paths.check_media_type(upstream, raw, kind, empty=empty)
        query = scope["query_string"].decode("ascii")
        path = raw.removeprefix("/v1") if target is None else target
        return f"{path}?{query}" if query else path

    async def _forward(
        self,
        scope: Scope,
        target: str,
        route: Route,
        body: bytes | AsyncIterator[bytes],
        send: Send,
        base: Headers,
        meter: TokenMeter | None,
    ) -> None:
        headers = scope["headers"]
        credentials = self._keys.credentials(headers) if route.upstream.forwards_credentials else None
        sent = _sent(headers, account=credentials is not None)
        try:
            response = await route.upstream.relay(scope["method"], target, sent, body, credentials)
            error = await self._redacted(response, route) if response.status >= 400 else None
        except UpstreamError as exc:
            route.upstream_metrics.failed(exc.kind)
            raise
        kept = [*_returned(response.headers), *_SANDBOX]
        if error is None:
            push = asgi.pusher(scope, send)
            if meter is not None and _is_text(response):
                push = meter.metered(push)
            await self._send_on(response, send, push, [*base, *kept], route)
        else:
            await asgi.respond(send, response.status, [*base, *kept], error)

    async def _redacted(self, response: Response, route: Route) -> bytes:
        """Return the upstream's error without its key and address."""
        try:
            body = await response.read(self._bodies.max_answer_bytes)
        finally:
            response.close()
        # Latin-1 maps bytes to characters and back, so that all other bytes stay as they were sent.
        return route.upstream.redact(body.decode("latin-1")).encode("latin-1")

    async def ungated(self, exchange: Exchange, send: Send, push: Push, base: Headers) -> None:
        """Answer a gated surface's request on a route that is off, with the upstream's bytes as they arrive."""
        route, request = exchange.route, exchange.request
        if request.context:
            raise BadRequest("idk: this route is off and does not put context before a question", param="idk")
        ask = Ask(route.config.model, route.config.params, logprobs=False, top_logprobs=0)
        body = await self._bodies.on_request(exchange.size, exchange.surface.outgoing, request, ask)
        response = await route.upstream.post(exchange.surface.path, body, exchange.credentials)
        route.metrics.decided(_OFF)
        meter = TokenMeter(exchange.size)
        push = meter.metered(push) if exchange.usage else push
        try:
            await self._pass_on(exchange, response, meter, send, push, base)
        finally:
            if exchange.usage:
                exchange.spent.answer_tokens = meter.tokens

    async def _pass_on(
        self, exchange: Exchange, response: Response, meter: TokenMeter, send: Send, push: Push, base: Headers
    ) -> None:
        route, request = exchange.route, exchange.request
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
            meter.feed(whole)
            translated = await self._bodies.read_answer(whole, translator.whole)
            await asgi.respond(send, response.status, [*base, asgi.JSON, *_OFF_HEADERS], translated)

    async def _send_on(
        self, response: Response, send: Send, push: Push, headers: Headers, route: Route
    ) -> None:
        """Pass the upstream's answer on, piece by piece.

        If the upstream fails in the middle, the response stays unfinished: the server then cuts the connection, and
        the client cannot mistake a part for the whole answer.
        """
        try:
            await send({"type": "http.response.start", "status": response.status, "headers": headers})
            if (asgi.header(headers, b"content-type") or b"").startswith(b"text/event-stream"):
                # Send the head now: the server would otherwise keep it until the first event.
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
    """A request's body as it arrives. After its end, ``after`` waits for the client to disconnect."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._ended = asyncio.Event()

    async def receive(self) -> Message:
        message = await self._receive()
        if not message.get("more_body", False):
            self._ended.set()
        return message

    def skip(self) -> None:
        """Note that the request has no body to wait for."""
        self._ended.set()

    async def after(self) -> Message:
        await self._ended.wait()
        return await self._receive()

    async def head(self, limit: int, boundary: bytes) -> tuple[bytes, str | None]:
        """Read a form until its field ``model``, its end or ``limit``; return the bytes and the field's value."""
        head = b""
        looked = 0
        while True:
            ended = self._ended.is_set() or len(head) >= limit
            if ended or len(head) >= 2 * looked:  # not after each piece: a form may arrive byte by byte
                looked = max(len(head), 1)
                model = form_model(head, boundary)
                if ended or model is not None:
                    return head, model
            message = await self.receive()
            if message["type"] == "http.disconnect":
                raise asgi.ClientGone
            head += message.get("body", b"")

    async def pieces(self, head: bytes, *, most_models: int | None = None) -> AsyncIterator[bytes]:
        """Yield the whole body: what was read already, and the rest as it comes.

        A form with more than ``most_models`` fields ``model`` raises BadRequest: its route was chosen by the first
        one, and the upstream could read the last.
        """
        tail = b""
        found = 0
        async for piece in self._all(head):
            if most_models is not None:
                found += sum(match.end() > len(tail) for match in _MODEL_FIELD.finditer(tail + piece))
                if found > most_models:
                    raise BadRequest(
                        f"the form must have one field `model`, within its first {_FORM_HEAD} bytes",
                        param="model",
                    )
                tail = (tail + piece)[-_LONGEST_FIELD:]
            yield piece

    async def _all(self, head: bytes) -> AsyncIterator[bytes]:
        if head:
            yield head
        if not self._ended.is_set():
            async for piece in asgi.body_pieces(self.receive):
                yield piece


def _named_model(body: bytes) -> str | None:
    """Return the field ``model`` of a JSON body; raises BadRequest."""
    try:
        named = msgspec.json.decode(body, type=_Model).model
        _check_one_model(body)
        if len(memoryview(named)) > _LONGEST_NAME:
            raise BadRequest(f"model: a name of over {_LONGEST_NAME} bytes", param="model")
        return msgspec.json.decode(named, type=str | None)
    except UNREADABLE as exc:
        raise BadRequest(f"the body is not JSON with a model's name: {exc}") from exc


def _check_one_model(body: bytes) -> None:
    """Raise BadRequest where an upstream could read another model: the key given twice, or in another case."""
    if _MODEL_KEY.findall(body) in ([], [b'"model"']) and _ESCAPED_LETTER.search(body) is None:
        return
    names = json.loads(body, object_pairs_hook=_names, parse_int=str, parse_float=str)
    if [name for name in names if name.lower() == "model"] not in ([], ["model"]):
        raise BadRequest("the body must have one key `model`, in lower case", param="model")


def _names(pairs: list[tuple[str, object]]) -> list[str]:
    return [name for name, _ in pairs]


def form_model(head: bytes, boundary: bytes) -> str | None:
    """Return the value of the field ``model`` in a form's first bytes, or None if it is not complete."""
    parts = (b"\r\n" + head).split(b"\r\n--" + boundary)
    for part in parts[1:-1]:  # the last part is incomplete, or the end of the form
        fields, _, value = part.partition(b"\r\n\r\n")
        if len(value) <= _FORM_VALUE and any(map(_names_model, fields.split(b"\r\n"))):
            return value.decode("utf-8", "replace")
    return None


def _names_model(line: bytes) -> bool:
    name, _, value = line.partition(b":")
    if name.strip().lower() != b"content-disposition":
        return False
    return any(parameter.strip() in _NAMED_MODEL for parameter in value.split(b";"))


def _is_text(response: Response) -> bool:
    """Return whether a response's size says how many tokens it has."""
    kind = asgi.header(response.headers, b"content-type") or b""
    return b"json" in kind or kind.startswith(b"text/")


def _length(response: Response) -> Headers:
    """Return the upstream's content-length: with it, one write sends the whole answer."""
    return [header for header in response.headers if header[0] == b"content-length"]


def _through(translator: Translator, push: Push) -> Push:
    """Return a ``Push`` that translates a stream before ``push`` gets it."""

    def translated(data: bytes) -> Wait | None:
        ready = translator.feed(data)
        return push(ready) if ready else None

    return in_pieces(translated)


def raw_path(scope: Scope) -> str:
    """Return the request's path as the client sent it, without the query."""
    path: str = scope["raw_path"].decode("ascii").partition("?")[0]
    return path


def _sent(headers: Headers, *, account: bool) -> list[tuple[bytes, bytes]]:
    """Return the client's headers for an upstream; ``account`` says whether its own key is sent too."""
    kept = [
        (name, value)
        for name, value in headers
        if name in _SENT or name.startswith(_SENT_PREFIX) or (account and name in _ACCOUNT)
    ]
    return [*kept, *trace_context.of(headers)]


def _returned(headers: Headers) -> list[tuple[bytes, bytes]]:
    """Return the upstream's headers for the client."""
    return [
        (name, value) for name, value in headers if name in _RETURNED or name.startswith(_RETURNED_PREFIXES)
    ]
