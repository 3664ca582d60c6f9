"""The demonstration in a real process, on the smallest of the models."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

pytestmark = pytest.mark.model


def idk_demo(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "proxy.cli.main", "demo", *arguments],
        capture_output=True,
        text=True,
        timeout=240,
        env=os.environ,
        check=False,
    )


def test_it_asks_fits_gates_and_ends() -> None:
    done = idk_demo("--model", "smollm2", "--questions", "80", "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    always = told["always"]
    assert told["n"] == always["right"] + always["wrong"] + always["abstained"]
    assert 30 <= told["n"] <= 50
    for gated in told["gated"].values():
        assert gated["right"] <= always["right"]
        assert gated["wrong"] <= always["wrong"]
        assert gated["right"] + gated["wrong"] + gated["abstained"] == told["n"]
    for shown in told["examples"]:
        withheld = shown["decision"] == "abstain"
        assert (shown["app"] == "I don't know.") == withheld
        assert 0.0 <= shown["confidence"] <= 1.0
    assert "second half" in done.stderr


def test_an_unknown_model_is_named_with_the_mend() -> None:
    done = idk_demo("--model", "gpt-9")
    assert done.returncode == 2
    assert done.stderr.strip() == "idk: --model: gpt-9 is unknown; choose one of 0.5b, 1.5b, smollm2"
