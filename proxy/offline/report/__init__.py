"""The report: what a policy does on graded answers, as an HTML page and as JSON figures.

figures = figures_of(records, policy, Source("records.jsonl"))
html = render(figures)
"""

from proxy.offline.report.figures import ReportFigures, figures_of, figures_of_tuned, sampling_of_tuned
from proxy.offline.report.page import render
from proxy.offline.report.scoring import Source
from proxy.offline.report.strategies import Cascade, SamplingMode, Strategy, cascade

__all__ = [
    "Cascade",
    "ReportFigures",
    "SamplingMode",
    "Source",
    "Strategy",
    "cascade",
    "figures_of",
    "figures_of_tuned",
    "render",
    "sampling_of_tuned",
]
