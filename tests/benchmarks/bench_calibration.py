"""How good confidences are: every scorer under every calibrator on real generations, and each calibrator's log
loss against scikit-learn's Platt on the same splits.

    python -m tests.benchmarks.bench_calibration [--seeds 50]

prints the tables and writes them to tests/benchmarks/CALIBRATION.md. The real generations are read from the
folder named by IDK_DATA (or ../shared/data beside the repository); where they are absent, one line says so.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import sklearn
from scipy.special import expit, log_expit
from sklearn.linear_model import LogisticRegression

from calibrators import CALIBRATORS, auto
from calibrators.metrics import auroc, brier_skill, coverage_at_risk, log_loss
from gating.tuning.splits import split
from proxy import records as files

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray

    from gating.tuning import Graded

    Floats = NDArray[np.float64]

DATA = Path(os.environ.get("IDK_DATA", Path(__file__).parents[3] / "shared/data"))
GENERATIONS = ("qwen2.5-coder-0.5b", "smollm2-135m")
FIT = 0.5
RISKS = (0.05, 0.1, 0.2)
SIZES = (50, 200, 1000)
#: Answers on which a fit is judged where they can be drawn: enough that their own noise does not decide.
JUDGED = 20_000
NAMES = (*CALIBRATORS, "auto")


def fitted(name: str, scores: Floats, correct: Floats, seed: int) -> Callable[[Floats], Floats]:
    """Fit the named calibrator and return its prediction function."""
    if name == "auto":
        return auto(scores, correct, seed=seed).calibrator.predict
    return CALIBRATORS[name]().fit(scores, correct).predict


def sklearn_platt(scores: Floats, correct: Floats) -> Callable[[Floats], Floats]:
    """Logistic regression without a penalty on the score, with Platt's 1999 targets, as scikit-learn's
    ``CalibratedClassifierCV(method="sigmoid")`` fits it: each row counts as right and as wrong by its target.
    """
    right = correct.sum()
    high, low = (right + 1) / (right + 2), 1 / (correct.size - right + 2)
    target = np.where(correct == 1, high, low)
    model = LogisticRegression(C=np.inf, tol=1e-8, max_iter=1000)
    rows = np.concatenate([scores, scores])[:, None]
    labels = np.concatenate([np.ones(scores.size), np.zeros(scores.size)])
    model.fit(rows, labels, sample_weight=np.concatenate([target, 1 - target]))
    return lambda new: model.predict_proba(new[:, None])[:, 1]


@dataclass(frozen=True)
class Cell:
    """What one scorer under one calibrator gave on the held-out halves, seed by seed; None where undefined."""

    scorer: str
    calibrator: str
    n: int
    values: Mapping[str, Sequence[float | None]]


def scorer_cells(graded: Graded, seeds: int) -> list[Cell]:
    """Evaluate every scorer with every calibrator: half of the questions fit, the other half is measured."""
    cells = []
    rows = np.flatnonzero(graded.labelled)
    halves = [
        split(graded.group[rows], {"fit": FIT, "test": 1 - FIT}, np.random.default_rng(seed))
        for seed in range(seeds)
    ]
    for scorer, column in graded.columns.items():
        for calibrator in NAMES:
            found: dict[str, list[float | None]] = {}
            for seed, half in enumerate(halves):
                fit, test = (rows[part][column.measured[rows[part]]] for part in half.values())
                correct = graded.outcome.astype(np.float64)
                predict = fitted(calibrator, column.log_odds(fit), correct[fit], seed)
                for name, value in measures(predict(column.log_odds(test)), correct[test]).items():
                    found.setdefault(name, []).append(value)
            cells.append(Cell(scorer, calibrator, int(column.measured[rows].sum()), found))
    return cells


def measures(confidence: Floats, correct: Floats) -> dict[str, float | None]:
    """Return the columns of the table for one split."""
    return {
        "AUROC": auroc(confidence, correct),
        "Brier skill": brier_skill(confidence, correct),
        "log loss": log_loss(confidence, correct),
    } | {f"coverage at {risk:.0%}": coverage_at_risk(confidence, correct, risk) for risk in RISKS}


def spread(values: Sequence[float | None]) -> str:
    """Mean ± standard deviation over the seeds where the figure is defined."""
    known = np.array([value for value in values if value is not None])
    return f"{known.mean():.3f} ± {known.std(ddof=1):.3f}" if known.size > 1 else "not known"


# Populations of log-odds whose P(right) is known, to judge fits on more labels than the real files have.
@dataclass(frozen=True)
class Population:
    """``what`` it is; ``right`` gives P(right) of a score drawn from N(0, 1) × ``scale``."""

    what: str
    right: Callable[[Floats], Floats]
    scale: float = 2.0

    def draw(self, n: int, rng: np.random.Generator) -> tuple[Floats, Floats]:
        """Scores (n,) and labels (n,), both kinds among them."""
        while True:
            scores = self.scale * rng.standard_normal(n)
            correct = (rng.random(n) < self.right(scores)).astype(np.float64)
            if 0 < correct.sum() < n:
                return scores, correct


POPULATIONS = {
    "logistic": Population(
        "P(right) logistic in the score, as Platt assumes", lambda s: expit(0.8 * s - 0.3)
    ),
    "overconfident": Population("log-odds twice too large and one too high", lambda s: expit(0.5 * s - 1.0)),
    "skewed": Population(
        "P(right) = P(s)^3: a tail that no logistic curve has", lambda s: np.exp(3 * log_expit(s))
    ),
    "steps": Population("right 3, 6 or 9 times in 10", lambda s: np.select([s < -1, s < 1], [0.3, 0.6], 0.9)),
}


@dataclass(frozen=True)
class Race:
    """Held-out log loss (seeds,) of scikit-learn's Platt and of each of ours on the same fits."""

    source: str
    n: int
    reference: Floats
    ours: Mapping[str, Floats]


