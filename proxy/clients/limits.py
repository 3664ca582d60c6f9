"""What one key may use: requests and tokens a minute, and a share of the requests under way.

A minute slides: what counts is the last 60 seconds, kept in the store, so that it holds over replicas. The store
may not delay a request: where it has not answered in a few milliseconds, or is down, each process counts by
itself until it is back. Each process's own count goes by a clock that nobody sets: where the clock of the machine
is set forward, the store forgets what it knows, and no process lets through more than the limit all the same.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from time import monotonic, time
from typing import TYPE_CHECKING, Final

from proxy.exceptions import HttpError, Overloaded
from proxy.storage.window import Window

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from proxy.clients.authentication import Caller
    from proxy.storage.link import StoreLink

#: A few round trips to a store nearby; a request does not wait longer for leave.
_WAIT_S: Final = 0.005
#: Of all requests under way that one key of several may have: the rest stays free for the others.
_SHARE: Final = 0.75


class LimitReached(HttpError):
    """The key's own limit, not the upstream's."""

    status = 429
    type = "rate_limit_error"


class Limits:
    """Of all keys; ``link`` is the store, None where each process counts by itself."""

    def __init__(
        self,
        link: StoreLink | None,
        max_in_flight: int,
        *,
        several: bool,
        max_connections: Mapping[str, int] | None = None,
        clock: Callable[[], float] = time,
        steady: Callable[[], float] | None = None,
    ) -> None:
        self._link = link
        self.bound(max_in_flight, several=several, max_connections=max_connections)
        self._clock = clock
        self._steady = _from(clock()) if steady is None else steady
        self._own: dict[str, Window] = {}
        self._asked: set[asyncio.Future[float | None]] = set()
        #: Those that nobody waits for any more: while there is one, the store is left alone. Each further question
        #: would only delay its request, and hold a connection, until a store that hangs is given up.
        self._overdue: set[asyncio.Future[float | None]] = set()
        #: Accounts that the store says are spent, and at what limit; by this process's own clock, until when. Nobody
        #: needs to ask before: what others use meanwhile makes it later, never sooner.
        self._spent: dict[tuple[str, int], float] = {}
        #: What was spent meanwhile, by account: told to the store as soon as it answers.
        self._owed: dict[str, int] = {}
        #: How many requests are under way, of all keys and of each.
        self.open = 0
        self._under_way: dict[str | None, int] = {}
        self._by_upstream: Counter[tuple[str | None, str]] = Counter()

    def bound(
        self, max_in_flight: int, *, several: bool, max_connections: Mapping[str, int] | None = None
    ) -> None:
        """Hold from now on to so many; what is under way already stays, and counts."""
        self._most = max_in_flight
        self._shares = {
            name: max(1, int(most * _SHARE)) for name, most in (max_connections or {}).items() if several
        }
        self._share = max(1, int(max_in_flight * _SHARE)) if several else max_in_flight

    def upstream_share(self, caller: Caller, upstream: str, connections: int = 1) -> UpstreamShare:
        """Return a context manager that counts the connections of one request; entering raises Overloaded.

        One key of several may have a part of an upstream's ``max_connections`` only.
        """
        return UpstreamShare(
            self._by_upstream, caller.name, upstream, self._shares.get(upstream), connections
        )

    def under_way(self, caller: Caller) -> UnderWay:
        """Counts a request of this caller while the body of ``with`` runs."""
        return UnderWay(self, caller.name)

    def enter(self, name: str | None) -> None:
        """A request of this key begins; raises Overloaded."""
        mine = self._under_way.get(name, 0)
        if self.open >= self._most or mine >= self._share:
            raise Overloaded("too many requests are under way; try again in a moment", retry_after_s=1.0)
        self._under_way[name] = mine + 1
        self.open += 1

    def leave(self, name: str | None) -> None:
        """It has ended."""
        self.open -= 1
        left = self._under_way[name] - 1
        if left:
            self._under_way[name] = left
        else:
            del self._under_way[name]

    async def admit(self, caller: Caller) -> None:
        """Count a request of a limited key; raises LimitReached."""
        until = monotonic() + _WAIT_S  # for both
        if caller.tokens_per_minute is not None:
            await self._spend(caller, "tokens", 0, caller.tokens_per_minute, until)
        if caller.requests_per_minute is not None:
            await self._spend(caller, "requests", 1, caller.requests_per_minute, until)

    async def used(self, caller: Caller, tokens: int) -> None:
        """Count the tokens of a limited key's request, known once it has ended."""
        if caller.tokens_per_minute is not None and tokens:
            await self._counted(f"{caller.name}:tokens", tokens, None, monotonic() + _WAIT_S)

    async def _spend(self, caller: Caller, what: str, amount: int, most: int, until: float) -> None:
        wait_s = await self._counted(f"{caller.name}:{what}", amount, most, until)
        if wait_s is not None:
            raise LimitReached(
                f"this key may use {most:,} {what} a minute; try again in {wait_s:.0f} s",
                code="rate_limit_exceeded",
                retry_after_s=max(wait_s, 1.0),
            )

    async def _counted(self, account: str, amount: int, most: int | None, until: float) -> float | None:
        now, clock = self._steady(), self._clock()
        own = self._own.setdefault(account, Window())
        if self._link is None:
            return own.spend(amount, most, now)
        spent_s = own.spend(0, most, now)
        if spent_s is not None:
            return spent_s  # by this process alone
        if most is not None and (until_s := self._spent.get((account, most), now)) > now:
            return until_s - now
        if self._overdue:
            refused_s = own.spend(amount, most, now)
            if refused_s is None and amount:
                self._owed[account] = self._owed.get(account, 0) + amount
            return refused_s
        asked = self._ask(self._link, account, amount, most, clock)
        if most is not None:
            asked.add_done_callback(lambda each: self._refused(each, (account, most), now))
        # Who asked leaves it to itself when it takes too long: what was spent is counted all the same.
        await asyncio.wait((asked,), timeout=max(0.0, until - monotonic()))
        if not asked.done():
            self._overdue.add(asked)
            return own.spend(amount, most, now)
        if asked.exception() is not None:
            return own.spend(amount, most, now)
        wait_s = asked.result()
        if wait_s is None:
            own.spend(amount, None, now)  # should the store fail next, what was used is known here
        return wait_s

    def _ask(
        self, link: StoreLink, account: str, amount: int, most: int | None, now: float
    ) -> asyncio.Future[float | None]:
        asked = asyncio.ensure_future(link.do("limit", lambda store: store.spend(account, amount, most, now)))
        self._asked.add(asked)
        asked.add_done_callback(self._answered)
        return asked

    def _refused(self, asked: asyncio.Future[float | None], limit: tuple[str, int], now: float) -> None:
        """Remember a refusal, also one that came too late for its own request."""
        if not asked.cancelled() and asked.exception() is None:
            wait_s = asked.result()
            if wait_s is None:
                self._spent.pop(limit, None)
            else:
                self._spent[limit] = now + wait_s

    def _answered(self, asked: asyncio.Future[float | None]) -> None:
        self._asked.discard(asked)
        self._overdue.discard(asked)
        # The link has counted a failure; what is owed to a store that fails is forgotten, as what it refused is.
        well = not asked.cancelled() and asked.exception() is None
        if self._overdue or not self._owed:
            return
        owed, self._owed = self._owed, {}
        if well and self._link is not None:
            for account, amount in owed.items():
                self._ask(self._link, account, amount, None, self._clock())


