"""Draw the dashboard from a real Prometheus that scrapes a real run: ``make dashboard-pictures``.

``python -m tests.deploy.pictures OUT [--minutes 4]`` sends the dashboard's own queries.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sqlite3
import tempfile
import time
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from proxy.storage import Label, Sealer, make_store
from tests.deploy.conftest import ROOT
from tests.deploy.panels import Series, drawn
from tests.deploy.scraping import ask_range, await_series, prometheus
from tests.e2e.conftest import certified_policy
from tests.e2e.proxies import Proxy, asking, enforced, idk, route, write_config
from tests.e2e.test_rescue import RAG, scripted
from tests.fakes import FakeUpstream, answer, error, says

if TYPE_CHECKING:
    from numpy.random import Generator

STEP_S: Final = 5.0
#: Requests between two rounds of labelling.
BATCH: Final = 40
PACE_S: Final = 0.02
LOCKED_S: Final = 10.0


class Traffic:
    """A generator of mixed requests; in the second half the certified route's logprobs become lower."""

    def __init__(self, proxy: Proxy, upstream: FakeUpstream, rng: Generator) -> None:
        self._proxy = proxy
        self._upstream = upstream
        self._rng = rng

    def certified(self, low: float) -> str:
        """Request one answer of the certified route and return its id."""
        logprob = float(self._rng.uniform(low, 0.0))
        prompt = self._upstream.script(answer(says("yes", logprob=logprob)))
        return self._proxy.post(asking("certified", prompt, temperature=0)).headers["x-request-id"]

    def others(self) -> None:
        """Request one answer of each other kind, with different probabilities."""
        sampled = answer(says("yes", logprob=-0.1))
        low = answer(says("a", "b", "c", logprob=-9.0), stop_at=3)
        kinds: list[tuple[float, str, Any, dict[str, Any]]] = [
            (0.9, "raw", [answer(says("word", logprob=float(self._rng.uniform(-1.2, 0.0))))], {}),
            (0.3, "mute", [answer(says("word"))], {}),
            (0.1, "raw", [error(500, "broken")], {}),
            (0.3, "least", [low], {"stream": True, "max_tokens": 50}),
            (0.4, "sampled", [sampled] * 4, {}),
        ]
        for share, model, replies, fields in kinds:
            if self._rng.random() < share:
                self._proxy.post(asking(model, self._upstream.script(*replies), **fields))

    def passages(self) -> None:
        """Ask a question whose passage makes the model refuse; without the passage it is answered."""
        whole, _ = scripted(self._upstream, float(self._rng.choice([-0.01, -0.01, -4.0])))
        self._proxy.post(asking("rag", whole))

    def reports(self, id: str, *, right: bool) -> None:  # noqa: A002
        """Send user feedback on an answer."""
        self._proxy.post({"id": id, "label": "correct" if right else "incorrect"}, "/v1/feedback")


async def label(folder: Path, rng: Generator) -> None:
    """Label the unlabelled audit sample; an answer is right with the probability of its confidence."""
    store = make_store(f"sqlite:///{folder}/idk.db", folder, Sealer(None))
    await store.open()
    try:
        for item, _ in await store.audit("certified", limit=500, labelled=False):
            of = item.decision
            right = rng.random() < (of.confidence or 0.0)
            word: Any = "correct" if right else "incorrect"
            await store.add_label(
                Label(id=of.id, choice=of.choice, label=word, source="audit", at=time.time())
            )
    finally:
        await store.aclose()


def lock(folder: Path) -> None:
    """Lock the store's file for some seconds, so that writes fail."""
    with closing(sqlite3.connect(folder / "idk.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        time.sleep(LOCKED_S)


def drive(proxy: Proxy, upstream: FakeUpstream, folder: Path, seconds: float) -> None:
    """Send requests and labels for some seconds."""
    rng = np.random.default_rng(0)
    traffic = Traffic(proxy, upstream, rng)
    began, locked = time.monotonic(), False
    while (gone := time.monotonic() - began) < seconds:
        for _ in range(BATCH):
            made = traffic.certified(-1.0 if gone < seconds / 2 else -2.5)
            traffic.others()
            time.sleep(PACE_S)
        traffic.passages()
        if not locked and gone > seconds / 2:
            locked = True
            lock(folder)
        traffic.reports(made, right=bool(rng.random() < 0.7))
        asyncio.run(label(folder, rng))


def settings(folder: Path, upstream: FakeUpstream) -> dict[str, Any]:
    """Return a configuration with a route for each kind of evidence."""
    fake = {"base_url": upstream.base_url, "max_retries": 0, "breaker": {"failures": 0}}
    return {
        "server": {"store": f"sqlite:///{folder}/idk.db"},
        "upstreams": {"fake": fake, "mute": {**fake, "logprobs": "none"}},
        "routes": [
            {**route("certified", mode="enforce", policy="certified"), "audit": 0.2},
            enforced("raw"),
            enforced("mute", upstream="mute"),
            enforced("least", "min_logprob", -2.0),
            enforced("sampled", "agreement_exact", 0.5, samples=3),
            enforced("rag", rag=RAG),
        ],
    }


def main() -> None:
    """Run the traffic, query Prometheus and write the picture."""
    parser = argparse.ArgumentParser(prog="python -m tests.deploy.pictures", description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--minutes", type=float, default=4.0)
    options = parser.parse_args()
    panels = json.loads((ROOT / "deploy/grafana/idk.json").read_text())["panels"]
    with tempfile.TemporaryDirectory() as name, FakeUpstream() as upstream:
        folder = Path(name)
        (folder / "policy.json").write_text(json.dumps(certified_policy().to_dict()))
        path = write_config(folder, settings(folder, upstream))
        pushed = idk("policy", "push", "policy.json", "--name", "certified", "--config", path, cwd=folder)
        assert pushed.returncode == 0, pushed.stderr
        with (
            Proxy("--config", path, cwd=folder) as proxy,
            prometheus(proxy.url.removeprefix("http://"), folder) as url,
        ):
            await_series(url, "up == 1")
            start = time.time()
            drive(proxy, upstream, folder, options.minutes * 60)
            end = time.time()
            found = []
            for panel in panels:
                answers = [
                    (target, each)
                    for target in panel["targets"]
                    for each in ask_range(url, target["expr"], start, end, STEP_S)
                ]
                found.append((panel, [Series.of(target, each) for target, each in answers]))
    options.out.write_text(drawn(found, start, end))
    print(f"written to {options.out}")


if __name__ == "__main__":
    main()
