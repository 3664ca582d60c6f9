"""Questions into records: asked as the proxy asks, graded, and written one by one."""

from proxy.evaluation.asker import Asker, prompt
from proxy.evaluation.judge import Judge
from proxy.evaluation.run import Run

__all__ = ["Asker", "Judge", "Run", "prompt"]
