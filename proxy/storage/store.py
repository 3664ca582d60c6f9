"""What every backend does. All methods raise StoreError, and nothing else, where the store fails them.

StoreRefused, its kind for what is not there, is no failure of the store.
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
        RiskState,
        Source,
        StoredKey,
        StoredPolicy,
        Tally,
        Watched,
    )


class Store(Protocol):
    """Policies, decisions, labels, the audit sample and the state of the watch over risk.

    What a writing method has returned from is kept, also when the process is killed at once.
    """

    #: As errors name it, without a password.
    name: str

    async def open(self) -> None:
        """Connect, and bring an older scheme up to date."""
        ...

    async def aclose(self) -> None:
        """Let go of it."""
        ...

    async def revision(self) -> int:
        """A number that grows with every change of a policy in force, of a risk state or of a label."""
        ...

    async def changed(self, seen: int, timeout_s: float) -> int:
        """Wait until the revision is another than ``seen``, or for ``timeout_s``; gives the present one."""
        ...

    # Policies

    async def push_policy(self, name: str, policy: dict[str, Any], who: str, at: float) -> StoredPolicy:
        """Keep a new version and put it in force; versions are exact: no two pushes get the same."""
        ...

    async def roll_back(self, name: str, version: int | None, who: str, at: float) -> StoredPolicy:
        """Put an older version in force (None: the one before the present one); StoreError where none is."""
        ...

    async def policy(self, name: str, version: int | None = None) -> StoredPolicy | None:
        """One version (None: the one in force); None where there is none."""
        ...

    async def policies(self, name: str | None = None) -> list[StoredPolicy]:
        """Every version, by name and then the newest first."""
        ...

    async def history(self, name: str) -> list[PolicyChange]:
        """What was put in force when and by whom, the newest first."""
        ...

    # Decisions

    async def add_decisions(self, records: Sequence[DecisionRecord], audit: Sequence[AuditItem]) -> None:
        """Keep them; those that are there already (by id and choice) stay as they are."""
        ...

    async def decision(self, id: str) -> list[DecisionRecord]:  # noqa: A002 - the contract's own word
        """The choices of one request, by its id or by its completion's; empty where it is not known."""
        ...

    async def decisions(self, query: DecisionQuery) -> Page:
        """A page of them, the newest first."""
        ...

    async def nearest(self, route: str, confidence: float, limit: int) -> list[DecisionRecord]:
        """At most ``limit`` decisions on either side of a confidence, in the order of theirs."""
        ...

    async def counts(self, since: float, bucket_s: float) -> list[Count]:
        """How many choices ended how, per route and stretch of ``bucket_s``, from ``since`` on; oldest first.

        A store may count by the minute: then no stretch is shorter, and the first one may begin before ``since``.
        """
        ...

    async def confidences(
        self, route: str, since: float, limit: int, *, policy: str | None = None, oldest: bool = False
    ) -> list[float]:
        """The measured confidences of the newest (or the oldest) decisions, at most ``limit``.

        ``policy``: only of this version.
        """
        ...

    async def tally(self, route: str, policy: str) -> Tally:
        """What a policy version let out on a route, counted exactly."""
        ...

    # Labels and the audit sample

    async def add_label(self, label: Label) -> bool:
        """Keep a label; whether it changed anything. It is kept for good when this returns."""
        ...

    async def remove_label(self, id: str, choice: int, source: Source) -> bool:  # noqa: A002
        """Take a label back; whether there was one."""
        ...

    async def labels(self, id: str) -> list[Label]:  # noqa: A002
        """All labels of one request."""
        ...

    async def labelled(self, route: str, source: Source | None = None, limit: int = 10_000) -> list[Labelled]:
        """The newest labels of a route with their decisions."""
        ...

    async def audit_item(self, id: str, choice: int) -> AuditItem | None:  # noqa: A002
        """One item of the sample."""
        ...

    async def audit(
        self, route: str, *, after: int = 0, limit: int = 100, labelled: bool | None = None
    ) -> list[tuple[AuditItem, Label | None]]:
        """The sample in the order in which it was drawn, from beyond the place ``after``, with a person's label.

        ``labelled``: only those that have one, or that have none; None: both.
        """
        ...

    async def watched(self, route: str, policy: str) -> list[Watched]:
        """All of a policy version's sample on a route, in the order in which it was drawn."""
        ...

    # Risk

    async def risk(self, route: str) -> RiskState | None:
        """The state of one route."""
        ...

    async def risks(self) -> list[RiskState]:
        """The states of all routes."""
        ...

    async def put_risk(self, state: RiskState) -> bool:
        """Keep a state whose ``revision`` is one more than the kept one's (0: none); False where it is not."""
        ...

    # Keys

    async def put_key(self, key: StoredKey) -> bool:
        """Keep a new key; False where the name was taken before, by a revoked one too."""
        ...

    async def revoke_key(self, name: str, at: float) -> bool:
        """Let it open nothing any more, on every replica; False where there is no such key that still does."""
        ...

    async def keys(self) -> list[StoredKey]:
        """All that were ever kept, by name."""
        ...

    async def note_key_uses(self, uses: Mapping[str, float]) -> None:
        """Keep when keys, by their names, were last used: the latest that anyone has told. No change of revision."""
        ...

    async def key_uses(self) -> dict[str, float]:
        """When each key was last used, by its name; one that never was is not among them."""
        ...

    # Limits

    async def spend(self, account: str, amount: int, most: int | None, at: float) -> float | None:
        """Add ``amount`` to an account's last 60 seconds if it stays within ``most``; see ``limits.Window``.

        None where it does, else the seconds until it may. Exact over all who share the store.
        """
        ...

    # Retention

    async def retain(self, before: float, most: int) -> int:
        """Forget what is older than ``before``, and all but the newest ``most`` decisions; how many went.

        By age everything goes, labels and samples too; by number what is labelled or in the sample stays.
        """
        ...
