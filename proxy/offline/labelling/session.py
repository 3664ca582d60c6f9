"""A labelling session: the next answer, its label, and undo."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from time import time
from typing import TYPE_CHECKING

from proxy.exceptions import HttpError
from proxy.offline.labelling.judge import Agreement, agreement
from proxy.offline.labelling.queue import block
from proxy.storage import Label

if TYPE_CHECKING:
    from proxy.offline.labelling.judge import Proposer
    from proxy.storage import AuditItem, Store
    from proxy.storage.types import LabelName, Source


@dataclass(slots=True)
class LabellingSession:
    """A session that stores each label before the next answer is shown, so that it may end at any time."""

    store: Store
    route: str
    who: str
    judge: Proposer | None = None
    labelled: int = 0
    _block: deque[AuditItem] = field(default_factory=deque)
    _after: int = 0
    _done: list[tuple[AuditItem, bool]] = field(default_factory=list)

    async def next(self) -> AuditItem | None:
        """Return the next answer to label; None at the end of the queue. Raises StoreError."""
        if not self._block:
            found = await block(self.store, self.route, None, after=self._after)
            self._after = max((each.place for each in found), default=self._after)
            self._block.extend(found)
        return self._block[0] if self._block else None

    async def proposal(self, item: AuditItem) -> LabelName | None:
        """Return the judge's label, which is asked for once and stored; None where the judge gives none."""
        if self.judge is None:
            return None
        for label in await self.store.labels(item.decision.id):
            if label.source == "judge" and label.choice == item.decision.choice:
                return label.label
        try:
            proposed = await self.judge.propose(item.answer.question, item.answer.answer)
        except HttpError:
            return None
        await self.store.add_label(self._label(item, proposed, "judge"))
        return proposed

    async def give(self, label: LabelName | None) -> None:
        """Label the present answer, or skip it (None)."""
        item = self._block.popleft()
        if label is not None:
            await self.store.add_label(self._label(item, label, "audit"))
            self.labelled += 1
        self._done.append((item, label is not None))

    async def undo(self) -> bool:
        """Go back to the last answer and remove its label; return False where there is none."""
        if not self._done:
            return False
        item, labelled = self._done.pop()
        if labelled:
            await self.store.remove_label(item.decision.id, item.decision.choice, "audit")
            self.labelled -= 1
        self._block.appendleft(item)
        return True

    async def agreement(self) -> Agreement:
        """Return the agreement of judge and person over all answers of the route that both labelled."""
        judged, meant = await self._labels("judge"), await self._labels("audit")
        return agreement([(judged[place], meant[place]) for place in judged.keys() & meant.keys()])

    async def _labels(self, source: Source) -> dict[tuple[str, int], LabelName]:
        found = await self.store.labelled(self.route, source)
        return {(each.label.id, each.label.choice): each.label.label for each in found}

    def _label(self, item: AuditItem, label: LabelName, source: Source) -> Label:
        who = self.who if source == "audit" else "judge"
        decision = item.decision
        return Label(id=decision.id, choice=decision.choice, label=label, source=source, at=time(), who=who)
