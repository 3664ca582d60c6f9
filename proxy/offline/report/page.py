"""The report as one self-contained HTML file: no script, no requests, every text escaped.

Questions and answers are hostile input, so Jinja2's autoescaping renders all of them. The page's Content-Security-
Policy allows its inline stylesheet, by hash, and nothing else.
"""

from __future__ import annotations

import base64
import hashlib
import re
from pathlib import Path
from typing import TYPE_CHECKING

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from calibrators.metrics import TARGETS
from proxy.offline.report import charts, formatting
from proxy.offline.report.curves import LEVEL
from proxy.offline.stylesheet import STYLESHEET

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gating.tuning import HeldOut
    from proxy.offline.report.curves import CurvePoint
    from proxy.offline.report.figures import ReportFigures

FOLDER = Path(__file__).parent
#: Characters that HTML or UTF-8 cannot represent: control characters, and halves of a surrogate pair.
UNSHOWABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")
#: Rows of the table of the risk-coverage curve.
ROWS = 10
EXAMPLES = {
    "answered_narrowly": (
        "Answered, just above the threshold",
        "The served answers with the lowest confidence.",
    ),
    "withheld_narrowly": (
        "Withheld, just below the threshold",
        "The withheld answers with the highest confidence.",
    ),
    "answered_wrong": ("Answered and wrong", "The wrong answers with the highest confidence."),
    "withheld_right": ("Withheld although right", "The right answers with the lowest confidence."),
}


def render(figures: ReportFigures) -> str:
    """Return the page as text for a UTF-8 file."""
    style = "".join(file.read_text(encoding="utf-8") for file in (STYLESHEET, FOLDER / "report.css"))
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    html = (
        _environment()
        .get_template("report.html")
        .render(
            figures=figures,
            policy=figures.policy,
            certificate=figures.policy.certificate,
            quality=figures.quality,
            columns=[
                ("answering everything", figures.always),
                *([] if figures.gated is None else [("with the policy", figures.gated)]),
            ],
            charts={
                "risk": charts.risk_coverage_chart(figures),
                "reliability": charts.reliability_chart(figures.reliability),
                "histogram": charts.histogram_chart(figures.histogram, figures.policy.threshold),
                "outcomes": charts.outcome_chart(figures.always, figures.gated),
            },
            curve_rows=_spread(figures.curve),
            examples=[(title, what, figures.examples[kind]) for kind, (title, what) in EXAMPLES.items()],
            costs=[(f"{target:g}", target / (1 - target)) for target in TARGETS],
            level=LEVEL,
            style=Markup(style),  # noqa: S704 - from files of the project alone
            digest=digest,
        )
    )
    return UNSHOWABLE.sub("\ufffd", html)


def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(FOLDER),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "percent": formatting.percent,
        "at_most": formatting.percent_at_most,
        "shares": formatting.interval_in_percent,
        "number": formatting.number,
        "interval": formatting.interval,
        "signed": formatting.signed,
        "count": formatting.count,
        "several": formatting.several,
        "bar": charts.coverage_bar,
        "of_all": of_all,
        "accuracy": accuracy,
        "right_of_answered": right_of_answered,
        "f_score": f_score,
    }
    return environment


def of_all(count: int, outcome: HeldOut) -> float | None:
    """Return the share of ``count`` among all answers of ``outcome``."""
    n = outcome.right + outcome.wrong + outcome.abstained
    return count / n if n else None


def accuracy(outcome: HeldOut) -> float | None:
    """Return the share of right answers among all: under this grading an abstention never pays."""
    return of_all(outcome.right, outcome)


def right_of_answered(outcome: HeldOut) -> float | None:
    """Return the share of right answers among the answered."""
    return None if outcome.risk is None else 1 - outcome.risk


def f_score(outcome: HeldOut) -> float | None:
    """Return the harmonic mean of right among all and right among answered (Wei et al. 2024, SimpleQA)."""
    overall, given = accuracy(outcome), right_of_answered(outcome)
    if overall is None or given is None:
        return None
    return 2 * overall * given / (overall + given) if overall + given else 0.0


def _spread(curve: Sequence[CurvePoint]) -> list[CurvePoint]:
    """Return ROWS evenly spaced points, the last one included."""
    if len(curve) <= ROWS:
        return list(curve)
    return [curve[round((place + 1) * (len(curve) - 1) / ROWS)] for place in range(ROWS)]
