"""Keeps a running application up to date with its file and its store, and the store with what it judges.

A change is built whole beside what is in force and put in its place in one assignment, or refused whole,
logged and counted: then the last good one stays.
"""

from __future__ import annotations

import asyncio
import logging
import signal
import threading
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from time import time
from typing import TYPE_CHECKING, Any

from proxy import config as configuration
from proxy.control.policies import PolicyName, StoreSnapshot, stored_names, take_snapshot
from proxy.exceptions import ConfigError, StoreError
from proxy.storage.link import PAUSE_S

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Mapping
    from pathlib import Path

    from proxy.clients.last_used import Uses
    from proxy.config import Config
    from proxy.control.drift_watch import DriftWatcher
    from proxy.control.recording import Recorder
    from proxy.control.risk_watch import RiskWatcher
    from proxy.metrics import Metrics
    from proxy.requests.route import Route
    from proxy.storage.link import StoreLink

logger = logging.getLogger("idk")

#: How often the files are looked at. A look costs 10 µs; events of the file system do not reach over network
#: mounts, nor through the links by which Kubernetes replaces a ConfigMap.
LOOK_S = 0.25
#: How long one wait for a change in the store is; a store that tells nobody is asked again after it.
FOLLOW_S = 2.0
#: How often drift is looked for, keys' last uses are told, and what is too old is forgotten.
SELDOM_S = 60.0
#: Keys of ``server`` that a running process cannot change.
_FIXED = ("host", "port", "workers", "store", "log", "log_text", "audit_key_env", "drain_s")


@dataclass(frozen=True, slots=True)
class Source:
    """The configuration's file, and what the command line says over its ``server`` section.

    ``seen`` is the stamp of the file that the application was made from: a process that starts later sees by
    it that the file has changed meanwhile.
    """

    path: Path
    given: Mapping[str, Any]
    seen: tuple[object, ...] = ()

    def load(self) -> Config:
        """Read and check it; raises ConfigError."""
        return configuration.with_server(configuration.load(self.path), self.given, str(self.path))

    def stamp(self, config: Config) -> tuple[object, ...]:
        """What differs after the file, or a policy's file that it names, was written or replaced."""
        names = {route.policy for route in config.routes if route.policy is not None}
        policies = sorted(name for name in names if PolicyName.parse(name) is None)
        folder = self.path.resolve().parent
        return tuple(_stamp(path) for path in (self.path, *(folder / name for name in policies)))


def _stamp(path: Path) -> tuple[int, int, int] | None:
    try:
        stat = path.stat()
    except OSError:
        return None
    return stat.st_mtime_ns, stat.st_ino, stat.st_size