def synthetic_race(name: str, n: int, seeds: int) -> Race:
    """Fit on ``n`` drawn labels, judge on JUDGED others."""
    population = POPULATIONS[name]

    def sample(rng: np.random.Generator) -> tuple[Floats, ...]:
        return *population.draw(n, rng), *population.draw(JUDGED, rng)

    return race(f"synthetic, {name}", n, seeds, sample)


def real_race(graded: Graded, scorer: str, source: str, n: int, seeds: int) -> Race | None:
    """Fit on ``n`` real labels and judge on the rest; None where fewer than 40 would be left."""
    column = graded.columns[scorer]
    rows = np.flatnonzero(column.measured & graded.labelled)
    if rows.size < n + 40:
        return None

    def sample(rng: np.random.Generator) -> tuple[Floats, ...]:
        order = rng.permutation(rows)
        correct = graded.outcome.astype(np.float64)
        fit, test = order[:n], order[n:]
        return column.log_odds(fit), correct[fit], column.log_odds(test), correct[test]

    return race(f"{source}, {scorer}", n, seeds, sample)


def race(
    source: str, n: int, seeds: int, sample: Callable[[np.random.Generator], tuple[Floats, ...]]
) -> Race:
    """Everyone on the same splits."""
    reference = np.empty(seeds)
    ours = {name: np.empty(seeds) for name in NAMES}
    for seed in range(seeds):
        scores, correct, new, truth = sample(np.random.default_rng([seed, n]))
        reference[seed] = log_loss(sklearn_platt(scores, correct)(new), truth) or 0.0
        for name in NAMES:
            ours[name][seed] = log_loss(fitted(name, scores, correct, seed)(new), truth) or 0.0
    return Race(source, n, reference, ours)


def difference(one: Race, name: str) -> tuple[float, float]:
    """Mean of ours less the reference's, and its standard error, the seeds being paired."""
    paired = one.ours[name] - one.reference
    return float(paired.mean()), float(paired.std(ddof=1) / np.sqrt(paired.size))


def is_worse(one: Race, name: str) -> bool:
    """Return whether our calibrator is worse by more than two standard errors plus the tolerances of the solvers."""
    mean, error = difference(one, name)
    return mean > max(1e-5, 2 * error)


def scorer_table(cells: Sequence[Cell]) -> list[str]:
    """As Markdown."""
    columns = list(cells[0].values)
    lines = [
        "| scorer | calibrator | n | " + " | ".join(columns) + " |",
        "| --- | --- | --- |" + " --- |" * len(columns),
    ]
    for cell in cells:
        figures = " | ".join(spread(cell.values[name]) for name in columns)
        lines.append(f"| {cell.scorer} | {cell.calibrator} | {cell.n} | {figures} |")
    return lines


