"""Labels by people: what to label next, how far a judge agrees, and the labels as records for ``idk tune``."""

from proxy.offline.labelling.agreement import Agreement, agreement
from proxy.offline.labelling.desk import Desk
from proxy.offline.labelling.export import Export, export
from proxy.offline.labelling.judging import Proposer
from proxy.offline.labelling.queue import BLOCK, block

__all__ = ["BLOCK", "Agreement", "Desk", "Export", "Proposer", "agreement", "block", "export"]
