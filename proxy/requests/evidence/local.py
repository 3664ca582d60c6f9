"""Embedding models in this process, each with its own thread."""

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

#: Texts that are embedded in one piece of work; requests take turns between the pieces.
_TOGETHER = 8


class Model(Protocol):
    """A blocking function from texts to vectors."""

    def vectors(self, texts: Sequence[str]) -> list[list[float]] | None:
        """Return a vector (n, d) for each text, or None if one of them is too long for the model."""
        ...


#: The models by their names in ``embeddings.local``. Each raises ConfigError if its extra is not installed.
MODELS: Mapping[str, Callable[[], Model]] = MappingProxyType({"minilm": MiniLM})


class LocalModel:
    """A model with one thread: the event loop stays free, and texts of two requests are never in memory together."""

    def __init__(self, model: Model) -> None:
        self._model = model
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="idk-embeddings")

    async def vectors(self, texts: Sequence[str]) -> list[list[float]] | None:
        """Return the vectors of ``Model.vectors``, or raise HttpError if the model fails."""
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


class LocalModels:
    """The models of one process, shared by its routes and loaded when the first route names one."""

    def __init__(self, models: Mapping[str, Callable[[], Model]] = MODELS) -> None:
        self._models = models
        self._made: dict[str, LocalModel] = {}

    def get(self, name: str, place: str) -> LocalModel:
        """Return the model of a name; raises ConfigError, which begins with ``place``."""
        if name not in self._models:
            known = ", ".join(sorted(self._models))
            raise ConfigError(f"{place}: `{name}` is not a built-in model; use one of {known}")
        if name not in self._made:
            try:
                self._made[name] = LocalModel(self._models[name]())
            except ConfigError as exc:
                raise ConfigError(f"{place}: {name}: {exc}") from exc
        return self._made[name]


class LocalVectors:
    """Vectors by a model in this process, which cost no tokens; see ``Vectors``."""

    def __init__(self, bench: LocalModel, slots: Slots) -> None:
        self._bench = bench
        self._slots = slots

    async def __call__(
        self, exchange: Exchange, completion: Completion, texts: Sequence[str]
    ) -> Sequence[Sequence[float]] | None:
        """Return the vectors, or None if a text is too long; raises HttpError, OverBudget."""
        granted = self._slots.take(1)
        try:
            return await self._bench.vectors(texts)
        finally:
            self._slots.give(granted)
