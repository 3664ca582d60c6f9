"""Render the chart with Helm's own engine for several sets of values: ``python -m tests.deploy.render FOLDER``.

It runs in the environment of the tools (helm-python-sdk binds Helm's Go code).
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any, Final

CHART: Final = Path(__file__).parent.parent.parent / "deploy" / "helm" / "idk"
_DIGEST: Final = "sha256:" + "0" * 64
#: The sets of values that are rendered, validated and scanned.
VALUES: Final[dict[str, dict[str, Any]]] = {
    "default": {},
    "open": {"config": {"server": {"open": True}}},
    "secret-redis": {
        "image": {"digest": _DIGEST},
        "redis": {"bundled": False, "urlSecret": {"name": "store", "key": "url"}},
        "secrets": [{"variable": "OPENAI_API_KEY", "secret": "openai", "key": "api-key"}],
        "podAnnotations": {"team": "answers"},
    },
    "external-redis": {
        "redis": {"bundled": False, "url": "rediss://redis.example:6379/0"},
        "config": {"keys": [{"name": "app", "sha256": "0" * 64, "routes": ["default"]}]},
    },
    "everything": {
        "image": {"digest": _DIGEST},
        "redis": {"image": {"digest": _DIGEST}, "storageClassName": "fast"},
        "autoscaling": {"inFlight": 64},
        "monitoring": {"serviceMonitor": True, "prometheusRule": True, "labels": {"release": "prometheus"}},
        "nodeSelector": {"kubernetes.io/arch": "amd64"},
        "tolerations": [{"key": "spot", "operator": "Exists"}],
        "priorityClassName": "answers",
        "imagePullSecrets": [{"name": "registry"}],
        "service": {"type": "LoadBalancer", "annotations": {"a": "b"}},
        "topologySpread": {"zone": "DoNotSchedule"},
    },
    "fixed": {
        "autoscaling": {"enabled": False},
        "networkPolicy": {"enabled": False},
        "podDisruptionBudget": {"enabled": False},
        "replicas": 2,
    },
}


def main() -> None:
    """Write every rendered file and the linter's result; values on standard input replace the table."""
    from helm_python.chart import Chart, lint

    folder = Path(sys.argv[1])
    given = None if sys.stdin.isatty() else sys.stdin.read()
    values = {"given": json.loads(given)} if given else VALUES
    for name, each in values.items():
        (folder / name).mkdir(parents=True, exist_ok=True)
        (folder / name / "lint.json").write_text(json.dumps(lint(str(CHART), each, strict=True)))
        with Chart.load(str(CHART)) as chart:
            for path, text in chart.render(each, name="release", namespace="answers").items():
                if text.strip():
                    (folder / name / Path(path).name).write_text(text)


if __name__ == "__main__":
    main()
