"""Construction of the whole application from plain values: container, store and reloader."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from functools import partial
from random import Random
from typing import TYPE_CHECKING

from proxy.app.application import App, Services
from proxy.app.container import Container, build
from proxy.app.validation import validate
from proxy.clients.last_used import Uses
from proxy.control.drift_watch import DriftWatcher
from proxy.control.policies import StoreSnapshot, store_of
from proxy.control.recording import Recorder
from proxy.control.reload import Reloader
from proxy.control.risk_watch import RiskWatcher
from proxy.gateway.tracing import Tracing
from proxy.metrics import Metrics
from proxy.server.bodies import Bodies
from proxy.server.body_thread import BodyThread
from proxy.storage.link import StoreLink

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from proxy.config import Config
    from proxy.control.reload import Source


@dataclass(frozen=True, slots=True)
class AppSettings:
    """The values that an application is made from; they can be pickled for worker processes.

    ``snapshot`` is the store's last known state; ``source`` is the configuration file to follow, if there is one.
    """

    config: Config
    folder: Path
    snapshot: StoreSnapshot = field(default_factory=StoreSnapshot)
    source: Source | None = None


def application(settings: AppSettings, environ: Mapping[str, str], metrics: Metrics | None = None) -> App:
    """Return an application with its store, which reloads its configuration while it runs. Raises ConfigError."""
    metrics = Metrics() if metrics is None else metrics
    config = settings.config
    validate(config, settings.folder, environ)
    link = StoreLink(store_of(config, settings.folder, environ), metrics)
    thread = BodyThread()
    rng = Random()  # noqa: S311 - draws the audit sample, which is no secret
    recorder = Recorder(link, rng, log_text=config.server.log_text, bodies=Bodies(thread))
    uses = Uses(link)
    build_container = partial(
        build,
        folder=settings.folder,
        environ=environ,
        metrics=metrics,
        recorder=recorder,
        tracing=Tracing() if config.server.opentelemetry else None,
    )
    app = App(
        build_container(config, snapshot=settings.snapshot),
        Services(link, recorder, uses, environ, thread, settings.folder),
    )

    def rebuild(config: Config, snapshot: StoreSnapshot) -> Container:
        validate(config, settings.folder, environ)
        return build_container(config, snapshot=snapshot, before=app.container)

    app.reloader = Reloader(
        config,
        settings.snapshot,
        settings.source,
        link=link,
        recorder=recorder,
        uses=uses,
        watch=RiskWatcher(link, metrics),
        drift=DriftWatcher(link),
        metrics=metrics,
        routes=lambda: app.container.routes.routes,
        build=rebuild,
        apply=app.replace,
    )
    return app


def application_of_worker(settings: AppSettings, metrics: Metrics) -> App:
    """Build the application in a worker process, from that process's environment. Raises ConfigError."""
    return application(settings, os.environ, metrics)
