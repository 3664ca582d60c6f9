"""The interface of a store. Its methods raise only StoreError.

StoreRefused, a subclass, means that the store works but cannot do what was asked, such as roll back a missing policy.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

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
        Source,
        StoredKey,
        StoredPolicy,
    )


class Store(Protocol):
    """Policies, decisions, labels, audit samples, risk states, client keys and limits.

    Data is durable when a writing method returns, even if the process is killed at that moment.
    """

    #: The name in error messages, without a password.
    name: str

    async def open(self) -> None:
        """Connect, and migrate an older schema."""
        ...

    async def aclose(self) -> None:
        """Close the connections."""
        ...

    async def revision(self) -> int:
        """Return a number that grows with every change of a policy in force, a risk state, a label or a key."""
        ...

    async def changed(self, seen: int, timeout_s: float) -> int:
        """Wait until the revision differs from ``seen``, at most ``timeout_s`` seconds; return the current revision."""
        ...

    # Policies

    async def push_policy(self, name: str, policy: dict[str, Any], who: str, at: float) -> StoredPolicy:
        """Store a new version and put it in force; concurrent pushes get different versions."""
        ...

    async def roll_back(self, name: str, version: int | None, who: str, at: float) -> StoredPolicy:
        """Put an older version in force (None: the previous one); raises StoreRefused where there is none."""
        ...

    async def policy(self, name: str, version: int | None = None) -> StoredPolicy | None:
        """Return one version (None: the version in force), or None where it does not exist."""
        ...

    async def policies(self, name: str | None = None) -> list[StoredPolicy]:
        """Return all versions, sorted by name, the newest first."""
        ...

    async def history(self, name: str) -> list[PolicyChange]:
        """Return the history of a policy: versions put in force, the newest first."""
        ...

    # Decisions

    async def add_decisions(self, records: Sequence[DecisionRecord], audit: Sequence[AuditItem]) -> None:
        """Store decisions and audit items; existing ones (same id and choice) stay unchanged."""
        ...

    async def decision(self, id: str) -> list[DecisionRecord]:  # noqa: A002 - the contract's own word
        """Return the decisions of one request by its id or completion id; empty where the id is unknown."""
        ...

    async def decisions(self, query: DecisionQuery) -> Page:
        """Return one page of the decisions that match ``query``, the newest first."""
        ...

    async def nearest(self, route: str, confidence: float, limit: int) -> list[DecisionRecord]:
        """Return at most ``limit`` decisions below and ``limit`` above a confidence, sorted by confidence."""
        ...

    async def counts(self, since: float, bucket_s: float) -> list[Count]:
        """Return the number of choices per route, outcome and ``bucket_s`` seconds since ``since``, oldest first.

        A store may count by the minute: then no bucket is shorter, and the first one may begin before ``since``.
        """
        ...

    async def confidences(
        self, route: str, since: float, limit: int, *, policy: str | None = None, oldest: bool = False
    ) -> list[float]:
        """Return at most ``limit`` measured confidences of the newest (or oldest) decisions.

        ``policy`` restricts them to one policy version.
        """
        ...

    async def tally(self, route: str, policy: str) -> PolicyTally:
        """Return exact counts of the answers that a policy version served on a route, and of those reported wrong."""
        ...

    # Labels and the audit sample

    async def add_label(self, label: Label) -> bool:
        """Store a label; return whether it changed anything."""
        ...

    async def remove_label(self, id: str, choice: int, source: Source) -> bool:  # noqa: A002
        """Remove a label; return whether there was one."""
        ...

    async def labels(self, id: str) -> list[Label]:  # noqa: A002
        """Return all labels of one request."""
        ...

    async def labelled(self, route: str, source: Source | None = None, limit: int = 10_000) -> list[Labelled]:
        """Return the newest labels of a route with their decisions."""
        ...

    async def audit_item(self, id: str, choice: int) -> AuditItem | None:  # noqa: A002
        """Return one audit item, or None where it does not exist."""
        ...

    async def audit(
        self, route: str, *, after: int = 0, limit: int = 100, labelled: bool | None = None
    ) -> list[tuple[AuditItem, Label | None]]:
        """Return audit items after the position ``after``, in sampling order, each with its label by a person or None.

        ``labelled`` restricts them to items with (True) or without (False) a label.
        """
        ...

    async def watched(self, route: str, policy: str) -> list[SampledOutcome]:
        """Return the outcomes of all audit items of a policy version on a route, in sampling order."""
        ...

    # Risk

    async def risk(self, route: str) -> RiskState | None:
        """Return the risk state of one route, or None."""
        ...

    async def risks(self) -> list[RiskState]:
        """Return the risk states of all routes."""
        ...

    async def put_risk(self, state: RiskState) -> bool:
        """Store a state whose ``revision`` follows the stored one (0: none); return False for another revision."""
        ...

    # Keys

    async def put_key(self, key: StoredKey) -> bool:
        """Store a new key; return False where the name exists, including revoked keys."""
        ...

    async def revoke_key(self, name: str, at: float) -> bool:
        """Revoke a key on every replica; return False where no valid key has this name."""
        ...

    async def keys(self) -> list[StoredKey]:
        """Return all keys, revoked ones included, sorted by name."""
        ...

    async def note_key_uses(self, uses: Mapping[str, float]) -> None:
        """Store when keys were last used, by name; the latest time wins. Does not change the revision."""
        ...

    async def key_uses(self) -> dict[str, float]:
        """Return the time of last use by key name; unused keys are absent."""
        ...

    # Sessions of the admin page

    async def end_session(self, session: str, expires: float, at: float) -> None:
        """Remember a session as ended until it expires, and forget the sessions that have expired at ``at``."""
        ...

    async def session_ended(self, session: str) -> bool:
        """Return whether a session was ended on any replica."""
        ...

    # Limits

    async def spend(self, account: str, amount: int, most: int | None, at: float) -> float | None:
        """Add ``amount`` to an account's last 60 seconds if their total stays within ``most``; see ``Window``.

        Return None then, else the seconds until it may be added. Exact across all replicas that share the store.
        """
        ...

    # Retention

    async def retain(self, before: float, most: int) -> int:
        """Delete decisions older than ``before``, and all but the newest ``most``; return how many were deleted.

        Deletion by age includes labels and audit items; deletion by number spares decisions with a label or audit item.
        """
        ...
