"""The request parameters and formats that each model of an upstream accepts, learnt from proof.

A client's request can make an upstream refuse anything, so a refusal proves nothing about other requests. Where a retry
without an ability succeeds, the ability is suspected to be missing. The proxy then sends two probes, of the
same kind of request, with and without the ability. Only if the upstream refuses the first and accepts the second, the
ability counts as missing for other requests, and for ten minutes at a time: then a further probe looks whether it has
come back.

Under ``auth: forward`` the proxy has no key for probes. What a retry proved is then remembered for the credential of
that request alone, as a keyed hash, and expires.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import logging
import secrets
from dataclasses import dataclass
from time import monotonic
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple, get_args

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from proxy.exceptions import UpstreamStatus
    from proxy.metrics import UpstreamMetrics
    from proxy.surfaces.contract import Ask, Request, Surface

logger = logging.getLogger("idk")

#: Parameters that the proxy adds to requests, and the wire formats that can be translated to chat completions.
Ability = Literal["logprobs", "top_logprobs", "n", "seed", "completions", "responses", "messages"]
ABILITIES: Final[tuple[Ability, ...]] = get_args(Ability)
#: The wire formats that can be translated to chat completions, as abilities of an upstream.
TRANSLATED: Final[Mapping[str, Ability]] = {
    "completions": "completions",
    "responses": "responses",
    "messages": "messages",
}
#: Seconds for which a result of a probe, or a proof for one credential, is used.
REMEMBER_S: Final = 600.0
#: Seconds until the next probe after one that was inconclusive or found the ability.
PAUSE_S: Final = 60.0
#: Clients choose the names of models and their credentials, so the number of entries is limited.
_MAX_ENTRIES: Final = 1_024
#: Probes in flight for one upstream.
_MAX_PROBES: Final = 4
#: Statuses with which servers refuse a parameter or a path.
_REFUSALS: Final = frozenset({400, 403, 404, 405, 422, 501})
#: Request fields that ask for reasoning, in the formats' various spellings.
_REASONING: Final = ("reasoning_effort", "reasoning", "thinking")


def is_refusal(exc: UpstreamStatus) -> bool:
    """Return whether the upstream refused the request, possibly because of a parameter or the path."""
    return exc.http_status in _REFUSALS


class Kind(NamedTuple):
    """The properties of a request on which an upstream's abilities depend."""

    surface: str
    #: The upstream's path, which differs from the surface's where requests are translated.
    path: str
    stream: bool = False
    tools: bool = False
    json_answer: bool = False
    reasoning: bool = False


def kind_of(surface: Surface, request: Request, *, stream: bool | None = None) -> Kind:
    """Return the kind of ``request``; ``stream`` replaces its own value, for samples, which are never streamed."""
    return Kind(
        surface.name,
        surface.path,
        request.stream if stream is None else stream,
        request.tools,
        request.json_answer,
        any(name in request.fields for name in _REASONING),
    )


@dataclass(frozen=True, slots=True)
class Suspicion:
    """A refused request whose retry without an ability succeeded.

    ``refused`` and ``accepted`` say what the two requests asked for; ``fallback`` is the surface of the retry where
    the ability is a wire format.
    """

    surface: Surface
    model: str
    kind: Kind
    ability: Ability
    refused: Ask
    accepted: Ask
    fallback: Surface | None = None

    @property
    def key(self) -> _Key:
        """What the suspicion is about."""
        return (self.model, self.kind, self.ability)


_Key = tuple[str, Kind, Ability]


@dataclass(slots=True)
class _Missing:
    suspicion: Suspicion
    until: float


