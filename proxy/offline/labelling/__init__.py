"""Labelling by people: the queue of answers, agreement with a judge, and export of the labels for ``idk tune``."""

from proxy.offline.labelling.agreement import Agreement, agreement
from proxy.offline.labelling.export import Export, export
from proxy.offline.labelling.proposer import Proposer
from proxy.offline.labelling.queue import BLOCK, block
from proxy.offline.labelling.session import LabellingSession

__all__ = ["BLOCK", "Agreement", "Export", "LabellingSession", "Proposer", "agreement", "block", "export"]
