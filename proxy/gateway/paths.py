"""The paths without a gate that are forwarded to an upstream whose answers some route withholds.

A path is compared with a table after one normalisation, and the normalised path is what the upstream receives.
Every path that is not in the table is refused: it could return an answer that no gate has judged.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from urllib.parse import quote, unquote

from proxy.exceptions import BadRequest, Forbidden, HttpError
from proxy.upstreams.origin import Origin

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from proxy.config import Config, Upstream

#: Paths whose responses contain no answer of a gated model, with their methods; `*` matches one segment.
PASSED: Final[Mapping[str, tuple[str, ...]]] = {
    "/models": ("GET",),
    "/models/*": ("GET",),
    "/models/*/*": ("GET",),  # the names of Hugging Face have an owner
    "/embeddings": ("POST",),
    "/rerank": ("POST",),
    "/reranking": ("POST",),
    "/audio/speech": ("POST",),
    "/audio/transcriptions": ("POST",),
    "/audio/translations": ("POST",),
    "/images/generations": ("POST",),
    "/images/edits": ("POST",),
    "/images/variations": ("POST",),
    "/moderations": ("POST",),
    "/messages/count_tokens": ("POST",),
    "/responses/input_tokens": ("POST",),
    "/chat/completions/input_tokens": ("POST",),
}
#: Paths whose responses may contain answers, forwarded with ``batches: allow``.
BATCHES: Final[Mapping[str, tuple[str, ...]]] = {
    "/batches": ("GET", "POST"),
    "/batches/*": ("GET",),
    "/batches/*/cancel": ("POST",),
    "/messages/batches": ("GET", "POST"),
    "/messages/batches/*": ("GET", "DELETE"),
    "/messages/batches/*/cancel": ("POST",),
    "/messages/batches/*/results": ("GET",),
    "/files": ("GET", "POST"),
    "/files/*": ("GET", "DELETE"),
    "/files/*/content": ("GET",),
    "/uploads": ("POST",),
    "/uploads/*/parts": ("POST",),
    "/uploads/*/complete": ("POST",),
    "/uploads/*/cancel": ("POST",),
}
#: First segments that belong to an API; without ``/v1`` as with a client's base URL that lacks it.
_BARE: Final = frozenset(
    (
        "v1", "embeddings", "audio", "images", "files", "moderations", "batches", "uploads", "fine_tuning",
        "vector_stores", "videos", "rerank", "completions", "responses", "messages", "conversations",
    )
)  # fmt: skip
#: Media types of request bodies whose model the proxy can read.
MEDIA_TYPES: Final = ("application/json", "multipart/form-data")

#: Rounds of decoding after which a path is refused; honest clients encode once.
_MOST_DECODINGS: Final = 8
#: Characters of a segment that every server reads in the same way.
_SEGMENT: Final = re.compile(r"[A-Za-z0-9_.:~@+=,-]+")


def segments(raw_path: str) -> list[str]:
    """Return a path's segments as the most lenient server would read them, in the client's case.

    Percent encoding is decoded until it is stable; ``;parameters``, doubled slashes, backslashes, and dots and
    spaces at the end of a segment are removed. Raises BadRequest for a path with dot segments: the upstream's key
    would give access to paths outside the base URL.
    """
    found = []
    for given in _decoded(raw_path).replace("\\", "/").split("/"):
        segment = given.partition(";")[0].strip()
        if segment and not segment.strip(". \t"):
            raise BadRequest(
                "the path has a segment of dots; send the path without `.` and `..`", code="invalid_path"
            )
        if segment:
            found.append(segment.rstrip(". \t"))
    return found


def is_api(raw_path: str) -> bool:
    """Return whether a path belongs to a model server's API; raises BadRequest as ``segments`` does."""
    found = segments(raw_path)
    return bool(found) and found[0].lower() in _BARE


def _below_version(raw_path: str) -> list[str]:
    """Return the segments without ``v1``, which the base URL has."""
    found = segments(raw_path)
    return found[1:] if found[:1] and found[0].lower() == "v1" else found


def _decoded(path: str) -> str:
    for _ in range(_MOST_DECODINGS):
        decoded = unquote(path, errors="replace")
        if decoded == path:
            if any(sign < " " or sign == "\x7f" for sign in path):
                raise BadRequest("the path contains a control character", code="invalid_path")
            return path
        path = decoded
    raise BadRequest("the path is percent-encoded too often", code="invalid_path")


@dataclass(frozen=True, slots=True)
class _Rule:
    """The settings of one upstream whose answers a route withholds."""

    route: str
    upstream: str
    batches: bool
    passed: tuple[str, ...]


#: The server behind an upstream whose address comes from the environment.
_UNKNOWN: Final = object()


