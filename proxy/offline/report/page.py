"""The figures as one HTML file: no script, nothing fetched, every text escaped.

Jinja2 lays it out because it escapes whatever it is given: questions and answers are hostile input. The page's
Content-Security-Policy allows its own style sheet, by hash, and nothing else.
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
from proxy.offline.report import charts, words
from proxy.offline.report.curves import LEVEL

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gating.tuning import HeldOut
    from proxy.offline.report.curves import CurvePoint
    from proxy.offline.report.figures import ReportFigures

FOLDER = Path(__file__).parent
#: Neither HTML nor UTF-8 has a place for these: control characters, and halves of a surrogate pair.
UNSHOWABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")
#: Rows of the table beneath the risk-coverage curve.
ROWS = 10
EXAMPLES = {
    "answered_narrowly": ("Answered, just above the threshold", "The least confident of what goes out."),
    "withheld_narrowly": ("Withheld, just below it", "The most confident of what does not."),
    "answered_wrong": ("Answered and wrong", "The wrong answers that it was surest of."),
    "withheld_right": ("Withheld although right", "The right answers that it was least sure of."),
}


def render(figures: ReportFigures) -> str:
    """The page, as text for a UTF-8 file."""
    style = (FOLDER / "page.css").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    html = (
        _environment()
        .get_template("page.html")
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
            style=Markup(style),  # noqa: S704 - the project's own file, and nothing of a client's
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
        "percent": words.percent,
        "at_most": words.percent_at_most,
        "shares": words.interval_in_percent,
        "number": words.number,
        "interval": words.interval,
        "signed": words.signed,
        "count": words.count,
        "several": words.several,
        "bar": charts.coverage_bar,
        "of_all": of_all,
        "accuracy": accuracy,
        "right_of_answered": right_of_answered,
        "f_score": f_score,
    }
    return environment


def of_all(count: int, outcome: HeldOut) -> float | None:
    """The share of ``count`` among all answers of ``outcome``."""
    n = outcome.right + outcome.wrong + outcome.abstained
    return count / n if n else None


def accuracy(outcome: HeldOut) -> float | None:
    """Right among all: the grading under which saying "I don't know" never pays."""
    return of_all(outcome.right, outcome)


def right_of_answered(outcome: HeldOut) -> float | None:
    """Right among answered."""
    return None if outcome.risk is None else 1 - outcome.risk


def f_score(outcome: HeldOut) -> float | None:
    """The harmonic mean of right among all and right among answered (Wei et al. 2024, SimpleQA)."""
    overall, given = accuracy(outcome), right_of_answered(outcome)
    if overall is None or given is None:
        return None
    return 2 * overall * given / (overall + given) if overall + given else 0.0


def _spread(curve: Sequence[CurvePoint]) -> list[CurvePoint]:
    """ROWS points at even steps, the last one among them."""
    if len(curve) <= ROWS:
        return list(curve)
    return [curve[round((place + 1) * (len(curve) - 1) / ROWS)] for place in range(ROWS)]
