"""The rules of security that the linter knows (ruff's S, which are bandit's) hold, or the line says why not."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("calibrators", "gating", "proxy")
#: A rule that is ignored on a line, and the reason after it.
IGNORED = re.compile(r"# noqa: (?P<rules>[A-Z0-9, ]+?)(?: - (?P<why>\S.*))?$")


def ruff(*arguments: str) -> subprocess.CompletedProcess[str]:
    program = Path(sys.executable).with_name("ruff")
    command = [program, "check", "--no-cache", *arguments, *PACKAGES]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def settings() -> Any:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["ruff"]["lint"]


def test_the_rules_of_security_are_on_for_the_packages():
    lint = settings()
    assert "S" in lint["select"]
    assert not any(rule.startswith("S") and rule[1:].isdigit() for rule in lint["ignore"])
    for pattern, rules in lint["per-file-ignores"].items():
        if pattern.startswith(PACKAGES):
            assert not any(re.fullmatch(r"S\d*", rule) for rule in rules), pattern


def test_they_hold():
    result = ruff("--select", "S")
    assert result.returncode == 0, result.stdout


@pytest.mark.parametrize("package", PACKAGES)
def test_whoever_ignores_one_says_why(package):
    for path in sorted((ROOT / package).rglob("*.py")):
        for number, line in enumerate(path.read_text().splitlines(), start=1):
            found = IGNORED.search(line)
            if found is not None and re.search(r"\bS\d", found["rules"]):
                assert found["why"], f"{path.relative_to(ROOT)}:{number}: why is {found['rules']} ignored?"


def test_nothing_is_ignored_for_a_whole_file_or_without_naming_the_rule():
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            text = path.read_text()
            assert "ruff: noqa" not in text, path
            assert not re.search(r"# noqa(?!: )|# nosec", text), path