def _from(now: float) -> Callable[[], float]:
    """A clock that begins at ``now``, in step with the store's seconds, and is set by nobody."""
    began = now - monotonic()
    return lambda: began + monotonic()


class UpstreamShare:
    """The connections to one upstream that one request of a key may use at the same time."""

    __slots__ = ("_account", "_connections", "_most", "_open")

    def __init__(
        self,
        counted: Counter[tuple[str | None, str]],
        name: str | None,
        upstream: str,
        most: int | None,
        connections: int,
    ) -> None:
        self._open = counted
        self._account = (name, upstream)
        self._most = most
        self._connections = connections

    def __enter__(self) -> None:
        if self._most is None:
            return
        mine = self._open[self._account]
        if mine and mine + self._connections > self._most:
            raise Overloaded(
                "this key uses its share of the upstream's connections; try again in a moment",
                retry_after_s=1.0,
            )
        self._open[self._account] += self._connections

    def __exit__(self, *_: object) -> None:
        if self._most is None:
            return
        self._open[self._account] -= self._connections
        if not self._open[self._account]:
            del self._open[self._account]


class UnderWay:
    """One request, counted. A class, since a generator's context manager costs twice as much."""

    __slots__ = ("_limits", "_name")

    def __init__(self, limits: Limits, name: str | None) -> None:
        self._limits = limits
        self._name = name

    def __enter__(self) -> None:
        self._limits.enter(self._name)

    def __exit__(self, *_: object) -> None:
        self._limits.leave(self._name)
