"""The demonstration: a real model behind the proxy; a policy fitted on half of the questions, asked the others."""

from proxy.demo.asked import Asked, ask_gated, ask_openly
from proxy.demo.fit import fit
from proxy.demo.setting import Setting, serving
from proxy.demo.tally import Tally, tally

__all__ = ["Asked", "Setting", "Tally", "ask_gated", "ask_openly", "fit", "serving", "tally"]
