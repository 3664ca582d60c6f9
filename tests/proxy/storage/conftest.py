"""The stores that the one suite runs on."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from proxy.storage import Sealer, make_store
from tests.proxy.storage.making import SECRET

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from proxy.storage import Store

BACKENDS = ("memory", "sqlite")


@pytest.fixture(params=BACKENDS)
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Store]:
    """An empty store, open."""
    url = {"memory": "memory://", "sqlite": "sqlite:///idk.db"}[request.param]
    made = make_store(url, tmp_path, Sealer(SECRET))
    await made.open()
    yield made
    await made.aclose()
