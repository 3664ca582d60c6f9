"""The pages that are made from the code say what the code has; building the site wants mkdocs, this does not."""

from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING

import pytest

from proxy.cli.main import COMMANDS
from proxy.metrics import Metrics
from tests.docs.blocks import ROOT

if TYPE_CHECKING:
    from collections.abc import Mapping


@pytest.fixture(scope="module")
def pages() -> Mapping[str, str]:
    """Path below docs/ -> its Markdown."""
    spec = importlib.util.spec_from_file_location("hooks", ROOT / "docs" / "hooks.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    made: Mapping[str, str] = module.pages()
    return made


def test_every_command_tells_its_help(pages: Mapping[str, str]) -> None:
    parts = pages["reference/commands.md"].split("\n## idk ")[1:]
    assert [part.partition("\n")[0] for part in parts] == list(COMMANDS)
    for part in parts:
        assert "Usage: idk" in part


def test_every_metric_stands_there(pages: Mapping[str, str]) -> None:
    for family in Metrics().registry.collect():
        assert f"`{family.name}" in pages["reference/metrics.md"]


@pytest.mark.parametrize(
    "key", ["requests_per_minute", "retention", "on_unmeasured", "score_threshold", "audit"]
)
def test_keys_of_the_configuration_stand_there(pages: Mapping[str, str], key: str) -> None:
    assert f"| `{key}` |" in pages["reference/configuration.md"]
