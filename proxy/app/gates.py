"""What judges a route's answers: its policy as the store knows it, or one score."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gating import SCORERS, Gate
from gating.gate import Uncalibrated, tightened
from gating.types import GatingError
from proxy.exceptions import ConfigError
from proxy.policies import policy_of

if TYPE_CHECKING:
    from pathlib import Path

    from proxy.config import Route as RouteConfig
    from proxy.policies import Alarm, Known, Loaded

#: What an observing route without scorers reads.
_DEFAULT_SCORER = "mean_logprob"


def gate_of(config: RouteConfig, folder: Path, known: Known) -> tuple[Gate, Loaded | None]:
    """The route's gate, and the policy that it was made of, if it has one; raises ConfigError."""
    place = f"routes.{config.name}"
    if config.policy is None:
        scorer = SCORERS[config.scorers[0] if config.scorers else _DEFAULT_SCORER]
        rule = Uncalibrated(scorer, config.score_threshold)
        return Gate(rule, on_unmeasured=config.on_unmeasured), None
    loaded = policy_of(config, folder, known)
    policy = loaded.policy
    try:
        gate = Gate(policy, threshold=config.threshold, on_unmeasured=config.on_unmeasured)
    except GatingError as exc:
        raise ConfigError(f"{place}: {exc}") from exc
    return _alarmed(gate, config, known.alarm(config.name, loaded.version)), loaded


def _alarmed(gate: Gate, config: RouteConfig, alarm: Alarm | None) -> Gate:
    """The gate as the route wants it once labels have refuted its policy's certificate."""
    if alarm is None or not alarm.by_audit or config.on_alarm == "warn":
        return gate
    if config.on_alarm == "abstain":
        return Gate(gate.rule, gate.threshold, on_unmeasured="abstain")  # Route.applies says no from now on
    if alarm.threshold is None or gate.limit is None:
        return gate
    return tightened(gate, alarm.threshold)
