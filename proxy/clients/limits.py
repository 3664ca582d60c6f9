"""The limits of a key: requests and tokens a minute, and a share of the requests and connections in use.

The last 60 seconds count. They are kept in the store, so that a limit holds over all replicas. The store must not
delay a request: if it does not answer within a few milliseconds, or is down, each process counts by itself until
the store is back. A process counts by the monotonic clock: if the machine's clock is set forward, the store loses its
counts, but no process exceeds the limit.
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

#: A few round trips to a store nearby; a request does not wait longer.
_WAIT_S: Final = 0.005
#: The share of requests and connections that one key of several may use; the rest stays free for other keys.
_SHARE: Final = 0.75


class LimitReached(HttpError):
    """A limit of the client's key, not of the upstream, was reached."""

    status = 429
    type = "rate_limit_error"


class Limits:
    """The limits of all keys. ``link`` leads to the store; without one, each process counts by itself."""

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
        #: Questions to the store that took too long. While there is one, the store is not asked: another question
        #: would delay its request and hold a connection until the store's timeout.
        self._overdue: set[asyncio.Future[float | None]] = set()
        #: When each account that the store refused, at which limit, may be asked about again, by this process's
        #: clock. What other processes use in the meantime makes that time later, never sooner.
        self._spent: dict[tuple[str, int], float] = {}
        #: What was spent while the store was not asked, by account; written as soon as the store answers.
        self._owed: dict[str, int] = {}
        #: Requests in flight, of all keys and of each key.
        self.open = 0
        self._under_way: dict[str | None, int] = {}
        self._by_upstream: Counter[tuple[str | None, str]] = Counter()

    def bound(
        self, max_in_flight: int, *, several: bool, max_connections: Mapping[str, int] | None = None
    ) -> None:
        """Set the limits. Requests that are in flight continue, and count."""
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
        """Return a context manager that counts a request of this caller; entering raises Overloaded."""
        return UnderWay(self, caller.name)

    def enter(self, name: str | None) -> None:
        """Count a new request of a key; raises Overloaded."""
        mine = self._under_way.get(name, 0)
        if self.open >= self._most or mine >= self._share:
            raise Overloaded("too many requests are in flight; try again in a moment", retry_after_s=1.0)
        self._under_way[name] = mine + 1
        self.open += 1

    def leave(self, name: str | None) -> None:
        """Count the end of a key's request."""
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
            return spent_s  # this process alone has used up the limit
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
        # After the timeout the question is left running: the store still counts what was spent.
        await asyncio.wait((asked,), timeout=max(0.0, until - monotonic()))
        if not asked.done():
            self._overdue.add(asked)
            return own.spend(amount, most, now)
        if asked.exception() is not None:
            return own.spend(amount, most, now)
        wait_s = asked.result()
        if wait_s is None:
            own.spend(amount, None, now)  # counted here too, in case the store fails next
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
        # The link has counted a failure. What is owed to a store that fails is dropped.
        well = not asked.cancelled() and asked.exception() is None
        if self._overdue or not self._owed:
            return
        owed, self._owed = self._owed, {}
        if well and self._link is not None:
            for account, amount in owed.items():
                self._ask(self._link, account, amount, None, self._clock())


def _from(now: float) -> Callable[[], float]:
    """Return a monotonic clock that begins at ``now``, in step with the store's seconds."""
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
    """Counts one request while it runs. (A generator's context manager would cost twice as much.)"""

    __slots__ = ("_limits", "_name")

    def __init__(self, limits: Limits, name: str | None) -> None:
        self._limits = limits
        self._name = name

    def __enter__(self) -> None:
        self._limits.enter(self._name)

    def __exit__(self, *_: object) -> None:
        self._limits.leave(self._name)
