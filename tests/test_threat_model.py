"""Tests of docs/threat-model.md: each threat names the tests that show its answer, and these tests exist."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "threat-model.md"
NAMED = re.compile(r"`(tests/[\w/]+\.py)::([\w:]+)`")


def rows() -> list[str]:
    """Return the rows of the tables of threats, without their headers."""
    section = PAGE.read_text().partition("\n## Threats\n")[2].partition("\n## ")[0]
    heads = ("| threat |", "| --- |")
    return [line for line in section.splitlines() if line.startswith("|") and not line.startswith(heads)]


def names(path: Path) -> set[str]:
    """Return the names of a file's tests: functions, classes, and methods as ``Class::method``."""
    found = set()
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            found.add(node.name)
        elif isinstance(node, ast.ClassDef):
            found.add(node.name)
            found |= {
                f"{node.name}::{each.name}"
                for each in node.body
                if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef)
            }
    return {name for name in found if name.rpartition("::")[2].startswith(("test_", "Test"))}


@pytest.mark.parametrize("row", rows(), ids=lambda row: row.split("|")[1].strip()[:60])
def test_a_threat_names_existing_tests(row):
    shown = NAMED.findall(row.split("|")[3])
    assert shown, row
    for path, test in shown:
        assert (ROOT / path).is_file(), path
        assert test in names(ROOT / path), f"{path}::{test}"


def test_known_vulnerabilities_of_similar_products_are_covered():
    text = PAGE.read_text()
    for known in ("CVE-2024-6587", "CVE-2025-66405", "CVE-2026-42208", "CVE-2026-48710", "cache", "litellm #15799",
                  "litellm #5762", "litellm #12159", "litellm #37140", "vllm #10234", "NaN"):  # fmt: skip
        assert known in text, known
    assert len(rows()) > 30
