"""Labels by people: what to label next, how far a judge agrees, and the labels as records for ``idk tune``."""

from proxy.labelling.agreement import Agreement, agreement
from proxy.labelling.desk import Desk
from proxy.labelling.export import Export, export
from proxy.labelling.judging import Proposer
from proxy.labelling.queue import BLOCK, block

__all__ = ["BLOCK", "Agreement", "Desk", "Export", "Proposer", "agreement", "block", "export"]
