"""Tests of the chart: it is valid for Kubernetes, and its configuration is valid for idk."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from proxy import config
from proxy.exceptions import ConfigError
from tests.deploy.conftest import ROOT, clean, tool
from tests.deploy.render import VALUES

if TYPE_CHECKING:
    from pathlib import Path

#: Kinds of the Prometheus operator, whose schemas Kubernetes does not include.
OPERATORS = {"ServiceMonitor", "PrometheusRule"}


def objects(folder: Path) -> list[dict[str, Any]]:
    """Return every object of a rendered folder."""
    return [
        each
        for path in sorted(folder.glob("*.yaml"))
        for each in yaml.safe_load_all(path.read_text())
        if each is not None
    ]


def the(folder: Path, kind: str, name: str = "release-idk") -> dict[str, Any]:
    """Return the only object of a kind and name."""
    (found,) = [each for each in objects(folder) if (each["kind"], each["metadata"]["name"]) == (kind, name)]
    return found


@pytest.mark.parametrize("values", VALUES)
def test_the_chart_is_valid(rendered: Path, tmp_path: Path, values: str) -> None:
    folder = rendered / values
    assert json.loads((folder / "lint.json").read_text())["errors"] == []
    files = []
    for number, each in enumerate(objects(folder)):
        if each["kind"] not in OPERATORS:
            files.append(tmp_path / f"{number}.yaml")
            files[-1].write_text(yaml.safe_dump(each))
    for version in ("1.29.0", "1.37.0"):
        clean(tool("kubernetes-validate", "--strict", "-k", version, *files))


@pytest.mark.parametrize("values", VALUES)
def test_its_configuration_is_one_that_idk_takes(rendered: Path, values: str) -> None:
    text = the(rendered / values, "ConfigMap")["data"]["idk.yaml"]
    text = text.replace("IDK_STORE", "redis://:secret@redis:6379/0")
    if "open" in values or "external" in values:
        assert config.parse(text, values).server.host == "0.0.0.0"
    else:  # a public address with neither keys nor `open` is refused, here as anywhere
        with pytest.raises(ConfigError, match=r"server\.host"):
            config.parse(text, values)


def test_a_pod_outlives_its_drain(rendered: Path) -> None:
    spec = the(rendered / "default", "Deployment")["spec"]["template"]["spec"]
    server = yaml.safe_load(the(rendered / "default", "ConfigMap")["data"]["idk.yaml"])["server"]
    assert spec["terminationGracePeriodSeconds"] > server["drain_s"] + server["drain_lead_s"] + 3


def test_a_store_url_with_a_password_stays_in_its_secret(rendered: Path) -> None:
    folder = rendered / "secret-redis"
    spec = the(folder, "Deployment")["spec"]["template"]["spec"]
    (environ,) = spec["initContainers"][0]["env"]
    assert environ["valueFrom"]["secretKeyRef"] == {"name": "store", "key": "url"}
    assert not [each for each in objects(folder) if each["kind"] in ("Secret", "StatefulSet")]


def test_pods_scale_on_cpu_and_in_flight_requests(rendered: Path) -> None:
    metrics = the(rendered / "everything", "HorizontalPodAutoscaler")["spec"]["metrics"]
    assert [each["type"] for each in metrics] == ["Resource", "Pods"]
    named = metrics[1]["pods"]["metric"]["name"]
    assert f"record: {named}\n" in (ROOT / "deploy/prometheus/rules.yml").read_text()


def test_the_operator_gets_the_rules_that_were_tested(rendered: Path) -> None:
    given = the(rendered / "everything", "PrometheusRule")["spec"]
    assert given == yaml.safe_load((ROOT / "deploy/prometheus/rules.yml").read_text())


@pytest.mark.parametrize(
    ("values", "word"),
    [
        ({"replica": 3}, "replica"),
        ({"config": {"server": {"store": "memory://"}}}, "server"),
        ({"redis": {"url": "redis://:secret@redis"}}, "url"),
        ({"redis": {"bundled": False}}, "replicas share a store"),
        ({"secrets": [{"variable": "OPENAI_API_KEY", "value": "sk-1"}]}, "secret"),
    ],
)
def test_invalid_values_are_refused(tmp_path: Path, values: dict[str, Any], word: str) -> None:
    result = tool("python", "-m", "tests.deploy.render", tmp_path, given=json.dumps(values))
    said = result.stderr + "".join(path.read_text() for path in tmp_path.rglob("lint.json"))
    assert word in said
    assert result.returncode != 0
