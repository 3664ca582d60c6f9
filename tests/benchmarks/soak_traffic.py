"""The soak's clients: what each asks is drawn from a fixed seed, and each answer is held to what it must be."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import httpx

from tests.benchmarks.soak_upstream import BLIND, EMBEDDED, FAULT, RIGHT, SURE, UNSURE
from tests.faults.upstreams import FAULTS, SECRET
from tests.faults.ways import SURFACES, UNKNOWN, UNREAD, outcome
from tests.matrix.doors import DOORS

if TYPE_CHECKING:
    from random import Random

#: Routes, and whether they withhold. Each has its own model's name.
ROUTES: Final = {"enforce": True, "policy": True, "translated": True, "observe": False, "watched": False}
#: Those before an upstream that speaks chat alone, which is where faults are injected: in its one format.
FAULTY: Final = ("translated", "watched")
#: Of all requests: clients that leave, faults, passed-through ones; the rest is asked, and part of it labelled.
LEAVES, FAULTED, PASSED, LABELLED = 0.05, 0.10, 0.05, 0.20
KINDS: Final = {SURE: 5, UNSURE: 4, BLIND: 1}
LABELS: Final = ("correct", "incorrect")
#: A client that leaves does so within this; an answer takes a few milliseconds.
LEAVES_WITHIN_S: Final = 0.02
PATIENCE_S: Final = 30.0
#: Faults that last as long as the upstream may take would fill the time with waiting: so many of them are enough.
_SLOW: Final = tuple(name for name in FAULTS if name.startswith("stalls"))


class Asked(NamedTuple):
    """One request: ``kind`` says what its answer must be, ``fault`` what the upstream does instead."""

    route: str
    surface: str
    streamed: bool
    kind: str
    fault: str | None
    leaves_s: float | None
    label: str | None
    passed: bool
    prompt: str


@dataclass(slots=True)
class Tally:
    """What the clients saw. ``wrong`` must stay empty; ``labels`` are those that were acknowledged."""

    outcomes: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    late: int = 0
    labels: list[tuple[str, str]] = field(default_factory=list)
    requests: int = 0


def draw(random: Random, number: int) -> Asked:
    """Draw the next request."""
    route = random.choice(tuple(ROUTES))
    fault = None
    if random.random() < FAULTED:
        route = random.choice(FAULTY)
        fault = random.choice(tuple(FAULTS))
        if fault in _SLOW and random.random() < 0.8:
            fault = "resets in the body"
    kind = random.choices(tuple(KINDS), tuple(KINDS.values()))[0]
    return Asked(
        route=route,
        surface=random.choice(SURFACES),
        streamed=random.random() < 0.5,
        kind=kind,
        fault=fault,
        leaves_s=random.uniform(0, LEAVES_WITHIN_S) if random.random() < LEAVES else None,
        label=random.choice(LABELS) if random.random() < LABELLED else None,
        passed=fault is None and random.random() < PASSED,
        prompt=f"{kind} {number}" if fault is None else f"{FAULT} {number} {fault}",
    )


class Clients:
    """``concurrency`` of them at ``rate`` requests a second in sum, until ``until`` (monotonic)."""

    def __init__(self, url: str, random: Random, tally: Tally) -> None:
        self._url = url
        self._random = random
        self.tally = tally

    async def run(self, concurrency: int, rate: float, until: float) -> None:
        """Returns when the last answer has come."""
        started, count = time.monotonic(), self.tally.requests
        limits = httpx.Limits(max_connections=concurrency, max_keepalive_connections=concurrency)
        async with httpx.AsyncClient(
            limits=limits, timeout=PATIENCE_S, verify=False, trust_env=False
        ) as client:

            async def worker() -> None:
                while time.monotonic() < until:
                    self.tally.requests += 1
                    number = self.tally.requests
                    # Paced for all of them: one that waits for its turn is not behind, the pace is.
                    await asyncio.sleep(max(0.0, started + (number - count) / rate - time.monotonic()))
                    await self._one(client, draw(self._random, number))

            await asyncio.gather(*(worker() for _ in range(concurrency)))

    async def _one(self, client: httpx.AsyncClient, asked: Asked) -> None:
        try:
            async with asyncio.timeout(asked.leaves_s):
                got = await self._ask(client, asked)
        except TimeoutError:
            self.tally.outcomes["left"] += 1
            return
        except httpx.HTTPError as exc:
            self.tally.wrong.append(f"{asked}: {exc!r}")
            return
        try:
            judged = self._judge(asked, got)
        except (AssertionError, KeyError, IndexError, ValueError) as exc:
            self.tally.wrong.append(f"{asked}: {exc!r}: {got.status_code} {got.text[:300]}")
            return
        if asked.label is not None and judged:
            await self._label(client, got.headers["x-request-id"], asked.label)

    async def _ask(self, client: httpx.AsyncClient, asked: Asked) -> httpx.Response:
        if asked.passed:
            return await client.post(f"{self._url}/v1/embeddings", json={"model": asked.route, "input": "x"})
        door = DOORS[asked.surface]
        body: dict[str, Any] = {"model": asked.route, **door.asks(asked.prompt), "stream": asked.streamed}
        return await client.post(f"{self._url}{door.path}", json=body)

    def _judge(self, asked: Asked, got: httpx.Response) -> bool:
        """Check a response and return whether it holds a judged answer that can be labelled.

        Raises AssertionError (or a parser's error) where the response is not one of those allowed.
        """
        if asked.passed:
            assert (got.status_code, got.content) == (200, EMBEDDED)
            self.tally.outcomes["passed through"] += 1
            return False
        if ROUTES[asked.route]:
            everything = got.text + str(got.headers)
            assert not any(word in everything for word in SECRET), "a withheld answer was released"
        said = outcome(got, streamed=asked.streamed, surface=asked.surface)
        if asked.fault is not None:
            fault = FAULTS[asked.fault]
            observing = not ROUTES[asked.route]
            assert got.status_code in fault.statuses(streamed=asked.streamed, observing=observing), said
            failed = said.startswith("error") or said == UNREAD
            self.tally.outcomes[f"fault: {'error' if failed else 'answer'}"] += 1
            return not failed
        if said.startswith("error") and got.status_code in (200, 503, 504):
            # Of a machine that is too busy; how many there were is reported, and bounded.
            self.tally.late += 1
            return False
        wanted = RIGHT if asked.kind == SURE else UNKNOWN if ROUTES[asked.route] else "".join(SECRET)
        assert said == wanted, said
        self.tally.outcomes["I don't know" if said == UNKNOWN else "answer"] += 1
        return True

    async def _label(self, client: httpx.AsyncClient, id: str, label: str) -> None:  # noqa: A002
        try:
            got = await client.post(f"{self._url}/v1/feedback", json={"id": id, "label": label})
        except httpx.HTTPError as exc:
            self.tally.wrong.append(f"feedback for {id}: {exc!r}")
            return
        if got.status_code == 200:
            self.tally.labels.append((id, label))
            self.tally.outcomes["label acknowledged"] += 1
        elif got.status_code == 503:
            self.tally.outcomes["label refused for now"] += 1
        else:
            self.tally.wrong.append(f"feedback for {id}: {got.status_code} {got.text[:200]}")
