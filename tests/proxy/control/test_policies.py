"""Policies: a hostile file is refused on load, quickly and in one line."""

from __future__ import annotations

import copy
import json
import time
from typing import TYPE_CHECKING, Any

import pytest

from calibrators import CALIBRATORS
from gating import SCORERS, Policy
from gating.combine import Single
from proxy.control.policies import load_policy
from proxy.exceptions import ConfigError
from tests.proxy.policies import POLICY

if TYPE_CHECKING:
    from pathlib import Path

GOOD = json.dumps(POLICY.to_dict())
VENN_ABERS = Policy(
    name="support",
    combination=Single(SCORERS["mean_logprob"]),
    calibrator=CALIBRATORS["venn_abers"]().fit([-1.0, -0.5, -0.1] * 20, [0, 1, 1] * 20),
    threshold=0.5,
)


def load(folder: Path, content: str) -> Policy:
    path = folder / "policy.json"
    path.write_text(content)
    return load_policy(path, "--policy")


def changed(policy: Policy, *keys: str, value: Any) -> str:
    saved = copy.deepcopy(policy.to_dict())
    place = saved
    for key in keys[:-1]:
        place = place[key]
    place[keys[-1]] = value
    return json.dumps(saved)


HOSTILE = {
    "many answered": changed(POLICY, "certificate", "answered", value=10**13),
    "more answered": changed(POLICY, "certificate", "answered", value=10**15),
    "many labels": changed(POLICY, "certificate", "total", value=10**17),
    "many fitted": changed(POLICY, "fitted_on", value={"fit": 10**12}),
    "a huge integer": changed(POLICY, "threshold", value=10**401),
    "a huge count": changed(POLICY, "certificate", "errors", value=10**401),
    "a huge fingerprint": changed(POLICY, "fingerprint", "k", value=10**401),
    "a huge calibrator": changed(POLICY, "calibrator", "version", value=10**401),
    "a surrogate": changed(POLICY, "name", value="\ud800"),
    "a surrogate in the fingerprint": changed(POLICY, "fingerprint", value={"\ud800": 1}),
    "a duplicate key": GOOD[:-1] + ', "threshold": 0.0}',
    "a nested duplicate key": GOOD.replace('"target_risk":', '"target_risk": 0.01, "target_risk":'),
    "NaN": GOOD.replace('"threshold": 0.6', '"threshold": NaN'),
    "a list": "[1]",
    "nesting": "[" * 100_000,
    "nothing": "",
    "a division by zero": changed(
        VENN_ABERS, "calibrator", value=VENN_ABERS.calibrator.to_dict() | {
            "lower_scores": [0.0], "lower": [0.0, 1.0], "upper_scores": [0.0], "upper": [0.0, 1.0],
        }
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_hostile_policy_is_refused_in_one_line(tmp_path: Path, kind: str) -> None:
    began = time.perf_counter()
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, HOSTILE[kind])
    assert time.perf_counter() - began < 2.0
    said = str(caught.value)
    assert "\n" not in said
    assert len(said) < 700
    said.encode()


def test_a_sound_policy_is_loaded(tmp_path: Path) -> None:
    assert load(tmp_path, GOOD).to_dict() == POLICY.to_dict()
    assert load(tmp_path, json.dumps(VENN_ABERS.to_dict())).threshold == 0.5


def test_a_bound_below_the_exact_one_is_refused(tmp_path: Path) -> None:
    bound = POLICY.to_dict()["certificate"]["bound"]
    with pytest.raises(ConfigError, match="the exact bound of its counts"):
        load(tmp_path, changed(POLICY, "certificate", "bound", value=bound * 0.999))
