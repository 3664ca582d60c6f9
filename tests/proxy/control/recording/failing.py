"""A store whose failures the tests choose."""

from __future__ import annotations

import asyncio
from typing import Any

from proxy.exceptions import StoreError


class Failing:
    """A store that is down, slow or broken while the test says so."""

    name = "test://"

    def __init__(self, store: Any) -> None:
        self._store = store
        self.down = False
        self.slow = False
        self.broken = False
        self.asked = 0

    def __getattr__(self, name: str) -> Any:
        async def call(*arguments: Any, **given: Any) -> Any:
            self.asked += 1
            if self.down:
                raise StoreError("test://: is down")
            if self.broken:
                raise ValueError("a defect")
            if self.slow:
                await asyncio.sleep(60)
            return await getattr(self._store, name)(*arguments, **given)

        return call
