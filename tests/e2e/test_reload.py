"""A changed file and a pushed policy take effect in a running proxy, whole or not at all."""

from __future__ import annotations

import asyncio
import json
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import httpx
import pytest

from proxy.storage import Sealer, make_store
from tests.e2e.conftest import fitted_policy
from tests.e2e.proxies import (
    Proxy,
    asking,
    config_of,
    enforced,
    idk,
    one_line,
    route,
    verdict_of,
    wait_until,
    write_config,
)
from tests.fakes import DEADLINE_S, answer, held, says

if TYPE_CHECKING:
    from pathlib import Path

    from tests.fakes import FakeUpstream


@pytest.mark.parametrize("workers", [1, 2])
def test_a_changed_file_takes_effect_without_a_restart(tmp_path: Path, upstream: FakeUpstream, workers: int):
    path = write_config(tmp_path, config_of(upstream, enforced("r", least=-1.0), workers=workers))
    with Proxy("--config", path, cwd=tmp_path) as proxy, ThreadPoolExecutor() as pool:
        assert verdict_of(proxy, upstream)["text"] == "Paris"
        prompt = upstream.script(held(answer(says("Rome", logprob=-0.7))))
        waiting = pool.submit(proxy.post, asking("r", prompt))
        call = upstream.call(prompt)
        write_config(tmp_path, config_of(upstream, enforced("r", least=-0.5), workers=workers))
        wait_until(
            lambda: proxy.metric("idk_config_reloads_total", outcome="applied") == workers,
            "it is not applied",
        )
        assert verdict_of(proxy, upstream)["text"] == "I don't know."
        # The request that was in flight uses the configuration that it started with.
        call.released.set()
        assert waiting.result(DEADLINE_S).json()["choices"][0]["message"]["content"] == "Rome"


def test_an_invalid_file_is_refused_whole_and_the_last_good_one_stays(tmp_path: Path, upstream: FakeUpstream):
    path = write_config(tmp_path, config_of(upstream, enforced("r", least=-1.0)))
    with Proxy("--config", path, cwd=tmp_path) as proxy:
        path.write_text(path.read_text().replace("-1.0", "-0.1") + "\nnonsense: 1\n")
        line = proxy.says("the last good configuration stays in force")
        assert "nonsense: unknown key" in line
        assert proxy.metric("idk_config_reloads_total", outcome="refused") == 1
        assert verdict_of(proxy, upstream)["text"] == "Paris"
        write_config(tmp_path, config_of(upstream, enforced("r", least=-0.1)))
        proxy.says("idk.yaml: in force")
        assert verdict_of(proxy, upstream)["text"] == "I don't know."


def test_a_hangup_reloads_every_worker_and_ends_none(tmp_path: Path, upstream: FakeUpstream):
    path = write_config(tmp_path, config_of(upstream, enforced("r", least=-1.0), workers=2))
    with Proxy("--config", path, cwd=tmp_path) as proxy:
        # At once: who is still starting must neither end by it nor miss it.
        proxy.signal(signal.SIGHUP)
        wait_until(
            lambda: proxy.metric("idk_config_reloads_total", outcome="applied") == 2, "it is not applied"
        )
        assert verdict_of(proxy, upstream)["text"] == "Paris"
        assert sum("Started server process" in line for line in proxy.log) == 2
        assert not any("died" in line for line in proxy.log)


def pushed(tmp_path: Path, url: str = "sqlite:///idk.db", **changes: object) -> dict:
    """Push a policy by the command; gives what it prints."""
    saved = {**fitted_policy().to_dict(), **changes}
    (tmp_path / "new.json").write_text(json.dumps(saved))
    result = idk("policy", "push", "new.json", "--name", "support", "--store", url, "--json", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)


