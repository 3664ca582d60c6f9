"""The last use of each stored key: noted with each request, and written to the store once a minute."""

from __future__ import annotations

from time import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from proxy.storage.link import StoreLink


class Uses:
    """The uses that this process has not written yet; the store keeps the latest of all processes."""

    def __init__(self, link: StoreLink, clock: Callable[[], float] = time) -> None:
        self._link = link
        self._clock = clock
        self._waiting: dict[str, float] = {}

    def note(self, name: str) -> None:
        """Note the use of a stored key, without waiting."""
        self._waiting[name] = self._clock()

    async def flush(self) -> None:
        """Write the uses to the store; raises StoreError, and then keeps them for the next call."""
        if not self._waiting:
            return
        told, self._waiting = self._waiting, {}
        try:
            await self._link.do("keys", lambda store: store.note_key_uses(told))
        except BaseException:
            self._waiting = told | self._waiting
            raise
