"""The gate of a route: its policy from the store or a file, or a single score."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gating import SCORERS, Gate
from gating.gate import Uncalibrated, tightened
from gating.types import GatingError
from proxy.control.policies import policy_of
from proxy.exceptions import ConfigError

if TYPE_CHECKING:
    from pathlib import Path

    from proxy.config import Route as RouteConfig
    from proxy.control.policies import LoadedPolicy, StoreSnapshot

#: The scorer of an observing route that names none.
_DEFAULT_SCORER = "mean_logprob"


def gate_of(config: RouteConfig, folder: Path, snapshot: StoreSnapshot) -> tuple[Gate, LoadedPolicy | None]:
    """Return the route's gate, and its policy if it has one; raises ConfigError."""
    place = f"routes.{config.name}"
    if config.policy is None:
        scorer = SCORERS[config.scorers[0] if config.scorers else _DEFAULT_SCORER]
        rule = Uncalibrated(scorer, config.score_threshold)
        return Gate(rule, on_unmeasured=config.on_unmeasured), None
    loaded = policy_of(config, folder, snapshot)
    policy = loaded.policy
    try:
        gate = Gate(policy, threshold=config.threshold, on_unmeasured=config.on_unmeasured)
    except GatingError as exc:
        raise ConfigError(f"{place}: {exc}") from exc
    if snapshot.closed(config, loaded.version):
        return Gate(
            gate.rule, gate.threshold, on_unmeasured="abstain"
        ), loaded  # Route.applies says no from now on
    alarm = snapshot.alarm(config.name, loaded.version)
    threshold = None if alarm is None else alarm.tightens(config)
    return gate if threshold is None or gate.limit is None else tightened(gate, threshold), loaded
