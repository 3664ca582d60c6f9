"""What further samples are worth on real generations: each scorer at k samples, and logprobs joined with them.

    IDK_DATA=... python -m tests.benchmarks.bench_agreement [--seeds 20]

prints a table and writes it to tests/benchmarks/AGREEMENT.md. Weights of a combination are learnt on one half of
the questions, and everything in its table is measured on the other, over several ways to halve them.
"""

from __future__ import annotations

import argparse
import os
import sys
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from calibrators.metrics import auroc, auroc_interval
from gating import SCORERS, Gate, Unmeasured
from gating.answers import is_abstention
from gating.combine import Logistic
from gating.sampled import decide, drawn
from gating.scorers.similarity import Text
from gating.tuning import Collector, WrongCost, tune
from gating.tuning.splits import split
from proxy.records import Record, lines
from proxy.requests.evidence.minilm import MiniLM

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gating import Evidence
    from gating.sampled import Wait

    Scores = list[float | Unmeasured]

DATA = Path(os.environ.get("IDK_DATA", Path(__file__).parents[2] / "../shared/data"))
FILES = ("qwen2.5-coder-0.5b", "smollm2-135m")
OF_SAMPLES = (
    "agreement",
    "agreement_exact",
    "agreement_jaccard",
    "agreement_embedding",
    "semantic_entropy",
    "degree",
    "cocoa",
)
OF_LOGPROBS = ("mean_logprob", "sequence_logprob", "min_logprob", "tail_logprob", "topk_entropy")
COMBINED = (
    ("sequence_logprob", "agreement"),
    ("mean_logprob", "agreement"),
    ("mean_logprob", "agreement_embedding"),
    ("mean_logprob", "degree"),
    ("mean_logprob", "min_logprob", "agreement", "degree"),
)
K = (1, 2, 3, 4, 5)
#: The ways to halve the questions for the table of prices, each of which tunes eight policies.
PRICED = 10


@dataclass(frozen=True)
class Answers:
    """Graded answers of one model that are no abstentions, and the number of each one's question (n,)."""

    evidence: Sequence[Evidence]
    correct: np.ndarray
    group: np.ndarray

    @classmethod
    def read(cls, path: Path) -> Answers:
        """Read the answers of a file of records."""
        records = [record for record, _ in lines(path, Record)]
        kept = [
            record for record in records if record.label != "abstained" and not is_abstention(record.answer)
        ]
        names = [record.group or record.id for record in kept]
        model = MiniLM()

        def seen(record: Record) -> Evidence:
            texts = [record.answer, *(record.samples or ())]
            return replace(record.evidence(), embeddings=model.vectors(texts) if all(texts) else None)

        return cls(
            [seen(record) for record in kept],
            np.array([record.label == "correct" for record in kept]),
            np.unique(names, return_inverse=True)[1].astype(np.intp),
        )

    def scores(self, name: str, k: int) -> Scores:
        """Return a scorer's score for each answer with its first ``k`` samples."""
        return [SCORERS[name].score(first(one, k)) for one in self.evidence]

    def rouge(self, k: int) -> Scores:
        """Mean ROUGE-L of the answer with its samples: no scorer, for comparison with Jaccard."""
        means: Scores = []
        for one in self.evidence:
            answer = Text.of(one.answer)
            samples = [Text.of(sample) for sample in one.samples[:k]]
            means.append(float(np.mean([0.0 if s.declines else rouge_l(answer, s) for s in samples])))
        return means


def first(evidence: Evidence, k: int) -> Evidence:
    """Return the evidence with only its first ``k`` samples."""
    vectors = evidence.embeddings
    return replace(
        evidence, samples=evidence.samples[:k], embeddings=None if vectors is None else vectors[: 1 + k]
    )


def area(scores: Scores, correct: np.ndarray) -> str:
    """AUROC with its 95 % interval, of the measured ones."""
    known = np.array([not isinstance(score, Unmeasured) for score in scores])
    values = np.array([score for score in scores if not isinstance(score, Unmeasured)])
    found, ends = auroc(values, correct[known]), auroc_interval(values, correct[known])
    if found is None or ends is None:
        return "-"
    few = "" if known.all() else f", n {known.sum()}"
    return f"{found:.2f} ({ends[0]:.2f}-{ends[1]:.2f}{few})"


