"""The demonstration in a real process, on the smallest of the models."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import openai
import pytest

from proxy.questions import questions

pytestmark = pytest.mark.model
COMMAND = [sys.executable, "-m", "proxy.cli.main", "demo"]
_POINTING = re.compile(r'client = OpenAI\(base_url="(\S+)", api_key="unused"\)')


@pytest.mark.skipif(sys.platform != "linux", reason="Linux's /proc names a process's children")
def test_it_asks_fits_gates_stays_up_and_leaves_nothing(small_weights: object, tmp_path: Path) -> None:
    nowhere = "http://127.0.0.1:9"  # the way out is closed: loopback needs none
    environ = {key: value for key, value in os.environ.items() if key != "IDK_MODEL"}
    environ |= {"TMPDIR": str(tmp_path), "HTTP_PROXY": nowhere, "ALL_PROXY": nowhere}
    command = [*COMMAND, "--model", "smollm2", "--questions", "80", "--json", "--serve"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environ
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        said: list[str] = []
        try:
            for line in process.stderr:
                said.append(line)
                if found := _POINTING.search(line):
                    break
            assert found, "".join(said)
            assert_gated(found[1])
            (model,) = children(process.pid)
        finally:
            process.send_signal(signal.SIGTERM)
        assert_sound(json.loads(process.stdout.read()))
        process.stderr.read()
    assert process.returncode == 130
    assert not Path(f"/proc/{model}").exists()
    assert list(tmp_path.iterdir()) == []
    assert any("second half" in line for line in said)


def assert_gated(base_url: str) -> None:
    """The two lines that point an app at the proxy do."""
    with openai.OpenAI(
        base_url=base_url, api_key="unused", http_client=openai.DefaultHttpxClient(trust_env=False)
    ) as client:
        got = client.chat.completions.create(
            model="gated", messages=[{"role": "user", "content": questions()[0].question}], max_tokens=8
        )
    assert (got.model_extra or {})["idk"]["mode"] == "enforce"


def assert_sound(told: dict[str, Any]) -> None:
    """The figures agree with each other, and what is shown with what was decided."""
    always = told["always"]
    assert told["n"] == always["right"] + always["wrong"] + always["abstained"]
    assert 30 <= told["n"] <= 50
    assert told["policy"]["threshold"] == 0.75
    assert told["policy"]["fitted_on"] <= 80 - told["n"]
    for target, gated in told["gated"].items():
        assert gated["right"] <= always["right"]
        assert gated["wrong"] <= always["wrong"]
        assert gated["right"] + gated["wrong"] + gated["abstained"] == told["n"]
        assert gated["gain"] == pytest.approx(gated["score"] - always["score"][target])
    for shown in told["examples"]:
        withheld = shown["decision"] == "abstain"
        assert (shown["app"] == "I don't know.") == withheld
        assert 0.0 <= shown["confidence"] <= 1.0


def children(process: int) -> list[int]:
    """The processes that this one started; threads other than the first start none."""
    return [int(child) for child in Path(f"/proc/{process}/task/{process}/children").read_text().split()]


def test_an_unknown_model_is_named_with_the_mend() -> None:
    done = subprocess.run(
        [*COMMAND, "--model", "gpt-9"], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 2
    assert done.stderr.strip() == "idk: --model: gpt-9 is unknown; choose one of 0.5b, 1.5b, smollm2"
