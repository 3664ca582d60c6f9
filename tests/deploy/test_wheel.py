"""Tests of the built wheel in an empty environment: the command, the types, and no tests."""

from __future__ import annotations

import subprocess
import tomllib
import venv
import zipfile
from typing import TYPE_CHECKING

import pytest

from tests.deploy.conftest import ROOT, TOOLS, clean, tool

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the wheel from the sources, and check it as PyPI would."""
    out = tmp_path_factory.mktemp("dist")
    clean(tool("python", "-m", "build", "--no-isolation", "--wheel", "--outdir", out, "."))
    (built,) = out.glob("*.whl")
    clean(tool("twine", "check", "--strict", built))
    return built


def test_it_holds_the_packages_alone(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    tops = {name.split("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"calibrators", "gating", "proxy"}
    assert {"calibrators/py.typed", "gating/py.typed", "proxy/py.typed"} <= set(names)


def test_it_gives_the_command_in_an_empty_environment(wheel: Path, tmp_path: Path) -> None:
    venv.create(tmp_path / "empty", with_pip=False)
    python = tmp_path / "empty" / "bin" / "python"
    clean(tool("uv", "pip", "install", "--quiet", "--python", python, wheel))
    idk = tmp_path / "empty" / "bin" / "idk"
    help_ = subprocess.run([idk, "--help"], cwd=tmp_path, capture_output=True, text=True, check=True).stdout
    assert "serve" in help_
    subprocess.run([idk, "init"], cwd=tmp_path, check=True)
    subprocess.run([idk, "check"], cwd=tmp_path, check=True, capture_output=True)


def test_its_version_needs_no_tag(tmp_path: Path) -> None:
    """Build without .git, as in an archive."""
    clean(tool("python", "-c", f"import shutil; shutil.copytree('proxy', '{tmp_path}/proxy')"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        (tmp_path / name).write_text((ROOT / name).read_text())
    for name in ("gating", "calibrators"):
        (tmp_path / name).symlink_to(ROOT / name)
    built = subprocess.run(
        [TOOLS / "python", "-m", "build", "--no-isolation", "--wheel", "."],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert built.returncode == 0, built.stdout + built.stderr
    fallback = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["version"][
        "fallback-version"
    ]
    assert f"idk_proxy-{fallback}-" in built.stdout
