"""The command ``llm`` with a model of its extra-openai-models.yaml: whole and streamed."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from common import BASE_URL, MODEL, PROMPTS, show

with tempfile.TemporaryDirectory() as folder:
    Path(folder, "extra-openai-models.yaml").write_text(
        f"- model_id: {MODEL}\n  model_name: {MODEL}\n  api_base: {BASE_URL}\n"
    )

    def asks(prompt, *options):
        command = [sys.executable, "-m", "llm", "-m", MODEL, "--key", "none", *options, prompt]
        environment = {**os.environ, "LLM_USER_PATH": folder}
        ran = subprocess.run(
            command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=True
        )
        return ran.stdout.strip()

    show(
        whole={case: asks(prompt, "--no-stream") for case, prompt in PROMPTS.items()},
        streamed={case: asks(prompt) for case, prompt in PROMPTS.items()},
    )