class UngatedPaths:
    """The paths without a gate that each upstream of a configuration may receive."""

    def __init__(self, config: Config) -> None:
        self._rules = dict(_rules(config))

    def target(self, upstream: str, method: str, raw_path: str) -> str | None:
        """Return the path that the upstream receives in place of the client's; None: the client's own.

        Raises BadRequest for a path that could leave the base URL, Forbidden for a path that the upstream may not
        receive, and HttpError (405) for another method.
        """
        given = _below_version(raw_path)
        rule = self._rules.get(upstream)
        if rule is None:
            return None
        if not given or not all(map(_SEGMENT.fullmatch, given)):
            raise _forbidden(method, given, rule)
        opened = _find(given, rule.passed)
        if opened is not None:
            return _written(opened, given)
        pattern = _find(given, PASSED) or (_find(given, BATCHES) if rule.batches else None)
        if pattern is None:
            raise _forbidden(method, given, rule)
        methods = PASSED.get(pattern) or BATCHES[pattern]
        allowed = (*methods, "HEAD") if "GET" in methods else methods
        if method not in allowed:
            raise HttpError(
                f"{method} is not passed through on {pattern}; use {' or '.join(allowed)}",
                status=405,
                type="invalid_request_error",
                code="method_not_allowed",
            )
        return _written(pattern, given)

    def check_media_type(self, upstream: str, raw_path: str, content_type: bytes, *, empty: bool) -> None:
        """Raise HttpError (415) where the model of a request's body cannot be read, and the upstream is guarded."""
        rule = self._rules.get(upstream)
        if rule is None or _find(_below_version(raw_path), rule.passed) is not None:
            return
        given = content_type.partition(b";")[0].strip().lower().decode("latin-1")
        if given in MEDIA_TYPES or (empty and not given):
            return
        raise HttpError(
            f"content-type: send {' or '.join(MEDIA_TYPES)}; other bodies are not passed through to this upstream",
            status=415,
            type="invalid_request_error",
            code="media_type",
        )


def _forbidden(method: str, given: Sequence[str], rule: _Rule) -> Forbidden:
    place = f"upstreams.{rule.upstream}"
    path = "/" + "/".join(given)
    opens = (
        f"{place}.batches: allow opens batches and files"
        if _find(given, BATCHES) is not None
        else f"{place}.pass: [{path}] opens it"
    )
    return Forbidden(
        f"{method} {path} is not passed through: it could return answers that no gate has judged, and the route "
        f"`{rule.route}` withholds answers of this upstream; {opens}",
        code="ungated_path",
    )


def _find(given: Sequence[str], patterns: Iterable[str]) -> str | None:
    """Return the pattern that matches segment by segment, in any case."""
    return next((each for each in patterns if _matches(given, each[1:].split("/"))), None)


def _matches(given: Sequence[str], pattern: Sequence[str]) -> bool:
    return len(given) == len(pattern) and all(
        wanted in ("*", segment) or wanted.lower() == segment.lower()
        for segment, wanted in zip(given, pattern, strict=True)
    )


def _written(pattern: str, given: Sequence[str]) -> str:
    """Return the path that was checked: the pattern, with the client's segments for its stars."""
    wanted = pattern[1:].split("/")
    return "".join(
        f"/{quote(segment) if each == '*' else each}" for each, segment in zip(wanted, given, strict=True)
    )


def _rules(config: Config) -> Iterable[tuple[str, _Rule]]:
    """Yield the rule of each upstream that reaches a server on which some route enforces."""
    enforcing: dict[object, str] = {}
    for route in config.routes:
        if route.mode == "enforce":
            for server in _servers(route.upstream, config.upstreams):
                enforcing.setdefault(server, route.name)
    for name, upstream in config.upstreams.items():
        by = [found for each in _servers(name, config.upstreams) if (found := _enforcing(each, enforcing))]
        if by:
            # A pool passes ungated requests to its first member.
            first = next(iter(upstream.of)) if upstream.of else name
            settings = config.upstreams[first]
            yield name, _Rule(by[0], first, settings.batches == "allow", settings.pass_)


def _enforcing(server: object, enforcing: Mapping[object, str]) -> str | None:
    """Return a route that enforces on a server; a server of unknown address may be any of them."""
    if server is _UNKNOWN:
        return next(iter(enforcing.values()), None)
    return enforcing.get(server, enforcing.get(_UNKNOWN))


def _servers(name: str, upstreams: Mapping[str, Upstream]) -> list[object]:
    """Return what identifies the servers behind an upstream: two upstreams with one address are one server."""
    upstream = upstreams[name]
    if upstream.of is not None:
        return [server for member in upstream.of for server in _servers(member, upstreams)]
    if upstream.base_url_env is not None:
        return [_UNKNOWN]
    if upstream.base_url is None:
        return [name]
    origin = Origin.parse(upstream.base_url)
    return [(origin.host, origin.port)]