def test_a_pushed_policy_is_in_force_within_a_second(tmp_path: Path, upstream: FakeUpstream):
    assert pushed(tmp_path)["policy"] == "support@1"
    routes = [
        route("r", mode="enforce", policy="support"), route("pinned", mode="enforce", policy="support@1")
    ]  # fmt: skip
    path = write_config(tmp_path, config_of(upstream, *routes, workers=2))
    with Proxy("--config", path, cwd=tmp_path) as proxy:
        first = verdict_of(proxy, upstream)
        assert first["policy"] == "support@1"
        pushed(tmp_path, threshold=0.9999)
        began = time.monotonic()
        wait_until(lambda: verdict_of(proxy, upstream)["policy"] == "support@2", "the push does not arrive")
        # On a quiet machine a third of a second; tests run on busy ones.
        assert time.monotonic() - began < 5.0
        wait_until(lambda: proxy.metric("idk_policy_info", route="r", policy="support@1") == 0, "both show")
        assert proxy.metric("idk_policy_info", route="r", policy="support@2", certified="false") == 1
        assert verdict_of(proxy, upstream, -0.01)["text"] == "I don't know."
        assert verdict_of(proxy, upstream, model="pinned")["policy"] == "support@1"
        result = idk("policy", "rollback", "support", "--store", "sqlite:///idk.db", cwd=tmp_path)
        assert (result.returncode, result.stdout.strip()) == (0, "support@1 is in force"), result.stderr
        wait_until(
            lambda: verdict_of(proxy, upstream)["policy"] == "support@1", "the rollback does not arrive"
        )


def test_a_policy_that_is_not_there_is_refused_at_the_start(tmp_path: Path, upstream: FakeUpstream):
    write_config(tmp_path, config_of(upstream, route("r", mode="enforce", policy="support")))
    one_line(
        idk("serve", "--port", "0", cwd=tmp_path),
        "idk.yaml: routes.r.policy: there is no policy `support` in sqlite:///", "idk policy push",
    )  # fmt: skip


def test_the_store_fails_and_the_answers_go_on(tmp_path: Path, upstream: FakeUpstream):
    (tmp_path / "idk.db").mkdir()  # no file can be opened there
    path = write_config(tmp_path, config_of(upstream, enforced("r", least=-1.0)))
    with Proxy("--config", path, cwd=tmp_path) as proxy:
        proxy.says("the store failed; requests are still answered")
        assert verdict_of(proxy, upstream)["text"] == "Paris"
        feedback = {"id": "idk-0", "label": "correct"}
        response = proxy.post(feedback, "/v1/feedback")
        assert (response.status_code, response.headers["retry-after"]) == (503, "2")
        assert proxy.metric("idk_store_errors_total", operation="follow") > 0
        (tmp_path / "idk.db").rmdir()
        proxy.says("the store is available again")
        wait_until(lambda: proxy.post(feedback, "/v1/feedback").status_code == 404, "it does not heal")


async def kept(tmp_path: Path) -> list:
    """Return every label in the folder's store."""
    store = make_store("sqlite:///idk.db", tmp_path, Sealer())
    await store.open()
    try:
        return [each.label for each in await store.labelled("r")]
    finally:
        await store.aclose()


def test_feedback_is_kept_by_either_id(tmp_path: Path, upstream: FakeUpstream):
    path = write_config(tmp_path, config_of(upstream, enforced("r", least=-1.0), workers=2))
    with Proxy("--config", path, cwd=tmp_path) as proxy:
        prompt = upstream.script(answer(says("Paris"), id="chatcmpl-of-its-own"))
        response = proxy.post(asking("r", prompt))
        theirs, ours = response.json()["id"], response.headers["x-request-id"]
        first = proxy.post({"id": ours, "label": "incorrect"}, "/v1/feedback")
        assert (first.status_code, first.json()) == (
            200, {"id": ours, "choice": 0, "label": "incorrect", "recorded": True}
        )  # fmt: skip
        again = proxy.post({"id": theirs, "label": "incorrect", "choice": 0}, "/feedback")
        assert again.json() == first.json()
        assert proxy.metric("idk_feedback_total", route="r", label="incorrect") == 1
        unknown = proxy.post({"id": "idk-unknown", "label": "correct"}, "/v1/feedback")
        assert (unknown.status_code, unknown.json()["error"]["code"]) == (404, "unknown_id")
        assert proxy.post({"id": ours, "label": "correct", "choice": 1}, "/v1/feedback").status_code == 404
        assert proxy.post({"id": ours, "label": "maybe"}, "/v1/feedback").status_code == 400
        assert httpx.get(f"{proxy.url}/v1/feedback").status_code == 405
    (label,) = asyncio.run(kept(tmp_path))
    assert (label.id, label.label, label.source) == (ours, "incorrect", "feedback")


def test_an_upstream_alone_leaves_no_file_behind(tmp_path: Path, upstream: FakeUpstream):
    with Proxy("--upstream", upstream.base_url, "--workers", "2", cwd=tmp_path) as proxy:
        response = proxy.post(asking("m", upstream.script(answer(says("Paris")))))
        label = {"id": response.headers["x-request-id"], "label": "correct"}
        assert proxy.post(label, "/v1/feedback").status_code == 200
    assert list(tmp_path.iterdir()) == []
