"""Questions into records: asked as the proxy asks, graded, and written one by one."""

from proxy.offline.evaluation.asker import Asker, prompt
from proxy.offline.evaluation.judge import Judge
from proxy.offline.evaluation.run import Run

__all__ = ["Asker", "Judge", "Run", "prompt"]