def race_table(races: Sequence[Race]) -> list[str]:
    """As Markdown: the reference's log loss, and how far from it each of ours is."""
    lines = [
        "| labels | n | scikit-learn Platt | " + " | ".join(NAMES) + " |",
        "| --- | --- | --- |" + " --- |" * len(NAMES),
    ]
    for one in races:
        cells = [f"{mean:+.4f} ± {error:.4f}" for mean, error in (difference(one, name) for name in NAMES)]
        lines.append(f"| {one.source} | {one.n} | {one.reference.mean():.4f} | " + " | ".join(cells) + " |")
    return lines


def verdicts(races: Sequence[Race]) -> list[str]:
    """Summarise the comparisons as counts."""
    lines = []
    for name in NAMES:
        worse = [
            f"{one.source}, n = {one.n} ({mean:+.4f} ± {error:.4f})"
            for one in races
            for mean, error in [difference(one, name)]
            if is_worse(one, name)
        ]
        told = "; worse: " + "; ".join(worse) if worse else ""
        lines.append(
            f"- {name}: no worse than scikit-learn's Platt (within two standard errors) in "
            f"{len(races) - len(worse)} of {len(races)} settings{told}."
        )
    return lines


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print, and keep the tables; 1 where Platt or the automatic choice is worse than
    scikit-learn's Platt."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=50)
    parser.add_argument("--out", type=Path, default=Path(__file__).with_name("CALIBRATION.md"))
    options = parser.parse_args(argv)
    started = time.perf_counter()
    body, races = [], []
    for name in GENERATIONS:
        path = DATA / "generations" / f"{name}.jsonl"
        if not path.exists():
            print(
                f"{name}: not at hand, left out; set IDK_DATA to the folder that holds generations/",
                file=sys.stderr,
            )
            body.append(f"\n## {name}\n\nNot measured: the generations were not at hand.")
            continue
        graded, _ = files.graded(path)
        right, n = int((graded.outcome == 1).sum()), int(graded.labelled.sum())
        body += [
            f"\n## {name}: {n} labelled answers, {right} right\n",
            *scorer_table(scorer_cells(graded, options.seeds)),
        ]
        found = (real_race(graded, "mean_logprob", name, size, options.seeds) for size in SIZES)
        races += [one for one in found if one is not None]
    races += [synthetic_race(name, n, options.seeds) for name in POPULATIONS for n in SIZES]
    text = "\n".join(
        [
            introduction(options.seeds, time.perf_counter() - started),
            *body,
            RACES,
            *race_table(races),
            "",
            *verdicts(races),
            "",
        ]
    )
    options.out.write_text(text, encoding="utf-8")
    print(text)
    late = [(one.source, one.n, name) for one in races for name in ("platt", "auto") if is_worse(one, name)]
    for setting in late:
        print(f"worse than scikit-learn's Platt: {setting}", file=sys.stderr)
    return 1 if late else 0


def introduction(seeds: int, seconds: float) -> str:
    """Return the introduction: what was measured, and with which versions."""
    versions = (
        f"Python {platform.python_version()}, numpy {np.__version__}, scikit-learn {sklearn.__version__}"
    )
    return f"""# Confidences on real generations, and against scikit-learn

`python -m tests.benchmarks.bench_calibration --seeds {seeds}`: {seeds} splits by question, half to fit and half to
measure, {seconds:.0f} s; {versions}, {platform.machine()}.

A cell is the mean ± the standard deviation over the splits. With so few answers the spread is part of the result:
most rows of one file cannot be told apart. Coverage at a risk is the most that could be answered with at most that
share wrong on the measured half itself: an estimate that is chosen where it is measured, no certificate. Figures
that a split leaves undefined are left out of its mean. n counts the answers that the scorer could read."""


RACES = (
    f"""
## Log loss against scikit-learn's Platt

Fitted on n labels, both on the same ones, and measured on others. The third column is scikit-learn's logistic
regression without a penalty on Platt's targets; the others are how far above (+) or below (−) it each of ours lies,
± the standard error of the paired difference. The real files hold too few answers for n = 1000 (and the second for
n = 200), so the synthetic populations, whose scores are drawn and judged on {JUDGED:,} answers, stand in:

"""
    + "\n".join(f"- {name}: {population.what}" for name, population in POPULATIONS.items())
    + "\n"
)


if __name__ == "__main__":
    sys.exit(main())
