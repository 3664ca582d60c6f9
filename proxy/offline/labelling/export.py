"""Export of the labelled audit sample as records: only answers that form a random sample of the traffic."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from gating.fingerprint import is_complete, settings
from proxy.records import Answer, Record

if TYPE_CHECKING:
    from proxy.storage import AuditItem, Store
    from proxy.storage.types import LabelName

_PAGE = 500


@dataclass(slots=True)
class Export:
    """The exported records, and the numbers of labelled answers that were left out, by reason."""

    records: list[Record] = field(default_factory=list)
    #: Labelled answers that were drawn after the first unlabelled one: people chose them, not chance.
    beyond: int = 0
    #: Answers made with another model or other parameters than the newest one.
    unlike: int = 0
    #: Answers left out at random, so that all exported ones have the same probability of being drawn.
    thinned: int = 0

    def __str__(self) -> str:
        """Describe the export in a sentence."""
        left = (
            (self.beyond, "drawn after the first answer without a label"),
            (self.unlike, "made with another model or other parameters than the newest answer"),
            (self.thinned, "left out at random, since the audit share was changed"),
        )
        out = "; ".join(f"{number} {why}" for number, why in left if number)
        return f"{len(self.records)} records" + (f" (left out: {out})" if out else "")


async def export(store: Store, route: str) -> Export:
    """Return the audit sample of a route up to the first unlabelled item; raises StoreError.

    In the order of the draw, those items are as random as the draw. Where the audit share was changed, each item is
    kept with the probability (smallest share) / (its share), so that no weights are needed. The choice depends on a
    hash of the id, so that every export keeps the same items.
    """
    done = Export()
    taken: list[tuple[AuditItem, Record]] = []
    after, complete = 0, True
    while page := await store.audit(route, after=after, limit=_PAGE):
        for item, label in page:
            complete = complete and label is not None
            if label is None:
                continue
            if complete:
                taken.append((item, _record(item, label.label)))
            else:
                done.beyond += 1
        after = page[-1][0].place
    if not taken:
        return done
    made_with = taken[-1][1].made_with
    alike = [(item, record) for item, record in taken if _alike(record.made_with, made_with)]
    done.unlike = len(taken) - len(alike)
    least = min(item.propensity for item, _ in alike)
    done.records = [record for item, record in alike if _uniform(record.id) < least / item.propensity]
    done.thinned = len(alike) - len(done.records)
    return done


def _record(item: AuditItem, label: LabelName) -> Record:
    own = {name: getattr(item.answer, name) for name in Answer.__struct_fields__}
    return Record(**{**own, "label": label, "propensity": item.propensity})


def _alike(one: dict[str, Any] | None, other: dict[str, Any] | None) -> bool:
    """Return whether two answers may be labels of one policy; their request fields may differ."""
    one, other = one or {}, other or {}
    return is_complete(one) == is_complete(other) and settings(one) == settings(other)


def _uniform(text: str) -> float:
    """Return a number in [0, 1) that is as random as the id."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:6]) / 2**48
