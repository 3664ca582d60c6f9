"""When the store's keys were last used: noted on the request's path, told to the store once a minute."""

from __future__ import annotations

from time import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from proxy.storage.link import StoreLink


class Uses:
    """What this process has seen and not told yet; of several processes the store keeps the latest."""

    def __init__(self, link: StoreLink, clock: Callable[[], float] = time) -> None:
        self._link = link
        self._clock = clock
        self._waiting: dict[str, float] = {}

    def note(self, name: str) -> None:
        """A key of the store let someone in; never waits."""
        self._waiting[name] = self._clock()

    async def flush(self) -> None:
        """Tell the store; raises StoreError, and then it is told the next time."""
        if not self._waiting:
            return
        told, self._waiting = self._waiting, {}
        try:
            await self._link.do("keys", lambda store: store.note_key_uses(told))
        except BaseException:
            self._waiting = told | self._waiting
            raise
