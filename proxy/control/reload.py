"""Reloading: a running application follows its configuration file and its store, without a restart.

A change is built completely beside the state in force and then replaces it in one assignment. A change that is not
valid is refused as a whole, logged and counted, and the last good state stays in force.
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
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

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

#: Everything that new requests are answered with.
State = TypeVar("State")

#: How often the files' stamps are compared. This costs 10 µs each time. File system events are no replacement: they
#: do not cross network mounts, nor the symbolic links by which Kubernetes replaces a ConfigMap.
POLL_S = 0.25
#: How long one wait for a change in the store takes; a store that cannot notify is asked again after it.
FOLLOW_S = 2.0
#: How often housekeeping runs: drift, last uses of keys, and retention.
HOUSEKEEPING_S = 60.0
#: Keys of ``server`` that a reload applies; any other key takes effect after a restart, and a reload says so.
APPLIED: Final = frozenset(
    {
        "open", "stored_keys", "admin_key_env", "admin_key_file", "trusted_proxies", "retention",
        "max_body_bytes", "max_body_strings",
        "max_answer_bytes", "max_answer_strings", "max_in_flight", "cors_origins", "keepalive_s",
    }
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Source:
    """The configuration file, with the command line's values for its ``server`` section in ``given``.

    ``seen`` is the stamp of the files that the application was built from, so that a worker that starts later
    notices a change in between.
    """

    path: Path
    given: Mapping[str, Any]
    seen: tuple[object, ...] = ()

    def load(self) -> Config:
        """Read and validate the configuration; raises ConfigError."""
        return configuration.with_server(configuration.load(self.path), self.given, str(self.path))

    def stamp(self, config: Config) -> tuple[object, ...]:
        """Return a value that changes whenever a configuration, policy or secret file is written or replaced."""
        names = {route.policy for route in config.routes if route.policy is not None}
        policies = [name for name in names if PolicyName.parse(name) is None]
        folder = configuration.folder_of(self.path)
        others = sorted({*policies, *configuration.secret_files(config)})
        return (self._file_stamps(), *(_stamp(folder / name) for name in others))

    def _file_stamps(self) -> tuple[object, ...]:
        try:
            return tuple((str(path), _stamp(path)) for path in configuration.files_of(self.path))
        except ConfigError:  # the directory is empty or cannot be read
            return ()


def waiting_for_restart(before: Config, after: Config) -> list[str]:
    """Return the keys of ``server`` that differ and that a running process cannot change."""
    return [
        name
        for name in type(after.server).__struct_fields__
        if name not in APPLIED and getattr(before.server, name) != getattr(after.server, name)
    ]


def _stamp(path: Path) -> tuple[int, int, int] | None:
    try:
        stat = path.stat()
    except OSError:
        return None
    return stat.st_mtime_ns, stat.st_ino, stat.st_size


class Reloader(Generic[State]):
    """Applies changes of the configuration file and of the store, and runs the background tasks.

    ``build(config, snapshot)`` makes a new state in a thread, since policies may take a while to load, and raises
    ConfigError; ``apply`` puts it in force.
    """

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
        build: Callable[[Config, StoreSnapshot], State],
        apply: Callable[[State], None],
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
        self._build = build
        self._apply = apply
        #: Held while a change is built and applied: the file and the store must not replace each other's state.
        self._changing = asyncio.Lock()
        self.housekeeping_s = HOUSEKEEPING_S
        self._stamp = () if source is None else source.seen
        self._hung_up = asyncio.Event()
        self._revision = -1
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Apply the changes since the application was built, and start to follow further ones."""
        try:
            await self._read_store()
            await self._watch.look(self._routes())
        except StoreError:
            # Revocations are unknown, so no certificate is shown until the store answers.
            self._revision = -1
            async with self._changing:
                await self._put(self._config, replace(self._snapshot, reached=False))
        if self._source is not None and self._source.stamp(self._config) != self._stamp:
            await self._reload(self._source)
        work = [self._recorder.run, self._follow_store, self._housekeep]
        if self._source is not None:
            work.append(partial(self._follow_file, self._source))
            if threading.current_thread() is threading.main_thread():
                asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, self._hung_up.set)
                signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGHUP})  # workers start with it blocked
        self._tasks = [asyncio.create_task(_always(each)) for each in work]

    async def stop(self) -> None:
        """Stop the background tasks, write the queued records, and close the store."""
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
                async with asyncio.timeout(POLL_S):
                    await self._hung_up.wait()
            now = source.stamp(self._config)
            # A file that is still being written is left alone until two polls see the same stamp.
            if self._hung_up.is_set() or (now != self._stamp and now == seen):
                self._hung_up.clear()
                now = await self._reload(source)
            seen = now

    async def _reload(self, source: Source) -> tuple[object, ...]:
        """Apply the file as it is now, if it is valid; return its stamp."""
        before = source.stamp(self._config)
        async with self._changing:
            await self._apply_file(source)
        # The set of policy files may differ now, and the file itself may have changed again while it was read.
        after = source.stamp(self._config)
        self._stamp = after if after[0] == before[0] else before
        return self._stamp

    async def _apply_file(self, source: Source) -> None:
        try:
            config = await asyncio.to_thread(source.load)
            waiting = waiting_for_restart(self._config, config)
            with configuration.error_prefix(str(source.path)):
                snapshot = await self._snapshot_for(config)
                await self._put(config, snapshot)
        except (ConfigError, StoreError) as exc:
            self._metrics.reloads.labels("refused").inc()
            logger.error("%s; the last good configuration stays in force", exc)  # noqa: TRY400 - the message is complete
            return
        self._revision = -1  # policies that are named only now are read and watched too
        self._metrics.reloads.labels("applied").inc()
        logger.info("%s: in force", source.path)
        for name in waiting:
            logger.warning("server.%s: takes effect after a restart of the proxy", name)

    # The store

    async def _snapshot_for(self, config: Config) -> StoreSnapshot:
        """Return a snapshot for a new configuration; read the store only where a policy is named for the first time."""
        texts = stored_names(config)
        if texts <= set(self._snapshot.policies):
            return self._snapshot
        return await self._link.do("follow", lambda store: take_snapshot(store, texts))

    async def _read_store(self) -> None:
        async with self._changing:
            await self._apply_store()

    async def _apply_store(self) -> None:
        revision = await self._link.do("follow", lambda store: store.revision())
        snapshot = await self._link.do(
            "follow", lambda store: take_snapshot(store, stored_names(self._config))
        )
        self._revision = revision
        if snapshot != self._snapshot:
            try:
                await self._put(self._config, snapshot)
            except ConfigError as exc:
                self._metrics.reloads.labels("refused").inc()
                logger.error("%s; the last good policy stays in force", exc)  # noqa: TRY400 - the message is complete
                # Revocations of keys and certificates apply whatever is wrong with a policy.
                await self._put(self._config, replace(snapshot, policies=self._snapshot.policies))
            else:
                logger.info("in force from the store: %s", ", ".join(_labels(snapshot)) or "no policy")

    async def _follow_store(self) -> None:
        while True:
            try:
                now = await self._link.do(
                    "follow", lambda store: store.changed(self._revision, FOLLOW_S), timeout_s=2 * FOLLOW_S
                )
                if now != self._revision:
                    await self._read_store()
                    await self._watch.look(self._routes())
            except StoreError:  # logged and counted by the link; a partial read is repeated
                self._revision = -1
                await asyncio.sleep(PAUSE_S)

    async def _housekeep(self) -> None:
        while True:
            keep = self._config.server.retention
            before = time() - 86_400 * keep.days
            with suppress(StoreError):
                await self._uses.flush()
                await self._drift.look(self._routes())
                await self._link.do(
                    "retain",
                    lambda store, b=before, n=keep.decisions: store.retain(b, n),  # type: ignore[misc] # bound now
                    timeout_s=HOUSEKEEPING_S,
                )
            await asyncio.sleep(self.housekeeping_s)

    async def _put(self, config: Config, snapshot: StoreSnapshot) -> None:
        self._apply(await asyncio.to_thread(self._build, config, snapshot))
        self._config, self._snapshot = config, snapshot


async def _always(work: Callable[[], Awaitable[None]]) -> None:
    """Run ``work`` again after an unexpected error, so that no defect stops the reloading for good."""
    while True:
        try:
            await work()
        except Exception:
            logger.exception("a background task failed unexpectedly; it is started again in a second")
        await asyncio.sleep(PAUSE_S)


def _labels(snapshot: StoreSnapshot) -> list[str]:
    return sorted(stored.label for stored in snapshot.policies.values())
