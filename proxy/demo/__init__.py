"""The demonstration: a model behind the proxy, with a policy fitted on half of the questions."""

from proxy.demo.client import GradedAnswer, ask_gated, ask_observed
from proxy.demo.counts import Counts, count
from proxy.demo.demo_proxy import DemoSetup, running_proxy
from proxy.demo.fit import fit

__all__ = [
    "Counts",
    "DemoSetup",
    "GradedAnswer",
    "ask_gated",
    "ask_observed",
    "count",
    "fit",
    "running_proxy",
]
