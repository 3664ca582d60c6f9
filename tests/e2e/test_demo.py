"""The demonstration in a real process, on the smallest of the models."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
from functools import partial
from pathlib import Path
from typing import Any

import openai
import pytest

from proxy.demo.questions import SYSTEM_PROMPT

pytestmark = pytest.mark.model
COMMAND = [sys.executable, "-m", "proxy.cli.main", "demo"]
#: The last of the lines that it prints for an app.
_ASKING = "client.chat.completions.create"


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
                if _ASKING in line:
                    break
            assert_gated("".join(said).partition("In an app")[2].partition("\n\n")[2])
            (model,) = children(process.pid)
        finally:
            process.send_signal(signal.SIGTERM)
        assert_sound(json.loads(process.stdout.read()))
        process.stderr.read()
    assert process.returncode == 130
    assert not Path(f"/proc/{model}").exists()
    assert list(tmp_path.iterdir()) == []
    assert any("second half" in line for line in said)


def assert_gated(lines: str) -> None:
    """Check that the printed lines, run unchanged, ask through the proxy."""
    given: dict[str, Any] = {
        "OpenAI": partial(openai.OpenAI, http_client=openai.DefaultHttpxClient(trust_env=False))
    }
    exec(textwrap.dedent(lines).replace(_ASKING, f"got = {_ASKING}"), given)
    given["client"].close()
    assert given["system"]["content"] == SYSTEM_PROMPT
    assert (given["got"].model_extra or {})["idk"]["mode"] == "enforce"


def assert_sound(told: dict[str, Any]) -> None:
    """Check that the figures are consistent, and the examples consistent with the decisions."""
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
        # An answer that the length limit cut off has no confidence where no label was cut off.
        assert (withheld and shown["confidence"] is None) or 0.0 <= shown["confidence"] <= 1.0


def children(process: int) -> list[int]:
    """Return the child processes; only the main thread starts any."""
    return [int(child) for child in Path(f"/proc/{process}/task/{process}/children").read_text().split()]


def test_an_unknown_model_is_named_with_the_mend() -> None:
    done = subprocess.run(
        [*COMMAND, "--model", "gpt-9"], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 2
    assert done.stderr.strip() == "idk: --model: gpt-9 is unknown; choose one of 0.5b, 1.5b, smollm2"
