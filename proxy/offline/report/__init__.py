"""What a policy does on graded answers, as one page to look at and as figures to read by machine.

figures = figures_of(records, policy, Source("records.jsonl"))
html = render(figures)
"""

from proxy.offline.report.figures import ReportFigures, figures_of, figures_of_tuned, sampling_of_tuned
from proxy.offline.report.page import render
from proxy.offline.report.reading import Source
from proxy.offline.report.stages import Cascade, Manner, Way, cascade

__all__ = [
    "Cascade",
    "Manner",
    "ReportFigures",
    "Source",
    "Way",
    "cascade",
    "figures_of",
    "figures_of_tuned",
    "render",
    "sampling_of_tuned",
]
