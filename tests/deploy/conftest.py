"""The tools of the deployment tests, which are installed in a separate environment."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
TOOLS = ROOT / ".venv" / "deploy" / "bin"


def tool(name: str, *arguments: object, given: str = "") -> subprocess.CompletedProcess[str]:
    """Run a tool of deploy/tools.txt, or one on the PATH, in the repository, and return its result."""
    path = TOOLS / name
    found = str(path) if path.exists() else shutil.which(name)
    if found is None:
        pytest.fail(f"{name} is not installed: run make test-deploy")
    command = [found, *map(str, arguments)]
    return subprocess.run(
        command, cwd=ROOT, input=given, capture_output=True, text=True, timeout=300, check=False
    )


def clean(result: subprocess.CompletedProcess[str]) -> str:
    """Return the output of a tool that must have succeeded."""
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


@pytest.fixture(scope="session")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Render the chart with every set of values: a folder for each set."""
    folder = tmp_path_factory.mktemp("rendered")
    clean(tool("python", "-m", "tests.deploy.render", folder))
    return folder
