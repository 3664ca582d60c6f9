"""How often certificates are false, and how much each rule lets through, on populations whose risk is known.

    python -m tests.benchmarks.bench_risk [--draws 1000] [--processes 1]

prints a table and writes it to tests/benchmarks/RISK.md. Every rule gets the same labels in a draw: those
that need a pilot split 15 % off, the others certify on all.
"""

from __future__ import annotations

import argparse
import itertools
import os
import platform
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import scipy
from scipy.special import expit, ndtri
from scipy.stats import beta

from gating.rules import RULES
from gating.walk import Problem

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

TARGETS = (0.05, 0.1, 0.2)
SIZES = (300, 1000)
DELTA = 0.1
PILOT_SHARE = 0.15
#: Points of the quantile axis on which a population's true risk is summed; good to 1e-5 of coverage.
POINTS = 100_000


@dataclass(frozen=True)
class Population:
    """Answers by the quantile u in (0, 1) of their score: ``right(u, target)`` is P(right)."""

    what: str
    right: Callable[[Floats, float], Floats]
    score: Callable[[Floats], Floats] = lambda u: u


def logistic(intercept: float, slope: float) -> Callable[[Floats, float], Floats]:
    """P(right) that is logistic in a standard normal score."""
    return lambda u, _: expit(intercept + slope * ndtri(u))


def steps(rights: Sequence[float], edges: Sequence[float]) -> Callable[[Floats, float], Floats]:
    """P(right) that is constant between ``edges``."""
    return lambda u, _: np.array(rights)[np.searchsorted(edges, u, side="right")]


def levels(u: Floats) -> Floats:
    """Six levels of one score, unevenly filled."""
    return np.searchsorted([0.15, 0.35, 0.55, 0.75, 0.9], u, side="right").astype(np.float64)


POPULATIONS = {
    "medium": Population("logistic in a normal score, slope 1.65", logistic(0.717, 1.65)),
    "good": Population("logistic, slope 2.5", logistic(1.584, 2.5)),
    "weak": Population("logistic, slope 0.6", logistic(1.7, 0.6)),
    "non-monotone": Population(
        "the most confident 5 % are right 7 times in 10, the next 40 % 19 in 20",
        steps([0.55, 0.95, 0.7], [0.55, 0.95]),
    ),
    "wavy": Population("risk rises and falls three times", lambda u, _: 0.8 + 0.17 * np.cos(6 * np.pi * u)),
    "tied": Population(
        "six tied levels",
        lambda u, _: np.array([0.35, 0.5, 0.65, 0.82, 0.92, 0.97])[levels(u).astype(int)],
        levels,
    ),
    "easy": Population("right 19 times in 20 whatever the score", lambda u, _: np.full_like(u, 0.95)),
    "on the edge": Population(
        "risk 0.1 % above the target everywhere: every certificate is false",
        lambda u, target: np.full_like(u, 1 - 1.001 * target),
    ),
}


@dataclass(frozen=True)
class Truth:
    """True risk above each threshold, and the most coverage that it allows."""

    scores: Floats
    risks: Floats
    oracle: float

    @classmethod
    def of(cls, population: Population, target: float) -> Truth:
        """Sum the population over its quantiles."""
        u = (np.arange(POINTS) + 0.5) / POINTS
        wrong = 1 - population.right(u, target)
        scores = population.score(u)
        risks = (np.cumsum(wrong[::-1]) / np.arange(1, POINTS + 1))[::-1]
        firsts = np.searchsorted(scores, scores, side="left")  # a level is answered whole
        allowed = firsts[risks[firsts] <= target + 1e-9]
        return cls(scores, risks, 1 - int(allowed.min()) / POINTS if allowed.size else 0.0)

    def at(self, threshold: float | None) -> tuple[float, float]:
        """Coverage and risk at ``threshold``; nothing answered is no risk."""
        first = POINTS if threshold is None else int(np.searchsorted(self.scores, threshold))
        return (1 - first / POINTS, float(self.risks[first])) if first < POINTS else (0.0, 0.0)


@dataclass(frozen=True)
class Outcome:
    """One setting: for each rule how many of the draws were false, and the coverage (draws,) of each draw."""

    population: str
    target: float
    n: int
    oracle: float
    violations: dict[str, int]
    coverage: dict[str, Floats]


def simulate(setting: tuple[str, float, int], draws: int, seed: int = 0) -> Outcome:
    """Draw ``n`` labelled answers ``draws`` times, and let every rule choose on each draw."""
    name, target, n = setting
    population = POPULATIONS[name]
    truth = Truth.of(population, target)
    rng = np.random.default_rng([seed, *name.encode(), round(1000 * target), n])
    violations = dict.fromkeys(RULES, 0)
    coverage = {rule: np.zeros(draws) for rule in RULES}
    pilot = round(PILOT_SHARE * n)
    for draw in range(draws):
        u = rng.random(n)
        scores, correct = population.score(u), rng.random(n) < population.right(u, target)
        split = Problem.of(
            scores[:pilot], correct[:pilot], scores[pilot:], correct[pilot:], target, DELTA, None
        )
        whole = Problem.of((), (), scores, correct, target, DELTA, None)
        for key, rule in RULES.items():
            threshold, _ = rule.choose(split if rule.uses_pilot else whole)
            coverage[key][draw], risk = truth.at(threshold)
            violations[key] += risk > target + 1e-9
    return Outcome(name, target, n, truth.oracle, violations, coverage)