class Reloader:
    """Keep the application up to date; ``apply(config, snapshot)`` puts a new state in force or raises ConfigError."""

    def __init__(
        self,
        config: Config,
        snapshot: StoreSnapshot,
        source: Source | None,
        *,
        link: StoreLink,
        recorder: Recorder,
        uses: Uses,
        watch: RiskWatcher,
        drift: DriftWatcher,
        metrics: Metrics,
        routes: Callable[[], Iterable[Route]],
        apply: Callable[[Config, StoreSnapshot], None],
    ) -> None:
        self._config = config
        self._snapshot = snapshot
        self._source = source
        self._link = link
        self._recorder = recorder
        self._uses = uses
        self._watch = watch
        self._drift = drift
        self._routes = routes
        self._metrics = metrics
        self._apply = apply
        self._stamp = () if source is None else source.seen
        self._hung_up = asyncio.Event()
        self._revision = -1
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Take up what has changed since the application was built, and follow every further change."""
        try:
            await self._look_up()
            await self._watch.look(self._routes())
        except StoreError:
            # Nobody knows which certificates it has revoked; all is asked again once it answers.
            self._revision = -1
            self._put(self._config, replace(self._snapshot, reached=False))
        if self._source is not None and self._source.stamp(self._config) != self._stamp:
            await self._reload(self._source)
        work = [self._recorder.run, self._follow_store, self._now_and_then]
        if self._source is not None:
            work.append(partial(self._follow_file, self._source))
            if threading.current_thread() is threading.main_thread():
                asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, self._hung_up.set)
                signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGHUP})  # a worker starts without
        self._tasks = [asyncio.create_task(_always(each)) for each in work]

    async def stop(self) -> None:
        """Write what waits, and let go of the store."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._recorder.finish()
        with suppress(StoreError):
            await self._uses.flush()
        await self._link.aclose()

    # The file

    async def _follow_file(self, source: Source) -> None:
        seen = self._stamp
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(LOOK_S):
                    await self._hung_up.wait()
            now = source.stamp(self._config)
            # A file that is just being written is left until it rests.
            if self._hung_up.is_set() or (now != self._stamp and now == seen):
                self._hung_up.clear()
                now = await self._reload(source)
            seen = now

    async def _reload(self, source: Source) -> tuple[object, ...]:
        """Take up the file as it is now, if it is sound; gives its stamp."""
        before = source.stamp(self._config)
        await self._take_up(source)
        # From now on other policies' files may be looked at; the file itself may have changed again.
        after = source.stamp(self._config)
        self._stamp = after if after[0] == before[0] else before
        return self._stamp

    async def _take_up(self, source: Source) -> None:
        try:
            config = source.load()
            fixed = [
                name for name in _FIXED if getattr(config.server, name) != getattr(self._config.server, name)
            ]
            with configuration.error_prefix(str(source.path)):
                snapshot = await self._snapshot_for(config)
                self._put(config, snapshot)
        except (ConfigError, StoreError) as exc:
            self._metrics.reloads.labels("refused").inc()
            logger.error("%s; the last good configuration stays in force", exc)  # noqa: TRY400 - said whole
            return
        self._revision = -1  # what a route names only now is watched too
        self._metrics.reloads.labels("applied").inc()
        logger.info("%s: in force", source.path)
        for name in fixed:
            logger.warning("server.%s: takes effect when the proxy is started again", name)

    # The store

    async def _snapshot_for(self, config: Config) -> StoreSnapshot:
        """What the store says for a new configuration; the last snapshot is enough where nothing new is named."""
        texts = stored_names(config)
        if texts <= set(self._snapshot.policies):
            return self._snapshot
        return await self._link.do("follow", lambda store: take_snapshot(store, texts))

    async def _look_up(self) -> None:
        revision = await self._link.do("follow", lambda store: store.revision())
        snapshot = await self._link.do(
            "follow", lambda store: take_snapshot(store, stored_names(self._config))
        )
        self._revision = revision
        if snapshot != self._snapshot:
            try:
                self._put(self._config, snapshot)
            except ConfigError as exc:
                self._metrics.reloads.labels("refused").inc()
                logger.error("%s; the last good policy stays in force", exc)  # noqa: TRY400 - said whole
            else:
                logger.info("in force from the store: %s", ", ".join(_labels(snapshot)) or "no policy")

    async def _follow_store(self) -> None:
        while True:
            try:
                now = await self._link.do(
                    "follow", lambda store: store.changed(self._revision, FOLLOW_S), timeout_s=2 * FOLLOW_S
                )
                if now != self._revision:
                    await self._look_up()
                    await self._watch.look(self._routes())
            except StoreError:  # said and counted; what was seen only in part is looked at again
                self._revision = -1
                await asyncio.sleep(PAUSE_S)

    async def _now_and_then(self) -> None:
        while True:
            keep = self._config.server.retention
            before = time() - 86_400 * keep.days
            with suppress(StoreError):
                await self._uses.flush()
                await self._drift.look(self._routes())
                await self._link.do(
                    "retain",
                    lambda store, b=before, n=keep.decisions: store.retain(b, n),  # type: ignore[misc] # bound now
                    timeout_s=SELDOM_S,
                )
            await asyncio.sleep(SELDOM_S)

    def _put(self, config: Config, snapshot: StoreSnapshot) -> None:
        self._apply(config, snapshot)
        self._config, self._snapshot = config, snapshot


async def _always(work: Callable[[], Awaitable[None]]) -> None:
    """Begin again after what nobody foresaw: a proxy that quietly follows nothing any more is worse."""
    while True:
        try:
            await work()
        except Exception:
            logger.exception("the proxy goes on, and this is tried again in a second")
        await asyncio.sleep(PAUSE_S)


def _labels(snapshot: StoreSnapshot) -> list[str]:
    return sorted(stored.label for stored in snapshot.policies.values())