def held_out(answers: Answers, names: Sequence[str], k: int, seeds: int) -> list[dict[str, float]]:
    """For each seed the AUROC on held-out questions of the joined scorers and of each alone."""
    columns = {name: answers.scores(name, k) for name in names}
    measured = [
        not any(isinstance(s, Unmeasured) for s in row) for row in zip(*columns.values(), strict=True)
    ]
    rows = np.flatnonzero(measured)
    found = []
    for seed in range(seeds):
        halves = split(answers.group, {"fit": 0.5, "test": 0.5}, np.random.default_rng(seed))
        fit, test = (np.intersect1d(half, rows) for half in halves.values())
        scorers = [SCORERS[name] for name in names]
        said = [tuple(column[row] for column in columns.values()) for row in fit]
        joined = Logistic.fit(scorers, said, answers.correct[fit])
        readings = [joined.join([column[row] for column in columns.values()]) for row in test]
        scores = {"joined": [reading.score for reading in readings]}
        scores |= {name: [column[row] for row in test] for name, column in columns.items()}
        areas = {name: auroc(np.array(values), answers.correct[test]) for name, values in scores.items()}
        if None not in areas.values():
            found.append(areas)
    return found


def rouge_l(one: Text, other: Text) -> float:
    """Return ROUGE-L (Lin 2004, section 3): F1 of the longest common subsequence of words, 2 L / (n + m)."""
    total = len(one.words) + len(other.words)
    lengths = [0] * (len(other.words) + 1)
    for word in one.words:
        row = [0]
        for (diagonal, above), candidate in zip(pairwise(lengths), other.words, strict=True):
            row.append(diagonal + 1 if word == candidate else max(above, row[-1]))
        lengths = row
    return 2 * lengths[-1] / total if total else 0.0


def singles(answers: Answers, ks: Sequence[int] = K) -> list[str]:
    """Return the table of single scorers, for each number of samples."""
    table = ["| scorer | " + " | ".join(f"k = {k}" for k in ks) + " |", "| --- |" + " --- |" * len(ks)]
    for name in (*OF_LOGPROBS, *OF_SAMPLES, "rouge_l (no scorer)"):
        if name in OF_LOGPROBS:
            cells = [area(answers.scores(name, 0), answers.correct), *["same"] * (len(ks) - 1)]
        elif name in OF_SAMPLES:
            cells = [area(answers.scores(name, k), answers.correct) for k in ks]
        else:
            cells = [area(answers.rouge(k), answers.correct) for k in ks]
        table.append(f"| {name} | " + " | ".join(cells) + " |")
    p_true = area([SCORERS["p_true"].score(one) for one in answers.evidence], answers.correct)
    return [*table, f"| p_true | {p_true} |" + " |" * (len(ks) - 1)]


def combinations(answers: Answers, seeds: int) -> list[str]:
    """Return the table of combinations, with their gain over the best single scorer."""
    table = [
        "| joined, k = 5 | AUROC | best alone | gain over it | splits with a gain |",
        "| --- | --- | --- | --- | --- |",
    ]
    for names in COMBINED:
        found = held_out(answers, names, K[-1], seeds)
        means = {name: float(np.mean([areas[name] for areas in found])) for name in names}
        best = max(means, key=means.__getitem__)  # of all splits, which favours it
        gains = np.array([areas["joined"] - areas[best] for areas in found])
        joined = np.mean([areas["joined"] for areas in found])
        table.append(
            f"| {' + '.join(names)} | {joined:.3f} | {best} {means[best]:.3f} | "
            f"{gains.mean():+.3f} (5-95 %: {np.quantile(gains, 0.05):+.3f} to {np.quantile(gains, 0.95):+.3f}) | "
            f"{(gains > 0).sum()} of {gains.size} |"
        )
    return table


def verdict(answers: Answers, seeds: int) -> str:
    """Compare the best combination with the best logprob scorer, on the same held-out questions."""
    joined = {
        names: np.mean([areas["joined"] for areas in held_out(answers, names, K[-1], seeds)])
        for names in COMBINED
    }
    alone = {
        name: np.mean([areas[name] for areas in held_out(answers, (name,), K[-1], seeds)])
        for name in OF_LOGPROBS
    }
    together, single = max(joined, key=joined.__getitem__), max(alone, key=alone.__getitem__)
    gain = joined[together] - alone[single]
    return (
        f"Five samples {'gain' if gain > 0 else 'gain nothing'} over logprobs: {' + '.join(together)} reaches "
        f"{joined[together]:.3f}, {single} alone {alone[single]:.3f} ({gain:+.3f})."
    )


