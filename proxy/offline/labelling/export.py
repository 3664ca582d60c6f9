"""The labelled audit sample as graded records: only what is a random sample of the traffic, for it may certify."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from proxy.records import Answer, Record

if TYPE_CHECKING:
    from proxy.storage import AuditItem, Store
    from proxy.storage.types import LabelName

_PAGE = 500


@dataclass(slots=True)
class Export:
    """``records`` to write, and why the others are not among them."""

    records: list[Record] = field(default_factory=list)
    #: Labelled, but drawn after the first item without a label: who chose them is not chance.
    beyond: int = 0
    #: Made with another model or other sampling than the newest ones.
    unlike: int = 0
    #: Left out by chance, so that all were drawn with the same probability.
    thinned: int = 0

    def __str__(self) -> str:
        """In words."""
        left = (
            (self.beyond, "drawn after the first answer without a label"),
            (self.unlike, "made with another model or other parameters than the newest"),
            (self.thinned, "left out by lot, since the audit share was changed"),
        )
        out = "; ".join(f"{number} {why}" for number, why in left if number)
        return f"{len(self.records)} records" + (f" (not among them: {out})" if out else "")


async def export(store: Store, route: str) -> Export:
    """The sample of a route up to the first item without a label.

    In the order of the draw those are as random as the draw. Where the share ε was changed meanwhile, each is
    kept with the probability of the least share over its own, so that no weights are needed; the lot is the
    id's hash, the same every time. Raises StoreError.
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
    alike = [(item, record) for item, record in taken if record.made_with == made_with]
    done.unlike = len(taken) - len(alike)
    least = min(item.propensity for item, _ in alike)
    done.records = [record for item, record in alike if _lot(record.id) < least / item.propensity]
    done.thinned = len(alike) - len(done.records)
    return done


def _record(item: AuditItem, label: LabelName) -> Record:
    own = {name: getattr(item.answer, name) for name in Answer.__struct_fields__}
    return Record(**{**own, "label": label, "propensity": item.propensity})


def _lot(text: str) -> float:
    """In [0, 1), as random as the id."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:6]) / 2**48
