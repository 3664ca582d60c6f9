"""The endpoints under ``/admin``: Starlette routes, since none of them is on the hot path."""

from __future__ import annotations

import functools
from pathlib import Path
from time import time
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec
from starlette.responses import FileResponse, Response
from starlette.routing import BaseRoute, Mount, Route

from proxy.admin import client_keys, policy_changes, request_log, route_figures
from proxy.admin.access import COOKIE, SESSION_S, AdminAccess
from proxy.admin.schema import Apply, GiveLabel, Labelled, LogIn, MakeKey, RollBack
from proxy.clients import keys
from proxy.control.policies import Alarm
from proxy.exceptions import UNREADABLE, BadRequest, HttpError, NotFound, Overloaded, StoreError, StoreRefused
from proxy.offline.labelling import block
from proxy.offline.stylesheet import STYLESHEET
from proxy.server import asgi
from proxy.server.errors import error_body
from proxy.storage import Label

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from starlette.requests import Request

    from proxy.config import Config
    from proxy.metrics import Metrics
    from proxy.requests.route import Route as GatedRoute
    from proxy.requests.route import RouteTable
    from proxy.storage.link import StoreLink

    Handler = Callable[[Request], Awaitable[Response]]

PAGE = Path(__file__).parent / "page"
#: The page's files and their media types, by path under ``/admin/``.
FILES: Mapping[str, str] = {
    "admin.css": "text/css",
    "shared.css": "text/css",
    "admin.js": "text/javascript",
    "api.js": "text/javascript",
    "charts.js": "text/javascript",
    "icon.svg": "image/svg+xml",
    "keys.js": "text/javascript",
    "log.js": "text/javascript",
    "vendor/uplot-1.6.32.esm.js": "text/javascript",
    "vendor/uplot-1.6.32.min.css": "text/css",
    "vendor/uplot-LICENSE.txt": "text/plain",
}
#: Headers of every response: the page runs only its own files and connects only to this server.
HEADERS = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}
MAX_BYTES = 10_000
#: Questions that are shown on each side of the threshold.
NEIGHBOURS = 5

Asked = TypeVar("Asked")


def admin_routes(
    config: Config, routes: RouteTable, metrics: Metrics, link: StoreLink | None, access: AdminAccess
) -> list[BaseRoute]:
    """Return the routes of the page and its API; without a store (``link`` None) the API answers 404."""
    api = _Handlers(config, routes, metrics, link, access)
    file = functools.partial(_answer, _file(access))
    paths: list[BaseRoute] = [
        Route(path, functools.partial(_answer, handler), methods=[method])
        for method, path, handler in (
            ("GET", "/api/session", api.session),
            ("POST", "/api/session", api.log_in),
            ("DELETE", "/api/session", api.log_out),
            ("GET", "/api/routes", api.routes),
            ("GET", "/api/routes/{name}", api.figures),
            ("GET", "/api/routes/{name}/near", api.near),
            ("GET", "/api/routes/{name}/log", api.log),
            ("GET", "/api/routes/{name}/queue", api.queue),
            ("POST", "/api/routes/{name}/labels", api.label),
            ("POST", "/api/routes/{name}/threshold", api.apply),
            ("POST", "/api/routes/{name}/rollback", api.roll_back),
            ("GET", "/api/keys", api.keys),
            ("POST", "/api/keys", api.make_key),
            ("DELETE", "/api/keys/{name}", api.revoke_key),
        )
    ]
    return [Route("/admin", file), Mount("/admin", routes=[*paths, Route("/{path:path}", file)])]


async def _answer(handler: Handler, request: Request) -> Response:
    """Return the handler's response, or its error in OpenAI's format, with the page's headers."""
    try:
        response = await handler(request)
    except StoreRefused as exc:
        response = _error(HttpError(str(exc), status=409, type="invalid_request_error"))
    except StoreError as exc:
        response = _error(Overloaded(f"the store does not answer: {exc}"))
    except HttpError as exc:
        response = _error(exc)
    response.headers.update(HEADERS | {"x-request-id": asgi.request_id().decode()})
    return response


