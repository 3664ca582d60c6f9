"""Servers that are started once for the whole run: embedded models, a fake upstream, and a proxy before it."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from calibrators import CALIBRATORS
from gating import SCORERS, Certificate, Policy
from gating.combine import Single
from gating.risk import upper_bound
from proxy.demo.embedded.fetch import Weights, fetch
from proxy.demo.embedded.models import DEFAULT, MODELS
from proxy.demo.embedded.server import EmbeddedServer
from tests.e2e.proxies import Proxy, enforced, route, write_config
from tests.fakes import FakeUpstream

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def weights_of(name: str) -> Weights:
    """Return the weights of the table; a developer's IDK_MODEL must not change the tests."""
    return fetch(
        MODELS[name], environ={key: value for key, value in os.environ.items() if key != "IDK_MODEL"}
    )


@pytest.fixture(scope="session")
def small_weights() -> Weights:
    """SmolLM2-135M: starts in half a second, too weak to be worth gating."""
    return weights_of("smollm2")


@pytest.fixture(scope="session")
def small_model_server(small_weights: Weights) -> Iterator[str]:
    """The base URL of SmolLM2."""
    with EmbeddedServer(small_weights) as server:
        yield server.base_url


@pytest.fixture(scope="session")
def model_server() -> Iterator[str]:
    """The base URL of the demo's model."""
    with EmbeddedServer(weights_of(DEFAULT)) as server:
        yield server.base_url


@pytest.fixture(scope="session")
def upstream() -> Iterator[FakeUpstream]:
    """The fake upstream that most tests share."""
    with FakeUpstream() as server:
        yield server


def fitted_policy(**changes: Any) -> Policy:
    """Platt's sigmoid over the mean logprob: surer than 0.8 that -0.01 is right, and not that -3 is."""
    rng = np.random.default_rng(0)
    log_odds = rng.uniform(-4, 6, size=400)
    correct = (rng.random(400) < 1 / (1 + np.exp(-log_odds))).astype(float)
    calibrator = CALIBRATORS["platt"]().fit(log_odds, correct)
    return Policy("support", Single(SCORERS["mean_logprob"]), calibrator, threshold=0.8, **changes)


def certified_policy() -> Policy:
    """Return the policy with a certificate, for answers of one model at temperature 0."""
    certificate = Certificate(0.1, 0.1, errors=3, answered=120, total=200, bound=upper_bound(3, 120, 0.1))
    return fitted_policy(
        certificate=certificate, fingerprint={"model": "certified", "fields": {"temperature": 0}}
    )


@pytest.fixture(scope="session")
def proxy(upstream: FakeUpstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    """``idk serve`` with a route for each way of gating; a request's model names its route."""
    folder: Path = tmp_path_factory.mktemp("proxy")
    (folder / "policy.json").write_text(json.dumps(fitted_policy().to_dict()))
    (folder / "certified.json").write_text(json.dumps(certified_policy().to_dict()))
    fake = {
        "base_url": upstream.base_url,
        "max_retries": 0,
        "batches": "allow",
        "pass": ["/slow", "/things/*", "/uploads"],
    }
    config = {
        "server": {"max_body_bytes": 100_000, "max_answer_bytes": 300_000, "keepalive_s": 0.2},
        "upstreams": {
            "fake": {**fake, "timeout_s": 20},
            "keyed": {**fake, "api_key_env": "IDK_TEST_KEY"},
            "hasty": {**fake, "timeout_s": 0.2},
            "patient": {**fake, "max_retries": 2},
            "bare": fake,
            "mute": {**fake, "logprobs": "none"},
            "chats": {**fake, "formats": ["chat"]},
            "anthropic": {**fake, "formats": ["messages"], "api_key_env": "IDK_TEST_KEY"},
            "nobody": {**fake, "base_url": "http://127.0.0.1:9/v1"},
        },
        "routes": [
            route("observe", scorers=["mean_logprob"]),
            enforced("enforce"),
            route("policy", mode="enforce", policy="policy.json", allow_override=True),
            route("certified", mode="enforce", policy="certified.json", allow_override=True),
            route("fixed", mode="enforce", policy="policy.json"),
            route("off", mode="off"),
            enforced("minimum", "min_logprob", -2.0),
            enforced("sequence", "sequence_logprob", -2.0),
            enforced("entropy", "topk_entropy", -0.5),
            enforced("lenient", on_unmeasured="answer"),
            enforced("french", abstain_text="Je ne sais pas."),
            enforced("keyed", upstream="keyed"),
            enforced("hasty", upstream="hasty"),
            route("hasty-observe", "hasty"),
            enforced("patient", upstream="patient"),
            enforced("bare", upstream="bare"),
            enforced("mute", upstream="mute"),
            enforced("nobody", upstream="nobody"),
            route("chats", "chats", mode="enforce", policy="policy.json"),
            route("chats-observe", "chats"),
            route("chats-off", "chats", mode="off"),
            enforced("anthropic", upstream="anthropic"),
            enforced("anthropic-lenient", upstream="anthropic", on_unmeasured="answer"),
            route("anthropic-observe", "anthropic"),
            route("anthropic-off", "anthropic", mode="off"),
            route("nobody-observe", "nobody"),
            {**enforced("renamed"), "models": ["alias-*"], "model": "real", "params": {"temperature": 0.5}},
        ],
    }
    environ = {**os.environ, "IDK_TEST_KEY": "sk-secret-of-the-upstream"}
    with Proxy("--config", write_config(folder, config), cwd=folder, env=environ) as process:
        yield process
