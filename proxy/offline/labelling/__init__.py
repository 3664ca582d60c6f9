"""Labelling by people: the queue of answers, agreement with a judge, and export of the labels for ``idk tune``."""

from proxy.offline.labelling.export import Export, export
from proxy.offline.labelling.judge import Agreement, Proposer, agreement
from proxy.offline.labelling.queue import BLOCK, block
from proxy.offline.labelling.session import LabellingSession

__all__ = ["BLOCK", "Agreement", "Export", "LabellingSession", "Proposer", "agreement", "block", "export"]
