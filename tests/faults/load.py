"""A bounded load of many clients at once, in this process, with every outcome counted."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import aiohttp

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass(slots=True)
class Outcomes:
    """What the clients saw; ``took_s`` is of the answers with status 200, seconds."""

    counts: Counter[str] = field(default_factory=Counter)
    took_s: list[float] = field(default_factory=list)
    lasted_s: float = 0.0
    headers: dict[str, str] = field(default_factory=dict)

    @property
    def goodput(self) -> float:
        """Answers a second."""
        return self.counts["200"] / self.lasted_s

    def percentile_s(self, share: float) -> float:
        """Return the percentile ``share`` of the response times in seconds."""
        ordered = sorted(self.took_s)
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


async def _ask(session: aiohttp.ClientSession, url: str, body: Any, outcomes: Outcomes) -> int:
    started = time.monotonic()
    try:
        async with session.post(url, json=body) as got:
            await got.read()
    except (aiohttp.ClientError, TimeoutError) as exc:
        outcomes.counts[type(exc).__name__] += 1
        return 0
    outcomes.counts[str(got.status)] += 1
    if got.status == 200:
        outcomes.took_s.append(time.monotonic() - started)
    else:
        outcomes.headers = {name.lower(): value for name, value in got.headers.items()}
    return got.status


def _session(clients: int, key: str | None) -> aiohttp.ClientSession:
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=clients),
        timeout=aiohttp.ClientTimeout(total=30),
        headers={} if key is None else {"authorization": f"Bearer {key}"},
    )


async def closed(
    url: str, body: Any, clients: int, seconds: float, patience_s: float = 0.25, key: str | None = None
) -> Outcomes:
    """``clients`` that ask again as soon as they have an answer, and a little later where they were turned away."""
    outcomes, until = Outcomes(), time.monotonic() + seconds
    started = time.monotonic()

    async def client(session: aiohttp.ClientSession) -> None:
        while time.monotonic() < until:
            if await _ask(session, url, body, outcomes) != 200:
                await asyncio.sleep(patience_s)

    async with _session(clients, key) as session:
        await asyncio.gather(*(client(session) for _ in range(clients)))
    outcomes.lasted_s = time.monotonic() - started
    return outcomes


async def steady(
    url: str, body: Any, rate: float, while_: Callable[[], bool], most: int, key: str | None = None
) -> Outcomes:
    """``rate`` requests a second, whether or not the earlier ones have been answered; at most ``most``."""
    outcomes, started = Outcomes(), time.monotonic()
    tasks: list[asyncio.Task[int]] = []
    async with _session(500, key) as session:
        while while_() and len(tasks) < most:
            tasks.append(asyncio.create_task(_ask(session, url, body, outcomes)))
            await asyncio.sleep(max(0.0, started + len(tasks) / rate - time.monotonic()))
        await asyncio.gather(*tasks)
    outcomes.lasted_s = time.monotonic() - started
    return outcomes