def _error(exc: HttpError) -> Response:
    headers = {name.decode(): value.decode() for name, value in asgi.retry_after(exc)}
    return Response(
        error_body(exc), exc.http_status, {**headers, "cache-control": "no-store"}, "application/json"
    )


def _file(access: AdminAccess) -> Handler:
    async def serve(request: Request) -> Response:
        access.require_key()
        name = request.path_params.get("path", "")
        if name == "":
            return FileResponse(PAGE / "index.html", headers={"cache-control": "no-cache"})
        if name not in FILES:
            raise NotFound("the admin page has no such file")
        path = STYLESHEET if name == STYLESHEET.name else PAGE / name
        return FileResponse(path, media_type=FILES[name], headers={"cache-control": "no-cache"})

    return serve


class _Handlers:
    """The handlers of the API; each but those of the session requires the admin key or a session."""

    def __init__(
        self,
        config: Config,
        routes: RouteTable,
        metrics: Metrics,
        link: StoreLink | None,
        access: AdminAccess,
    ) -> None:
        self._config = config
        self._routes = routes
        self._metrics = metrics
        self._link = link
        self._access = access

    # Session

    async def session(self, request: Request) -> Response:
        self._access.require_key()
        return _json({"open": await self._access.has_session(request)})

    async def log_in(self, request: Request) -> Response:
        self._access.require_key()
        asked = await _body(request, LogIn)
        token = await self._access.log_in(asked.key, request)
        response = _json({"ok": True})
        response.set_cookie(
            COOKIE,
            token,
            max_age=SESSION_S,
            path="/admin",
            secure=self._access.is_https(request),
            httponly=True,
            samesite="strict",
        )
        return response

    async def log_out(self, request: Request) -> Response:
        self._access.require_key()
        self._access.require_same_site(request)
        await self._access.log_out(request)
        response = _json({"ok": True})
        response.delete_cookie(COOKIE, path="/admin", httponly=True, samesite="strict")
        return response

    # Reading

    async def routes(self, request: Request) -> Response:
        link, now = await self._authorized(request), time()
        counts = await link.do(
            "admin", lambda store: store.counts(now - route_figures.HOUR_S, route_figures.MINUTE_S)
        )
        risks = {each.route: each for each in await link.do("admin", lambda store: store.risks())}

        def alarmed(route: GatedRoute) -> bool:
            risk = risks.get(route.name)
            return (
                risk is not None
                and risk.policy == route.version
                and Alarm.of(risk).revokes(route.config) is not None
            )

        return _json([route_figures.summary(each, alarmed(each), counts) for each in self._routes.routes])

    async def figures(self, request: Request) -> Response:
        link, route = await self._authorized(request), self._route(request)
        return _json(
            await link.do(
                "admin",
                lambda store: route_figures.figures(store, route, self._routes.routes, self._metrics, time()),
                timeout_s=10.0,
            )
        )

    async def near(self, request: Request) -> Response:
        """Return the questions nearest to ``?confidence=``, on either side."""
        link, route = await self._authorized(request), self._route(request)
        try:
            confidence = float(request.query_params["confidence"])
        except (KeyError, ValueError) as exc:
            raise BadRequest("confidence: give a number in [0, 1]", param="confidence") from exc
        if not 0.0 <= confidence <= 1.0:
            raise BadRequest("confidence: give a number in [0, 1]", param="confidence")
        found = await link.do("admin", lambda store: store.nearest(route.name, confidence, NEIGHBOURS))
        return _json([route_figures.item_of(each) for each in found])

    async def log(self, request: Request) -> Response:
        """Return a page of the request log; see ``request_log.entries``."""
        link, route = await self._authorized(request), self._route(request)
        parameters = dict(request.query_params)
        return _json(await link.do("admin", lambda store: request_log.entries(store, route.name, parameters)))

    async def queue(self, request: Request) -> Response:
        """Return the next block of answers to label after the place ``?after=``, and the place of its last item."""
        link, route = await self._authorized(request), self._route(request)
        text = request.query_params.get("after", "0")
        if not text.isdecimal() or len(text) > 15:
            raise BadRequest("after: give the number that came with the last block", param="after")
        limit = None if route.gate is None else route.gate.limit
        found = await link.do("admin", lambda store: block(store, route.name, limit, after=int(text)))
        items = [route_figures.item_of(each.decision, each) for each in found]
        return _json({"items": items, "after": max((each.place for each in found), default=int(text))})

    # Changes

    async def label(self, request: Request) -> Response:
        """Store a person's label of an item of the audit sample, or remove it."""
        link, route = await self._authorized(request), self._route(request)
        asked = await _body(request, GiveLabel)
        item = await link.do("admin", lambda store: store.audit_item(asked.id, asked.choice))
        if item is None or item.decision.route != route.name:
            raise NotFound("that answer is not in the route's audit sample", param="id")
        given = asked.label
        if given is None:
            changed = await link.do(
                "admin", lambda store: store.remove_label(asked.id, asked.choice, "audit")
            )
        else:
            kept = Label(
                id=asked.id, choice=asked.choice, label=given, source="audit", at=time(), who=asked.who
            )
            changed = await link.do("admin", lambda store: store.add_label(kept))
        return _json(Labelled(changed=changed))

    async def apply(self, request: Request) -> Response:
        link, route = await self._authorized(request), self._route(request)
        asked = await _body(request, Apply)
        return _json(await link.do("admin", lambda store: policy_changes.apply(store, route, asked, time())))

    async def roll_back(self, request: Request) -> Response:
        link, route = await self._authorized(request), self._route(request)
        asked = await _body(request, RollBack)
        return _json(
            await link.do("admin", lambda store: policy_changes.roll_back(store, route, asked, time()))
        )

    # Client keys

    async def keys(self, request: Request) -> Response:
        link = await self._authorized(request)
        return _json(await link.do("admin", lambda store: client_keys.listed(store, self._config)))

    async def make_key(self, request: Request) -> Response:
        link = await self._authorized(request)
        asked = await _body(request, MakeKey)
        names = [route.name for route in self._routes.routes]
        return _json(
            await link.do("admin", lambda store: client_keys.make(store, self._config, names, asked, time()))
        )

    async def revoke_key(self, request: Request) -> Response:
        link, name = await self._authorized(request), request.path_params["name"]
        await link.do("admin", lambda store: keys.revoke(store, name, time()))
        return _json({"name": name, "revoked": True})

    async def _authorized(self, request: Request) -> StoreLink:
        await self._access.authorize(request)
        if self._link is None:
            raise NotFound("this proxy has no store")
        return self._link

    def _route(self, request: Request) -> GatedRoute:
        name = request.path_params["name"]
        for route in self._routes.routes:
            if route.name == name:
                return route
        raise NotFound("there is no route of this name", param="name")


async def _body(request: Request, kind: type[Asked]) -> Asked:
    """Decode the JSON body; raises BadRequest.

    Media types that an HTML form of another site could send are refused.
    """
    if request.headers.get("content-type", "").partition(";")[0].strip() != "application/json":
        raise BadRequest("send JSON (content-type: application/json)")
    try:
        body = await asgi.read_body(request.receive, request.scope["headers"], MAX_BYTES)
        return msgspec.json.decode(body, type=kind)
    except UNREADABLE as exc:
        raise BadRequest(f"the body does not fit this endpoint: {exc}") from exc
    except asgi.ClientGone as exc:
        raise BadRequest("the client closed the connection before the body was complete") from exc


def _json(content: Any) -> Response:
    return Response(
        msgspec.json.encode(content), headers={"cache-control": "no-store"}, media_type="application/json"
    )
