"""Storage of policies, decisions, labels, audit samples, risk states and client keys, in SQLite or Redis."""

from proxy.storage.sealing import Sealer, sealer_of
from proxy.storage.store import Store
from proxy.storage.types import (
    AuditItem,
    Count,
    DecisionQuery,
    DecisionRecord,
    Label,
    Labelled,
    Page,
    PolicyChange,
    PolicyTally,
    RiskState,
    SampledOutcome,
    StoredKey,
    StoredPolicy,
)
from proxy.storage.urls import MEMORY_URL, make_store

__all__ = [
    "MEMORY_URL",
    "AuditItem",
    "Count",
    "DecisionQuery",
    "DecisionRecord",
    "Label",
    "Labelled",
    "Page",
    "PolicyChange",
    "PolicyTally",
    "RiskState",
    "SampledOutcome",
    "Sealer",
    "Store",
    "StoredKey",
    "StoredPolicy",
    "make_store",
    "sealer_of",
]
