"""A store as a busy route leaves it: decisions by the thousand, an audit sample, labels, and a policy's history."""

from __future__ import annotations

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor
from random import Random
from typing import TYPE_CHECKING, Any

from gating.types import Evidence
from proxy.records import Answer
from proxy.storage import AuditItem, DecisionRecord, Label, RiskState, Sealer, make_store
from tests.e2e.conftest import certified_policy

if TYPE_CHECKING:
    from pathlib import Path

#: Of the route that is filled.
ROUTE = "certified"
HOSTILE = '<img src=x onerror="window.hacked=1"> & </script><script>window.hacked=1</script>'
_BATCH = 5_000


def config(base_url: str, **route: object) -> dict[str, Any]:
    """Return a route that follows the policy, and one without a policy."""
    return {
        "upstreams": {"fake": {"base_url": base_url, "max_retries": 0}},
        "routes": [
            {"name": ROUTE, "models": [ROUTE], "upstream": "fake", "mode": "enforce", "policy": "support",
             "audit": 0.02, **route},
            {"name": "other", "models": ["*"], "upstream": "fake"},
        ],
    }  # fmt: skip


def fill(folder: Path, *, decisions: int = 3_000, drawn: int = 300, labelled: int = 250) -> None:
    """Write ``idk.db``: policies support@1 and @2, and decisions of the last two hours under @2."""
    # Playwright keeps a loop in the tests' own thread.
    with ThreadPoolExecutor(1) as pool:
        pool.submit(lambda: asyncio.run(_fill(folder, decisions, drawn, labelled))).result()


def watch(folder: Path, **found: Any) -> None:
    """Keep what the watch over support@2 is to have ``found``."""

    async def keep() -> None:
        store = make_store("sqlite:///idk.db", folder, Sealer())
        await store.open()
        state = RiskState(route=ROUTE, policy="support@2", since=time.time() - 7_200, revision=1, **found)
        assert await store.put_risk(state)
        await store.aclose()

    with ThreadPoolExecutor(1) as pool:
        pool.submit(lambda: asyncio.run(keep())).result()


async def _fill(folder: Path, decisions: int, drawn: int, labelled: int) -> None:
    rng, now, policy = Random(0), time.time(), certified_policy()
    store = make_store("sqlite:///idk.db", folder, Sealer())
    await store.open()
    saved = policy.to_dict()
    await store.push_policy("support", saved | {"threshold": 0.9, "certificate": None}, "ada", now - 90_000)
    await store.push_policy("support", saved, "grace", now - 80_000)
    scores = [rng.uniform(-4.0, 0.0) for _ in range(400)]
    known = {}
    for score in scores:
        confidence = policy.confidence(Evidence("Paris", token_logprobs=[score]))
        assert isinstance(confidence, float)
        known[score] = confidence
    written = 0
    while written < decisions:
        records, items, labels = [], [], []
        for place in range(written, min(written + _BATCH, decisions)):
            score = rng.choice(scores)
            confidence = known[score]
            served = confidence >= 0.8
            at = now - 7_200 * (1 - place / decisions)
            texts: dict[str, Any] = {
                "question": f"What is the capital of country {place}?",
                "answer": f"City {place}",
            }
            if place == decisions - 1:
                texts = {"question": HOSTILE, "answer": HOSTILE}
            record = DecisionRecord(
                id=f"idk-{place:032x}", choice=0, at=at, route=ROUTE, mode="enforce", source="logprobs",
                decision="answer" if served else "abstain",
                reason="confident" if served else "below_threshold",
                policy="support@2", certified=True, confidence=confidence, threshold=0.8, score=score, **texts,
            )  # fmt: skip
            records.append(record)
            if place >= decisions - drawn:
                number = place - (decisions - drawn)
                answer = Answer(id=record.id, token_logprobs=[score], made_with={"model": ROUTE}, **texts)
                items.append(AuditItem(decision=record, propensity=0.02, answer=answer))
                if number < labelled:
                    right = rng.random() < confidence
                    labels.append(
                        Label(
                            id=record.id, choice=0, label="correct" if right else "incorrect", source="audit",
                            at=at, who="ada",
                        )
                    )  # fmt: skip
        await store.add_decisions(records, items)
        for label in labels:
            await store.add_label(label)
        written += len(records)
    await store.aclose()
