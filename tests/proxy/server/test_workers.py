"""What workers share: summed metrics, and the files of dead workers; real workers are in tests/e2e/test_workers.py."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from functools import partial

import pytest

from proxy.app import AppSettings, application_of_worker
from proxy.cli.main import run
from proxy.config import parse
from proxy.metrics import SHARED, Metrics, remove_dead_processes

ROUTE = "upstreams: {u: {base_url: http://127.0.0.1:9/v1}}\nroutes: [{name: r, models: [m], upstream: u}]\n"

#: Run in a new process, since prometheus_client chooses where values are kept when it is imported.
COUNT = """
import os, sys
from gating.types import Decision
from proxy.metrics import SHARED, Metrics
metrics = Metrics(directory=os.environ[SHARED])
route = metrics.route("r")
route.policy("p", float(sys.argv[1]), certified=False)
route.decided(Decision("answer", "confident", confidence=0.9))
route.request_s.observe(0.2)
print(metrics.exposition().decode())
"""


def worker(directory, threshold):
    """Run a process that counts one answer, and return its exposition."""
    environ = {**os.environ, SHARED: str(directory)}
    command = [sys.executable, "-c", COUNT, str(threshold)]
    return subprocess.run(command, env=environ, capture_output=True, text=True, check=True).stdout


def dead_pid():
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_what_dead_workers_counted_stays_and_what_they_had_in_force_does_not(tmp_path):
    assert 'idk_threshold{route="r"} 0.9' in worker(tmp_path, 0.9)
    remove_dead_processes(str(tmp_path))
    exposed = worker(tmp_path, 0.5)
    assert 'idk_requests_total{decision="answer",reason="confident",route="r"} 2.0' in exposed
    assert 'idk_request_duration_seconds_bucket{le="0.25",route="r"} 2.0' in exposed
    assert 'idk_confidence_count{route="r"} 2.0' in exposed
    assert 'idk_threshold{route="r"} 0.5' in exposed


def test_the_living_are_not_forgotten(tmp_path):
    mine, dead = (tmp_path / f"gauge_livemax_{pid}.db" for pid in (os.getpid(), dead_pid()))
    mine.touch()
    dead.touch()
    remove_dead_processes(str(tmp_path))
    assert (mine.exists(), dead.exists()) == (True, False)


def test_the_application_of_a_worker_has_the_metrics_of_that_worker(tmp_path):
    metrics = Metrics()
    setting = AppSettings(parse(ROUTE, "x"), tmp_path)
    assert application_of_worker(setting, metrics).container.metrics is metrics
    assert pickle.loads(pickle.dumps(partial(application_of_worker, setting))).args == (setting,)


@pytest.mark.parametrize("number", ["0", "257", "two"])
def test_numbers_of_workers_that_make_no_sense(number, capsys):
    assert run(["serve", "--upstream", "http://127.0.0.1:9", "--workers", number]) == 2
    assert "workers" in capsys.readouterr().err


def test_what_is_wrong_is_said_once_before_any_worker_starts(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "idk.yaml").write_text(
        ROUTE.replace("upstream: u}", "upstream: u, mode: enforce, policy: none.json}")
    )
    assert run(["serve", "--workers", "2"]) == 2
    message = capsys.readouterr().err
    assert message.startswith("idk: idk.yaml: routes.r.policy: ")
    assert message.count("\n") == 1