#: A wrong answer costs three right ones: answer from a confidence of 3/4 on.
WRONG_COST = 3.0


def ways(ks: Sequence[int]) -> dict[str, tuple[tuple[str, ...], int, Wait]]:
    """Return the ways to draw samples: scorers, number of samples, and when they are drawn."""
    both, most = ("mean_logprob", "agreement"), ks[-1]
    return {
        "k = 0: mean_logprob": (("mean_logprob",), 0, "none"),
        **{f"k = {k}: agreement": (("agreement",), k, "none") for k in ks},
        f"k = {most}: both": (both, most, "none"),
        f"k = {most}: both, band": (both, most, "band"),
        f"k = {most}: both, sequential": (both, most, "sequential"),
    }


def prices(answers: Answers, seeds: int, ks: Sequence[int] = (1, 2, 3, 5)) -> list[str]:
    """Return the cost of each way to draw samples and the value of an answer with it, on held-out questions."""
    table = [
        "| evidence | score at t = .75 | answered | wrong among them | samples | extra tokens |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    tokens = np.mean([len(one.token_logprobs) for one in answers.evidence])
    for name, (scorers, k, wait) in ways(ks).items():
        rows = []
        for seed in range(seeds):
            halves = split(answers.group, {"fit": 0.5, "test": 0.5}, np.random.default_rng(seed))
            fit, test = halves.values()
            gate = fitted(answers, fit, scorers, k, seed)
            for row in test:
                seen = drawn(gate, first(answers.evidence[row], k), wait)
                served = decide(gate, seen, k).served
                rows.append((served, served and not answers.correct[row], len(seen.samples)))
        served, wrong, samples = (np.mean(column) for column in zip(*rows, strict=True))
        worth = served - wrong - WRONG_COST * wrong
        table.append(
            f"| {name} | {worth:+.3f} | {served:.0%} | {wrong / served if served else 0:.0%} | {samples:.2f} | "
            f"{samples * tokens:.0f} |"
        )
    always = np.mean(np.where(answers.correct, 1.0, -WRONG_COST))
    return [*table, f"| always answering | {always:+.3f} | 100% | {1 - answers.correct.mean():.0%} | 0 | 0 |"]


def fitted(answers: Answers, rows: np.ndarray, scorers: Sequence[str], k: int, seed: int) -> Gate:
    """Return the gate of a policy tuned on these rows for a cost of wrong answers."""
    collector = Collector()
    for row in rows:
        evidence = first(answers.evidence[row], k)
        collector.add(evidence, "correct" if answers.correct[row] else "incorrect", str(answers.group[row]))
    tuned = tune(collector.graded(), WrongCost(WRONG_COST), scorers=scorers, calibrator="platt", seed=seed)
    return Gate(tuned.policy)


def report(files: Sequence[Path], seeds: int) -> str:
    """Everything as Markdown."""
    text = [
        "# What further samples are worth\n",
        f"`python -m tests.benchmarks.bench_agreement --seeds {seeds}`. Greedy answers of two small models and five",
        "samples of each at T = 0.8. AUROC with 95 % intervals (Newcombe); the first k samples count. Joined",
        "scorers: `gating.combine.Logistic`, fitted on half of the questions and measured on the other, means",
        f"over {seeds} ways to halve them. The ways share their answers, so that their spread is no interval.\n",
    ]
    for path in files:
        answers = Answers.read(path)
        text += [f"## {path.stem}: {answers.correct.size} answers, {answers.correct.sum()} right\n"]
        text += [*singles(answers), "", *combinations(answers, seeds), "", verdict(answers, seeds), ""]
        text += [
            "What samples cost: policies tuned on one half for a wrong answer's cost of three, means over the other.",
            "A sample is counted with the tokens of a mean answer; its prompt is read once for all of one call.",
            "These generations hold five samples of each answer; SAMPLES.md has a row for nine.\n",
            *prices(answers, min(seeds, PRICED)),
            "",
        ]
    return "\n".join(text)


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--out", type=Path, default=Path(__file__).with_name("AGREEMENT.md"))
    options = parser.parse_args(argv)
    files = [DATA / "generations" / f"{name}.jsonl" for name in FILES]
    absent = [path for path in files if not path.exists()]
    if absent:
        print(f"skipped: {absent[0]} is not there; set IDK_DATA", file=sys.stderr)
        return 0
    text = report(files, options.seeds)
    options.out.write_text(text, encoding="utf-8")
    print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
