"""An application from plain values: with its store, and what keeps it up to date."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from random import Random
from typing import TYPE_CHECKING

from proxy.app.asgi import App, Lasting
from proxy.app.parts import build
from proxy.control.drift_watch import DriftWatch
from proxy.control.policies import Known, store_of
from proxy.control.recording import Recorder, StoreLink, Uses
from proxy.control.reload import Keeper
from proxy.control.risk_watch import Watch
from proxy.gateway.tracing import Tracing
from proxy.metrics import Metrics
from proxy.server.bodies import Bodies
from proxy.server.body_thread import BodyThread

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from proxy.config import Config
    from proxy.control.reload import Source


@dataclass(frozen=True, slots=True)
class Setting:
    """What an application is made from; plain values, which go to other processes as they are.

    ``known`` is what the store said before; ``source`` the file to follow, if there is one.
    """

    config: Config
    folder: Path
    known: Known = field(default_factory=Known)
    source: Source | None = None


def application(setting: Setting, environ: Mapping[str, str], metrics: Metrics | None = None) -> App:
    """An application with its store, which keeps itself up to date while it runs. Raises ConfigError."""
    metrics = Metrics() if metrics is None else metrics
    config = setting.config
    link = StoreLink(store_of(config, setting.folder, environ), metrics)
    thread = BodyThread()
    rng = Random()  # noqa: S311 - nobody gains by guessing
    recorder = Recorder(link, rng, log_text=config.server.log_text, bodies=Bodies(thread))
    uses = Uses(link)
    lasting = partial(
        build,
        folder=setting.folder,
        environ=environ,
        metrics=metrics,
        recorder=recorder,
        tracing=Tracing() if config.server.opentelemetry else None,
    )
    app = App(lasting(config, known=setting.known), Lasting(link, recorder, uses, environ, thread))
    app.keeper = Keeper(
        config,
        setting.known,
        setting.source,
        link=link,
        recorder=recorder,
        uses=uses,
        watch=Watch(link, metrics),
        drift=DriftWatch(link),
        metrics=metrics,
        routes=lambda: app.parts.routes.routes,
        apply=lambda config, known: app.replace(lasting(config, known=known, before=app.parts)),
    )
    return app
