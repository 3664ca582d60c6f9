"""The machine's clock is set an hour forward or back under a running proxy: nothing that counts goes by it."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from proxy.storage import DecisionQuery, Label, Sealer, make_store
from tests.e2e.conftest import certified_policy
from tests.e2e.proxies import PLAIN, Proxy, route, write_config
from tests.fakes import DEADLINE_S, answer, held, says
from tests.faults.conftest import TIMEOUT_S
from tests.faults.process import Process
from tests.faults.upstreams import SECRET
from tests.faults.ways import MODES, PLAINLY, UNKNOWN, WAYS, Way, outcome_class, withheld

if TYPE_CHECKING:
    from tests.fakes import FakeUpstream

KEYS = ("limited", "free")
#: What the one key may ask a minute.
MOST = 4
STORE = "sqlite:///idk.db"


class SetClock:
    """A preloaded clock that says what a file says; it leaves the monotonic one alone."""

    def __init__(self, folder: Path) -> None:
        found = sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))
        assert found, "libfaketime is not installed: apt-get install libfaketime"
        self._file = folder / "clock"
        self.set(0)
        self.environ = {
            "LD_PRELOAD": str(found[0]), "FAKETIME_TIMESTAMP_FILE": str(self._file), "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        }  # fmt: skip

    def set(self, step_s: int) -> None:
        """Write the offset of the clock atomically."""
        beside = self._file.with_suffix(".new")
        beside.write_text(f"{step_s:+d}\n")
        beside.replace(self._file)


def config_of(upstream: FakeUpstream) -> dict[str, Any]:
    keys = [{"name": name, "sha256": hashlib.sha256(name.encode()).hexdigest()} for name in KEYS]
    keys[0]["requests_per_minute"] = MOST  # type: ignore[assignment] # of another type
    fake = {
        "base_url": upstream.base_url,
        "max_retries": 0,
        "timeout_s": TIMEOUT_S,
        "breaker": {"failures": 0},
        "formats": ["chat"],
    }
    return {
        "server": {"store": STORE, "log_text": True, "retention": {"days": 1}},
        "keys": keys,
        "upstreams": {"fake": fake},
        "routes": [
            route(mode, mode=mode, policy="certified.json", model="certified", params={"temperature": 0.0}, audit=1.0)
            for mode in MODES
        ],
    }  # fmt: skip


class Client:
    """Asks as one of the keys."""

    def __init__(self, proxy: Proxy, key: str) -> None:
        self._proxy = proxy
        self._headers = {"authorization": f"Bearer {key}", "content-type": "application/json"}

    def asks(self, prompt: str, way: Way = PLAINLY) -> httpx.Response:
        return self._post(way.asks(prompt), way.path)

    def labels(self, id: str) -> int:  # noqa: A002
        return self._post({"id": id, "label": "correct"}, "/v1/feedback").status_code

    def _post(self, body: Any, path: str) -> httpx.Response:
        url = self._proxy.url + path
        return httpx.post(url, json=body, headers=self._headers, timeout=DEADLINE_S, **PLAIN)


def said(got: httpx.Response) -> str:
    assert got.status_code == 200, got.text
    return str(got.json()["choices"][0]["message"]["content"])


def kept(folder: Path, mislabelled: str | None = None) -> list[str]:
    """Label one decision as wrong and return the ids of all decisions in the store."""

    async def found() -> list[str]:
        store = make_store(STORE, folder, Sealer(None))
        await store.open()
        try:
            if mislabelled is not None:
                label = Label(
                    id=mislabelled, choice=0, label="incorrect", source="audit", at=time.time(), who="a"
                )
                assert await store.add_label(label)
            return [each.id for each in (await store.decisions(DecisionQuery(limit=1_000))).items]
        finally:
            await store.aclose()

    return asyncio.run(found())


@pytest.mark.parametrize("step_s", [3_600, -3_600], ids=["forward", "back"])
def test_the_clock_is_set(step_s, upstream, tmp_path, record):
    fault = f"the machine's clock is set an hour {'forward' if step_s > 0 else 'back'}"
    sure, unsure = (
        upstream.script(answer(says("Par", "is"))),
        upstream.script(answer(says(*SECRET, logprob=-3.0))),
    )
    (tmp_path / "certified.json").write_text(json.dumps(certified_policy().to_dict()))
    clock = SetClock(tmp_path)
    path = write_config(tmp_path, config_of(upstream))
    with Proxy("--config", path, cwd=tmp_path, env={**os.environ, **clock.environ}) as proxy:
        limited, free = (Client(proxy, key) for key in KEYS)
        served = [limited.asks(sure) for _ in range(2)]
        assert [said(got) for got in served] == ["Paris", "Paris"]
        assert Process.settles(lambda: len(kept(tmp_path)) == 2)

        clock.set(step_s)
        # The limit: what was spent is neither forgotten nor counted for an hour.
        served += [limited.asks(sure) for _ in range(2)]
        refused = limited.asks(sure)
        assert refused.status_code == 429
        assert 1 <= int(refused.headers["retry-after"]) <= 61
        # The gate, and its certificate.
        for way in WAYS:
            got = free.asks(unsure, way)
            words = way.said(got)
            assert words == way.unsure()
            if way.mode == "enforce":
                withheld(got, words, "clock")
            served.append(got)
            record.add(fault, outcome_class(got, words))
        served.append(free.asks(unsure))
        assert said(served[-1]) == UNKNOWN
        assert served[-1].json()["idk"]["certified"] is True
        # A deadline.
        began = time.monotonic()
        assert free.asks(upstream.script(held())).status_code == 504
        assert time.monotonic() - began < DEADLINE_S / 2
        # Retention, and labels of what was decided before and after.
        ids = [got.headers["x-request-id"] for got in served]
        asked_by = {each: limited if place < 4 else free for place, each in enumerate(ids)}
        assert Process.settles(lambda: sorted(kept(tmp_path)) == sorted(ids))
        for each in ids:
            # Sent again where the store takes too long for once, as the answer then says.
            assert Process.settles(lambda each=each: asked_by[each].labels(each) == 200), proxy.log
        # The watch: the first of the audit sample was wrong.
        kept(tmp_path, mislabelled=ids[0])
        assert Process.settles(lambda: proxy.metric("idk_observed_risk", route="enforce") == 1.0)
        # And back again.
        clock.set(0)
        assert limited.asks(sure).status_code == 429
        assert said(free.asks(sure)) == "Paris"
        for outcome, tries in {"answer": 5, "429 error": 2, "I don't know": 1, "504 error": 1}.items():
            for _ in range(tries):
                record.add(fault, outcome)
