"""Records for the store's tests, each with what matters to the test and nothing else to say."""

from __future__ import annotations

from typing import Any

from proxy.records import Answer
from proxy.storage import AuditItem, DecisionRecord, Label, RiskState

SECRET = "a key of more than sixteen characters"


def decided(id: str = "idk-1", at: float = 1000.0, **given: Any) -> DecisionRecord:  # noqa: A002
    """Return a decision; by default an answer of the route ``support`` under ``support@1``."""
    fields: dict[str, Any] = {
        "choice": 0, "route": "support", "mode": "enforce", "decision": "answer", "reason": "confident",
        "source": "logprobs", "policy": "support@1", "confidence": 0.9, "threshold": 0.8, "score": -0.1,
    }  # fmt: skip
    return DecisionRecord(id=id, at=at, **fields | given)


def drawn(record: DecisionRecord, propensity: float = 0.02) -> AuditItem:
    """Return an audit item for the decision."""
    answer = Answer(
        id=record.id, question="Capital of France?", answer="Paris", token_logprobs=[-0.01],
        made_with={"model": "m"},
    )  # fmt: skip
    return AuditItem(decision=record, propensity=propensity, answer=answer)


def said(id: str, label: str = "correct", source: str = "audit", at: float = 2000.0, **given: Any) -> Label:  # noqa: A002
    """Return a label."""
    fields = {"choice": 0, "who": "ada", **given}
    return Label(id=id, label=label, source=source, at=at, **fields)  # type: ignore[arg-type] # as a test says


def risk(route: str = "support", revision: int = 1, **given: Any) -> RiskState:
    """Return a risk state."""
    return RiskState(route=route, policy="support@1", revision=revision, **given)
