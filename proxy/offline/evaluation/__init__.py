"""Evaluation: questions are asked as the proxy asks them, and their graded answers are written as records."""

from proxy.offline.evaluation.asker import Asker, prompt
from proxy.offline.evaluation.judge import Judge
from proxy.offline.evaluation.run import Run

__all__ = ["Asker", "Judge", "Run", "prompt"]
