"""Embedded models behind llama.cpp's server, started once for the whole run."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from proxy.embedded.fetch import Weights, fetch
from proxy.embedded.models import DEFAULT, MODELS
from proxy.embedded.server import EmbeddedServer

if TYPE_CHECKING:
    from collections.abc import Iterator


def weights_of(name: str) -> Weights:
    """The table's own weights: a developer's IDK_MODEL must not change what the tests see."""
    return fetch(
        MODELS[name], environ={key: value for key, value in os.environ.items() if key != "IDK_MODEL"}
    )


@pytest.fixture(scope="session")
def small_weights() -> Weights:
    """SmolLM2-135M: starts in half a second, too weak to be worth gating."""
    return weights_of("smollm2")


@pytest.fixture(scope="session")
def small_model_server(small_weights: Weights) -> Iterator[str]:
    """The base URL of SmolLM2."""
    with EmbeddedServer(small_weights) as server:
        yield server.base_url


@pytest.fixture(scope="session")
def model_server() -> Iterator[str]:
    """The base URL of the demo's model."""
    with EmbeddedServer(weights_of(DEFAULT)) as server:
        yield server.base_url