def rate_above_delta(violations: int, draws: int, level: float) -> bool:
    """Return whether the violations exclude a rate <= delta at ``level`` (Clopper-Pearson, by scipy)."""
    return bool(violations > 0 and beta.ppf(level, violations, draws - violations + 1) > DELTA)


def lead(outcome: Outcome, other: str) -> tuple[float, float]:
    """Mean coverage of the split walk less that of ``other``, and its standard error, draws being paired."""
    difference = outcome.coverage["split_walk"] - outcome.coverage[other]
    return float(difference.mean()), float(difference.std(ddof=1) / np.sqrt(difference.size))


def beyond_chance(mean: float, error: float) -> bool:
    """Return whether a mean difference is below 0 by more than two standard errors."""
    return mean < -2 * error


def report(outcomes: Sequence[Outcome], draws: int, seconds: float) -> str:
    """Return the table as Markdown."""
    invalid = [key for key, rule in RULES.items() if not rule.valid]
    error = np.sqrt(DELTA * (1 - DELTA) / draws)
    versions = f"Python {platform.python_version()}, numpy {np.__version__}, scipy {scipy.__version__}"
    intro = f"""# Certified thresholds on known populations

`python -m tests.benchmarks.bench_risk --draws {draws}`: {draws} draws a setting, delta = {DELTA},
{seconds:.0f} s; {versions}, {platform.machine()}.

n labels in all. The split walk spends 15 % of them on its pilot; the other rules certify on every one. A cell
is the mean coverage ± its standard error, then the share of draws whose true risk is above the target α.
Promised is at most {DELTA}, where such a share has a standard error of {error:.3f}.
Not valid, and shown for that: {", ".join(invalid)}.
"""
    lines = [
        intro,
        *(f"- {name}: {population.what}" for name, population in POPULATIONS.items()),
        "",
        "| population | α | n | oracle | " + " | ".join(RULES) + " |",
        "| --- | --- | --- | --- |" + " --- |" * len(RULES),
    ]
    for outcome in outcomes:
        cells = [
            f"{outcome.coverage[key].mean():.3f} ± {outcome.coverage[key].std() / np.sqrt(draws):.3f}, "
            f"{outcome.violations[key] / draws:.3f}"
            for key in RULES
        ]
        lines.append(
            f"| {outcome.population} | {outcome.target} | {outcome.n} | {outcome.oracle:.3f} | "
            + " | ".join(cells)
            + " |"
        )
    return "\n".join([*lines, "", *verdicts(outcomes, draws), ""])


def verdicts(outcomes: Sequence[Outcome], draws: int) -> list[str]:
    """Summarise the table as counts."""
    lines = []
    for key, rule in RULES.items():
        worst = max(outcome.violations[key] for outcome in outcomes)
        word = "valid" if rule.valid else "not valid"
        lines.append(f"- {key} ({word}): worst violation rate {worst / draws:.3f}. {rule.citation}.")
    certifiable = [outcome for outcome in outcomes if outcome.oracle > 0]  # else all coverage is false
    for other in ("five_starts", "sgr", "bonferroni"):
        leads = [(lead(outcome, other), outcome) for outcome in certifiable]
        behind = [
            f"{outcome.population}, α = {outcome.target}, n = {outcome.n} ({mean:+.3f} ± {error:.3f})"
            for (mean, error), outcome in leads
            if mean < 0
        ]
        gain = np.mean([mean for (mean, _), _ in leads])
        lines.append(
            f"- split_walk covers at least as much as {other} in {len(leads) - len(behind)} of the {len(leads)} "
            f"settings where any coverage can be certified; on average {gain:.3f} more"
            + (f"; less in: {'; '.join(behind)}." if behind else ".")
        )
    return lines


def main(argv: Sequence[str] | None = None) -> int:
    """Run every setting; 1 where a valid rule's certificates are false too often, or another covers more."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--draws", type=int, default=1000)
    parser.add_argument("--processes", type=int, default=1, help=f"this machine has {os.cpu_count()} cores")
    parser.add_argument("--out", type=Path, default=Path(__file__).with_name("RISK.md"))
    options = parser.parse_args(argv)
    settings = list(itertools.product(POPULATIONS, TARGETS, SIZES))
    started = time.perf_counter()
    outcomes = []
    with ProcessPoolExecutor(options.processes) as pool:
        for outcome in pool.map(partial(simulate, draws=options.draws), settings):
            outcomes.append(outcome)
            print(f"{len(outcomes)}/{len(settings)} {outcome.population}", file=sys.stderr, flush=True)
    text = report(outcomes, options.draws, time.perf_counter() - started)
    options.out.write_text(text, encoding="utf-8")
    print(text)
    false = [
        (outcome.population, outcome.target, outcome.n, key)
        for outcome in outcomes
        for key, rule in RULES.items()
        if rule.valid and rate_above_delta(outcome.violations[key], options.draws, 0.001)
    ]
    for setting in false:
        print(f"violated too often: {setting}", file=sys.stderr)
    behind = [
        (outcome.population, outcome.target, outcome.n, other)
        for outcome in outcomes
        for other in ("five_starts", "sgr")
        if outcome.oracle > 0 and beyond_chance(*lead(outcome, other))
    ]
    for setting in behind:
        print(f"covers less than another rule: {setting}", file=sys.stderr)
    return 1 if false or behind else 0


if __name__ == "__main__":
    sys.exit(main())
