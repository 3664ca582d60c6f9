"""A policy's file or the configuration is read while it is half written: what was in force stays, and then it heals."""

from __future__ import annotations

import json
import signal
from typing import TYPE_CHECKING

import pytest

from tests.e2e.conftest import fitted_policy
from tests.e2e.proxies import Proxy, route, write_config
from tests.fakes import answer, says
from tests.faults.process import Process
from tests.faults.upstreams import SECRET
from tests.faults.ways import MODES, PLAINLY, UNKNOWN, WAYS, outcome_class

if TYPE_CHECKING:
    from pathlib import Path

    from tests.fakes import FakeUpstream

UNSURE = answer(says(*SECRET, logprob=-3.0))
#: How much of the file is there when it is read.
SHARES = (0.0, 0.2, 0.5, 0.8, 0.97)


def _config(folder: Path, upstream: FakeUpstream) -> Path:
    config = {
        "server": {"store": "memory://"},
        "upstreams": {"fake": {"base_url": upstream.base_url, "max_retries": 0, "formats": ["chat"]}},
        "routes": [route(mode, mode=mode, policy="policy.json") for mode in MODES],
    }
    return write_config(folder, config)


@pytest.mark.parametrize("name", ["policy.json", "idk.yaml"])
def test_half_a_file(name, upstream, tmp_path, record):
    (tmp_path / "policy.json").write_text(json.dumps(fitted_policy().to_dict()))
    path = _config(tmp_path, upstream)
    whole = (tmp_path / name).read_bytes()
    prompt = upstream.script(UNSURE)
    with Proxy("--config", path, cwd=tmp_path) as proxy:
        for tried, share in enumerate(SHARES, start=1):
            (tmp_path / name).write_bytes(whole[: int(share * len(whole))])
            proxy.signal(signal.SIGHUP)
            assert Process.settles(
                lambda n=tried: proxy.metric("idk_config_reloads_total", outcome="refused") >= n
            )
            for way in WAYS:
                got = proxy.post(way.asks(prompt), way.path)
                said = way.said(got)
                assert said == way.unsure()
                record.add(f"{name}: half written when it is read", outcome_class(got, said))
        assert proxy.metric("idk_config_reloads_total", outcome="applied") == 0
        (tmp_path / name).write_bytes(whole)
        assert Process.settles(lambda: proxy.metric("idk_config_reloads_total", outcome="applied") >= 1)
        assert PLAINLY.said(proxy.post(PLAINLY.asks(prompt))) == UNKNOWN
