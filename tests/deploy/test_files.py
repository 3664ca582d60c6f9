"""Tests of the Dockerfile, the Compose file, the rules and the lock file, each with its own checker."""

from __future__ import annotations

import re
import tomllib

import pytest
import yaml

from proxy import config
from tests.deploy.conftest import ROOT, clean, tool

DEPLOY = ROOT / "deploy"


def test_the_dockerfile_is_clean() -> None:
    assert clean(tool("hadolint", "Dockerfile")) == ""


def interpolated(text: str) -> str:
    """Insert the defaults of variables, as Compose does before it reads the file."""
    return re.sub(r"\$\{\w+:-(.*?)\}", r"\1", text)


def test_the_compose_file_follows_the_specification() -> None:
    # The checker does not resolve YAML's merge keys (<<), so it gets the resolved file.
    text = yaml.safe_dump(yaml.safe_load(interpolated((DEPLOY / "compose.yaml").read_text())))
    read = "import compose_spec, sys; compose_spec.PyCompose.from_yaml(sys.stdin.read())"
    clean(tool("python", "-c", read, given=text))
    assert tool("python", "-c", read, given=text.replace("volumes:", "volume:")).returncode == 1


def test_mounted_files_exist() -> None:
    services = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]
    for name, service in services.items():
        for volume in service.get("volumes", ()):
            source = interpolated(volume).split(":")[0]
            assert not source.startswith(".") or (DEPLOY / source).exists(), (name, source)


def test_every_foreign_image_has_a_version() -> None:
    services = yaml.safe_load(interpolated((DEPLOY / "compose.yaml").read_text()))["services"]
    bundled = yaml.safe_load((DEPLOY / "helm/idk/values.yaml").read_text())["redis"]["image"]
    images = [each["image"] for each in services.values() if "build" not in each]
    for image in [*images, f"{bundled['repository']}:{bundled['tag']}"]:
        assert re.search(r":[a-z-]*v?\d+", image), f"{image}: pin a version"


@pytest.mark.parametrize("name", ["idk.compose.yaml", "idk.embedded.yaml"])
def test_the_configurations_are_valid(name: str) -> None:
    assert config.load(DEPLOY / name).server.store == "redis://redis:6379/0"


def test_the_rules_do_what_they_say() -> None:
    clean(tool("promtool", "check", "config", "deploy/prometheus/prometheus.yml"))
    clean(tool("promtool", "check", "rules", "deploy/prometheus/rules.yml"))
    clean(tool("promtool", "test", "rules", "deploy/prometheus/rules_test.yml"))


def test_every_alert_is_tested() -> None:
    rules = yaml.safe_load((DEPLOY / "prometheus/rules.yml").read_text())
    tests = yaml.safe_load((DEPLOY / "prometheus/rules_test.yml").read_text())
    alerts = {rule["alert"] for group in rules["groups"] for rule in group["rules"] if "alert" in rule}
    fired = {
        each["alertname"] for test in tests["tests"] for each in test["alert_rule_test"] if each["exp_alerts"]
    }
    assert fired == alerts


def test_the_chart_carries_the_same_rules() -> None:
    assert (DEPLOY / "helm/idk/rules.yml").read_bytes() == (DEPLOY / "prometheus/rules.yml").read_bytes()


def test_the_lock_has_every_dependency() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    locked = set(re.findall(r"^([a-z0-9-]+)==", (DEPLOY / "requirements.lock").read_text(), re.MULTILINE))
    for requirement in [*project["dependencies"], *extras["redis"], *extras["seal"]]:
        name = re.split(r"[<>=!~;\[ ]", requirement)[0].lower().replace("_", "-")
        assert name in locked, f"{name}: run make lock"
