"""Tests of the generated reference pages. They need no mkdocs; building the site does."""

from __future__ import annotations

import importlib.util
import re
from typing import TYPE_CHECKING

import pytest
import yaml

from proxy.cli.main import COMMANDS
from proxy.metrics import Metrics
from tests.docs.blocks import ROOT

if TYPE_CHECKING:
    from collections.abc import Mapping


@pytest.fixture(scope="module")
def pages() -> Mapping[str, str]:
    """Return the generated pages: path below docs/ -> Markdown."""
    spec = importlib.util.spec_from_file_location("hooks", ROOT / "docs" / "hooks.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    made: Mapping[str, str] = module.pages()
    return made


def test_every_command_and_subcommand_has_its_help(pages: Mapping[str, str]) -> None:
    parts = re.split(r"^##+ idk ", pages["reference/commands.md"], flags=re.MULTILINE)[1:]
    names = [part.partition("\n")[0] for part in parts]
    assert [name for name in names if " " not in name] == list(COMMANDS)
    assert {"policy push", "policy rollback", "key create", "label export"} <= set(names)
    for name, part in zip(names, parts, strict=True):
        assert f"Usage: idk {name}" in part


def test_every_metric_is_listed(pages: Mapping[str, str]) -> None:
    for family in Metrics().registry.collect():
        assert f"`{family.name}" in pages["reference/metrics.md"]


@pytest.mark.parametrize(
    "key", ["requests_per_minute", "retention", "on_unmeasured", "score_threshold", "audit"]
)
def test_keys_of_the_configuration_are_listed(pages: Mapping[str, str], key: str) -> None:
    assert f"| `{key}` |" in pages["reference/configuration.md"]


def test_every_alert_has_a_paragraph_in_the_runbook() -> None:
    rules = yaml.safe_load((ROOT / "deploy" / "prometheus" / "rules.yml").read_text())
    alerts = {rule["alert"] for group in rules["groups"] for rule in group["rules"] if "alert" in rule}
    page = (ROOT / "docs" / "how-to" / "runbook.md").read_text()
    assert set(re.findall(r"^## (\w+)$", page, re.MULTILINE)) == alerts
