"""One proxy for all faults, so that what one of them leaves behind is seen at the end; and a record of each try."""

from __future__ import annotations

import json
import os
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.e2e.proxies import Proxy, enforced, route, write_config
from tests.fakes import FakeUpstream
from tests.faults.tasks import Tasks

if TYPE_CHECKING:
    from collections.abc import Iterator

#: What the upstream may take at the most; a client's deadline is a multiple of it.
TIMEOUT_S = 0.4
MOST_BYTES = 300_000


class Record:
    """What was tried and what the client saw; written for the table if ``IDK_RELIABILITY`` names a file."""

    def __init__(self) -> None:
        self.seen: dict[str, Counter[str]] = {}

    def add(self, fault: str, outcome: str) -> None:
        """Count one try of ``fault``."""
        self.seen.setdefault(fault, Counter())[outcome] += 1

    def write(self, path: Path) -> None:
        """Write the record, and keep what other suites have written to the file."""
        before: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
        path.write_text(
            json.dumps(before | {name: dict(found) for name, found in self.seen.items()}, indent=1)
        )


@pytest.fixture(scope="session")
def record() -> Iterator[Record]:
    kept = Record()
    yield kept
    if path := os.environ.get("IDK_RELIABILITY"):
        kept.write(Path(path))


@pytest.fixture(scope="session")
def upstream() -> Iterator[FakeUpstream]:
    with FakeUpstream() as server:
        yield server


def config_for(base_url: str) -> dict[str, Any]:
    """Two routes to one upstream: one withholds what is not sure enough, one only looks."""
    fake = {
        "base_url": base_url,
        "max_retries": 0,
        "timeout_s": TIMEOUT_S,
        "breaker": {"failures": 0},
        "formats": ["chat"],
    }
    return {
        "server": {"max_answer_bytes": MOST_BYTES, "keepalive_s": 0.1, "store": "memory://"},
        "upstreams": {"fake": fake, "gone": {**fake, "base_url": "http://127.0.0.1:9/v1"}},
        "routes": [
            enforced("enforce"),
            route("observe", scorers=["mean_logprob"]),
            enforced("gone-enforce", upstream="gone"),
            route("gone-observe", "gone", scorers=["mean_logprob"]),
        ],
    }


@pytest.fixture(scope="session")
def tasks(tmp_path_factory: pytest.TempPathFactory) -> Tasks:
    return Tasks(tmp_path_factory.mktemp("tasks"))


@pytest.fixture(scope="session")
def proxy(upstream: FakeUpstream, tmp_path_factory: pytest.TempPathFactory, tasks: Tasks) -> Iterator[Proxy]:
    folder = tmp_path_factory.mktemp("faults")
    path = write_config(folder, config_for(upstream.base_url))
    with Proxy("--config", path, cwd=folder, env=tasks.environ) as running:
        yield running
