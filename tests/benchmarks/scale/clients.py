"""Clients that count every request: when it began and ended, its status, and which replica it was sent to."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import aiohttp

from tests.benchmarks.scale.fleet import KEY

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

PATIENCE_S = 60.0


@dataclass(frozen=True, slots=True)
class Seen:
    """One request; monotonic seconds, ``status`` 0 where the connection failed, ``replicas`` by their addresses."""

    began: float
    ended: float
    status: int
    replicas: tuple[str, ...]


async def ask(
    url: str, body: bytes, clients: int, goes_on: Callable[[int], bool], key: str = KEY
) -> list[Seen]:
    """Run the clients, each sending again after its response, while ``goes_on`` returns True for the number sent."""
    seen: list[Seen] = []
    sent = 0

    async def client(session: aiohttp.ClientSession) -> None:
        nonlocal sent
        while goes_on(sent):
            sent += 1
            began = time.monotonic()
            status, replicas = 0, ""
            try:
                async with session.post(f"{url}/v1/chat/completions", data=body) as got:
                    await got.read()
                    status, replicas = got.status, got.headers.get("x-served-by", "")
            except (aiohttp.ClientError, TimeoutError):
                pass
            tried = tuple(each.strip() for each in replicas.split(",") if each)
            seen.append(Seen(began, time.monotonic(), status, tried))

    headers = {"authorization": f"Bearer {key}", "content-type": "application/json"}
    async with aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=clients),
        timeout=aiohttp.ClientTimeout(total=PATIENCE_S),
        headers=headers,
    ) as session:
        await asyncio.gather(*(client(session) for _ in range(clients)))
    return seen


async def ask_during(
    url: str, body: bytes, clients: int, what: Sequence[tuple[float, Callable[[], None]]], rest_s: float
) -> tuple[list[Seen], list[tuple[float, float]]]:
    """Ask while each of ``what`` is done after its seconds, and for ``rest_s`` then; when it began and was over."""
    done = asyncio.Event()
    times: list[tuple[float, float]] = []

    async def act() -> None:
        for after_s, do in what:
            await asyncio.sleep(after_s)
            began = time.monotonic()
            await asyncio.to_thread(do)
            times.append((began, time.monotonic()))
        await asyncio.sleep(rest_s)
        done.set()

    _, seen = await asyncio.gather(act(), ask(url, body, clients, lambda _: not done.is_set()))
    return seen, times
