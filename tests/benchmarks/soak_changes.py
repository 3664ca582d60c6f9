"""What changes while the soak runs: the configuration's file, whole and half written, and policies in the store."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import yaml

from proxy.storage import Sealer, make_store
from tests.e2e.conftest import fitted_policy
from tests.e2e.proxies import enforced, route

if TYPE_CHECKING:
    from pathlib import Path
    from random import Random

STORE: Final = "sqlite:///idk.db"
POLICY: Final = "support"
TIMEOUT_S: Final = 1.0
#: Of a change of the file, and of a push.
EVERY_S: Final = (5.0, 7.0)
#: Of all changes of the file, those that write it half and leave it so for a while.
HALF: Final = 0.2


@dataclass(slots=True)
class Changes:
    """Makes them until it is cancelled, and counts them. No change moves a verdict: the answers stay known."""

    folder: Path
    base_url: str
    random: Random
    made: Counter[str] = field(default_factory=Counter)

    def config(self) -> dict[str, Any]:
        """Return the configuration with new thresholds, between the scores of the sure and the unsure answers."""
        least = round(self.random.uniform(-2.0, -0.5), 3)
        fake = {
            "base_url": self.base_url,
            "max_retries": 0,
            "timeout_s": TIMEOUT_S,
            "breaker": {"failures": 0},
        }
        return {
            "server": {"store": STORE, "max_answer_bytes": 300_000},
            "upstreams": {"both": {**fake, "formats": ["chat", "responses"]}, "chats": {**fake, "formats": ["chat"]}},
            "routes": [
                enforced("enforce", upstream="both", least=least),
                route("policy", "both", mode="enforce", policy=POLICY),
                enforced("translated", upstream="chats", least=least),
                route("observe", "both", scorers=["mean_logprob"]),
                route("watched", "chats", scorers=["mean_logprob"], audit=0.05),
            ],
        }  # fmt: skip

    def write(self) -> Path:
        """Write the configuration atomically and return its path."""
        path, beside = self.folder / "idk.yaml", self.folder / "idk.yaml.new"
        beside.write_text(yaml.safe_dump(self.config(), sort_keys=False))
        beside.replace(path)
        return path

    async def files(self) -> None:
        """Write the file again and again; now and then the half of it first."""
        while True:
            await asyncio.sleep(EVERY_S[0])
            if self.random.random() < HALF:
                path = self.folder / "idk.yaml"
                whole = path.read_bytes()
                # Within the routes, so that it is never sound: a route without its upstream is none.
                path.write_bytes(whole[: whole.index(b"routes:") + 20])
                self.made["half a file"] += 1
                await asyncio.sleep(1.0)
            self.write()
            self.made["whole file"] += 1

    async def pushes(self) -> None:
        """Push a version of the policy with another threshold; now and then roll back to the one before."""
        store = make_store(STORE, self.folder, Sealer(None))
        await store.open()
        try:
            while True:
                policy = fitted_policy().to_dict()
                policy["threshold"] = round(self.random.uniform(0.7, 0.85), 3)
                pushed = await store.push_policy(POLICY, policy, "soak", time.time())
                self.made["policy pushed"] += 1
                await asyncio.sleep(EVERY_S[1])
                if pushed.version > 1 and self.random.random() < HALF:
                    await store.roll_back(POLICY, pushed.version - 1, "soak", time.time())
                    self.made["policy rolled back"] += 1
                    await asyncio.sleep(EVERY_S[1])
        finally:
            await store.aclose()

    async def first_push(self) -> None:
        """Push the policy version that the routes start with."""
        store = make_store(STORE, self.folder, Sealer(None))
        await store.open()
        await store.push_policy(POLICY, fitted_policy().to_dict(), "soak", time.time())
        await store.aclose()
