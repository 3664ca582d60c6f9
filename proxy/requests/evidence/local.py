"""Vectors made in this process: the models that a route may name, and the thread in which they work."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from types import MappingProxyType
from typing import TYPE_CHECKING, Protocol

from proxy.exceptions import ConfigError, HttpError
from proxy.requests.evidence.minilm import MiniLM

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from proxy.requests.evidence.budget import Slots
    from proxy.requests.exchange import Exchange
    from proxy.surfaces.contract import Completion

#: Texts that are read together: one request's are worked off in turns with those of others.
_TOGETHER = 8


class Model(Protocol):
    """Turns texts into vectors, and blocks the while."""

    def vectors(self, texts: Sequence[str]) -> list[list[float]] | None:
        """One (n, d) for each text, or None where it cannot read one of them whole."""
        ...


#: By the names of ``embeddings.local``. Each raises ConfigError where its extra is not installed.
MODELS: Mapping[str, Callable[[], Model]] = MappingProxyType({"minilm": MiniLM})


class Bench:
    """A model and its one thread: the event loop goes on, and no two requests' texts are in memory at once."""

    def __init__(self, model: Model) -> None:
        self._model = model
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="idk-embeddings")

    async def vectors(self, texts: Sequence[str]) -> list[list[float]] | None:
        """Those of ``Model``; raises HttpError where it fails."""
        loop, found = asyncio.get_running_loop(), list[list[float]]()
        for start in range(0, len(texts), _TOGETHER):
            part = texts[start : start + _TOGETHER]
            try:
                vectors = await loop.run_in_executor(self._thread, self._model.vectors, part)
            except Exception as exc:
                raise HttpError(f"the local model failed: {exc}") from exc
            if vectors is None:
                return None
            found += vectors
        return found


class Benches:
    """Those of one process, which all its routes share, made when the first one names a model."""

    def __init__(self, models: Mapping[str, Callable[[], Model]] = MODELS) -> None:
        self._models = models
        self._made: dict[str, Bench] = {}

    def get(self, name: str, place: str) -> Bench:
        """It; raises ConfigError, which begins with ``place``."""
        if name not in self._models:
            known = ", ".join(sorted(self._models))
            raise ConfigError(f"{place}: `{name}` is no model of the proxy's own; known are {known}")
        if name not in self._made:
            try:
                self._made[name] = Bench(self._models[name]())
            except ConfigError as exc:
                raise ConfigError(f"{place}: {name}: {exc}") from exc
        return self._made[name]


class Here:
    """The vectors of one route's texts by a model of this process; see ``Vectors``. It spends no tokens."""

    def __init__(self, bench: Bench, slots: Slots) -> None:
        self._bench = bench
        self._slots = slots

    async def __call__(
        self, exchange: Exchange, completion: Completion, texts: Sequence[str]
    ) -> Sequence[Sequence[float]] | None:
        """None where a text is too long; raises HttpError, OverBudget."""
        granted = self._slots.take(1)
        try:
            return await self._bench.vectors(texts)
        finally:
            self._slots.give(granted)
