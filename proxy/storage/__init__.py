"""Where policies, decisions, labels, the audit sample and the state of risk are kept: ``open_store(url, …)``."""

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
    RiskState,
    StoredKey,
    StoredPolicy,
    Tally,
    Watched,
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
    "RiskState",
    "Sealer",
    "Store",
    "StoredKey",
    "StoredPolicy",
    "Tally",
    "Watched",
    "make_store",
    "sealer_of",
]