class Abilities:
    """The abilities of one upstream; unknown models and kinds of requests have all of them."""

    def __init__(
        self,
        name: str,
        metrics: UpstreamMetrics,
        *,
        probe: Callable[[Suspicion], Awaitable[bool | None]] | None,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        """Create the table; without ``probe``, proofs hold for the credential of their request alone."""
        self._name = name
        self._metrics = metrics
        self._probe = probe
        self._clock = clock
        self._missing: dict[_Key, _Missing] = {}
        self._proved: dict[tuple[bytes, _Key], float] = {}
        self._quiet: dict[_Key, float] = {}
        self._probes: dict[_Key, asyncio.Task[None]] = {}
        self._secret = secrets.token_bytes(32)
        for ability in ABILITIES:
            metrics.ability(ability, has=True)

    @property
    def complete(self) -> bool:
        """Whether nothing is known to be missing, so that ``accepts`` need not be asked."""
        return not self._missing and not self._proved

    def accepts(self, model: str, kind: Kind, ability: Ability, credentials: bytes | None) -> bool:
        """Return whether a request of this kind may use ``ability``; starts a probe where the last one is old."""
        if self.complete:
            return True
        key = (model, kind, ability)
        if (missing := self._missing.get(key)) is not None:
            if missing.until <= self._clock():
                self._start(missing.suspicion)
            return False
        return credentials is None or not self._is_proved(credentials, key)

    def lacks(self, model: str, kind: Kind, ability: Ability) -> bool:
        """Return whether a probe confirmed that ``ability`` is missing."""
        return (model, kind, ability) in self._missing

    def suspect(self, suspicion: Suspicion, credentials: bytes | None) -> asyncio.Future[Any] | None:
        """Take note of a successful retry; return the end of the probe that looks into it, None without a probe."""
        if self._probe is None:
            if credentials is not None:
                self._prove(credentials, suspicion.key)
            return None
        if suspicion.key in self._missing or self._quiet.get(suspicion.key, 0.0) > self._clock():
            return None
        return self._start(suspicion)

    async def aclose(self) -> None:
        """Cancel the probes in flight."""
        probes = list(self._probes.values())
        for each in probes:
            each.cancel()
        if probes:
            await asyncio.wait(probes)

    def _start(self, suspicion: Suspicion) -> asyncio.Task[None] | None:
        found = self._probes.get(suspicion.key)
        if found is None and len(self._probes) < _MAX_PROBES:
            found = asyncio.get_running_loop().create_task(self._look(suspicion))
            self._probes[suspicion.key] = found
        return found

    async def _look(self, suspicion: Suspicion) -> None:
        key = suspicion.key
        try:
            has = None if self._probe is None else await self._probe(suspicion)
        finally:
            del self._probes[key]
        now = self._clock()
        if has is False:
            self._set_missing(suspicion, now + REMEMBER_S)
            return
        self._quiet[key] = now + PAUSE_S
        _bound(self._quiet)
        if has:
            self._set_present(suspicion)
        elif (missing := self._missing.get(key)) is not None:
            missing.until = now + PAUSE_S

    def _set_missing(self, suspicion: Suspicion, until: float) -> None:
        known = self._missing.pop(suspicion.key, None)
        self._missing[suspicion.key] = _Missing(suspicion, until)
        _bound(self._missing)
        if known is None:
            self._log("a probe confirmed that it does not accept", suspicion)

    def _set_present(self, suspicion: Suspicion) -> None:
        if self._missing.pop(suspicion.key, None) is not None:
            self._log("a probe found that it accepts again", suspicion)

    def _log(self, what: str, suspicion: Suspicion) -> None:
        ability = suspicion.ability
        kind = ", ".join(name for name, value in suspicion.kind._asdict().items() if value is True) or "plain"
        logger.warning(
            "upstream %s: %s %s (model %r, %s requests to %s)",
            self._name,
            what,
            ability,
            suspicion.model,
            kind,
            suspicion.kind.path,
        )
        self._metrics.ability(ability, has=all(ability != missing for _, _, missing in self._missing))

    def _prove(self, credentials: bytes, key: _Key) -> None:
        entry = (self._hashed(credentials), key)
        self._proved.pop(entry, None)
        self._proved[entry] = self._clock() + REMEMBER_S
        _bound(self._proved)

    def _is_proved(self, credentials: bytes, key: _Key) -> bool:
        if not self._proved:
            return False
        entry = (self._hashed(credentials), key)
        until = self._proved.get(entry)
        if until is not None and until <= self._clock():
            del self._proved[entry]
            until = None
        return until is not None

    def _hashed(self, credentials: bytes) -> bytes:
        """Return a keyed hash, so that credentials are neither kept nor can be tested against the table."""
        return hmac.new(self._secret, credentials, hashlib.sha256).digest()


def _bound(entries: dict[_Key, float] | dict[_Key, _Missing] | dict[tuple[bytes, _Key], float]) -> None:
    while len(entries) > _MAX_ENTRIES:
        del entries[next(iter(entries))]  # type: ignore[arg-type] # the dictionary's own key
