"""The grader against human judgements of answers.

    IDK_DATA=... python -m tests.benchmarks.bench_grading

reads ``grading/evouna_dev.jsonl`` (EVOUNA: Wang et al. 2023, arXiv:2305.12421; README there), prints the tables and
writes them to tests/benchmarks/GRADING.md. The questions are divided into two halves by a hash: the steps were
developed on the first half, and the second was only measured.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import re
import sys
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from gating.answers import normalise
from gating.grading import TextGrader, grade
from gating.grading.text import TEXT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

DATA = Path(os.environ.get("IDK_DATA", Path(__file__).parents[2] / "../shared/data"))
PAGE = Path(__file__).with_name("GRADING.md")
SETS = {"NQ": "Natural Questions", "TQ": "TriviaQA"}
CHAT = ("gpt35", "chatgpt", "gpt4", "newbing")
#: Least precision and recall among the decided, by set, and the greatest share of undecided answers.
WANTED = {"NQ": (0.97, 0.85), "TQ": (0.985, 0.90)}
MOST_UNDECIDED = 0.15


@dataclass(frozen=True, slots=True)
class Row:
    """One answer with a human's judgement."""

    source: str
    model: str
    question: str
    answers: tuple[str, ...]
    answer: str
    right: bool

    @property
    def developed_on(self) -> bool:
        """Whether the question belongs to the half on which the steps were developed."""
        return hashlib.sha256(self.question.encode()).digest()[0] % 2 == 0


def read(path: Path) -> list[Row]:
    """Read the judged answers."""
    lines = map(json.loads, path.read_text(encoding="utf-8").splitlines())
    return [
        Row(
            line["set"],
            line["model"],
            line["question"],
            tuple(line["answers"]),
            line["answer"],
            line["human"] == "correct",
        )
        for line in lines
    ]


@dataclass(frozen=True, slots=True)
class Agreement:
    """Counts of a grader's outcomes against the human's, for n answers."""

    n: int
    true_positive: int
    false_positive: int
    false_negative: int
    true_negative: int
    undecided: int
    right: int

    @classmethod
    def of(cls, rows: Sequence[Row], grader: Callable[[Row], str]) -> Agreement:
        """Grade ``rows`` and count; an answer that declines counts as decided and not right."""
        counts = Counter((grader(row), row.right) for row in rows)
        wrong = [(outcome, right) for outcome, right in counts if outcome not in ("correct", "undecided")]
        return cls(
            n=len(rows),
            true_positive=counts["correct", True],
            false_positive=counts["correct", False],
            false_negative=sum(counts[each] for each in wrong if each[1]),
            true_negative=sum(counts[each] for each in wrong if not each[1]),
            undecided=counts["undecided", True] + counts["undecided", False],
            right=sum(row.right for row in rows),
        )

    @property
    def precision(self) -> float:
        """The share of right answers among those graded correct."""
        return self.true_positive / (self.true_positive + self.false_positive)

    @property
    def recall(self) -> float:
        """The share graded correct among the decided right answers."""
        return self.true_positive / (self.true_positive + self.false_negative)

    @property
    def kappa(self) -> float:
        """Cohen's kappa among the decided answers."""
        n = self.n - self.undecided
        observed = (self.true_positive + self.true_negative) / n
        said = (self.true_positive + self.false_positive) / n
        true = (self.true_positive + self.false_negative) / n
        chance = said * true + (1 - said) * (1 - true)
        return (observed - chance) / (1 - chance)

    def cells(self) -> str:
        """Return the cells of a table row."""
        return (
            f"{self.n:,} | {self.precision:.3f} | {self.recall:.3f} | {self.true_positive / self.right:.3f} "
            f"| {self.undecided / self.n:.1%} | {self.kappa:.3f}"
        )


def ours(row: Row, text_grader: TextGrader = TEXT) -> str:
    """Grade with the project's rules."""
    return grade(row.answer, row.answers, question=row.question, text_grader=text_grader)


def exact_match(row: Row) -> str:
    """Grade by equality after SQuAD's normalisation."""
    return "correct" if normalise(row.answer) in map(normalise, row.answers) else "incorrect"


def contains(row: Row) -> str:
    """Grade by whether the answer contains an accepted answer after normalisation."""
    said = normalise(row.answer)
    return "correct" if any(normalise(text) in said for text in row.answers) else "incorrect"


def token_f1(row: Row) -> str:
    """Grade by token F1 >= .5 with the best accepted answer (Rajpurkar et al. 2016)."""
    said = Counter(normalise(row.answer).split())
    best = 0.0
    for text in row.answers:
        wanted = Counter(normalise(text).split())
        common = (said & wanted).total()
        best = max(best, 2 * common / (said.total() + wanted.total()) if common else 0.0)
    return "correct" if best >= 0.5 else "incorrect"


#: The graders of the comparison.
GRADERS: dict[str, Callable[[Row], str]] = {
    "idk": ours,
    "contains": contains,
    "F1 >= .5": token_f1,
    "exact match": exact_match,
}


def without_steps() -> Iterator[tuple[str, str, TextGrader]]:
    """Yield each step's name, its source, and the grader without it."""
    for step in TEXT.normalisers:
        kept = tuple(each for each in TEXT.normalisers if each is not step)
        yield step.name, step.source, replace(TEXT, normalisers=kept)
    for variant in TEXT.variants:
        yield (
            variant.name,
            variant.source,
            replace(TEXT, variants=tuple(v for v in TEXT.variants if v is not variant)),
        )
    for veto in TEXT.vetoes:
        yield (
            f"veto: {veto.name}",
            veto.source,
            replace(TEXT, vetoes=tuple(v for v in TEXT.vetoes if v is not veto)),
        )
    yield "plurals", "errors on EVOUNA", replace(TEXT, plurals=False)
    yield "glued ends", "errors on EVOUNA", replace(TEXT, glued_ends=False)
    yield "words in any order", "errors on EVOUNA", replace(TEXT, any_order=False)


def tables(rows: Sequence[Row]) -> Iterator[str]:
    """Yield the lines of the page's tables."""
    head = "| n | precision | recall (decided) | recall (all) | undecided | kappa |"
    rule = "| ---: | ---: | ---: | ---: | ---: | ---: |"
    yield from ("## Comparison, on the half that was only measured", "")
    yield from (f"| answers | grader {head}", f"| --- | --- {rule}")
    measured = [row for row in rows if not row.developed_on]
    for source, name in SETS.items():
        for models, kind in ((CHAT, "chat"), (("fid",), "short")):
            part = [row for row in measured if row.source == source and row.model in models]
            for grader, function in GRADERS.items():
                yield f"| {name}, {kind} | {grader} | {Agreement.of(part, function).cells()} |"
    yield from ("", "## Both halves, chat answers", "")
    yield from (f"| answers | half {head}", f"| --- | --- {rule}")
    for source, name in SETS.items():
        for developed, half in ((True, "developed on"), (False, "measured")):
            part = [r for r in rows if r.source == source and r.model in CHAT and r.developed_on is developed]
            yield f"| {name} | {half} | {Agreement.of(part, ours).cells()} |"
    yield from ("", "## What each step is worth, on all chat answers", "")
    yield "A row leaves the step out: the change in answers graded correct that are right and that are wrong, and in"
    yield from (
        "undecided answers.",
        "",
        "| step | source | right | wrong | undecided |",
        "| --- | --- | ---: | ---: | ---: |",
    )
    chat = [row for row in rows if row.model in CHAT]
    full = Agreement.of(chat, ours)
    for step, source, grader in without_steps():
        less = Agreement.of(chat, lambda row, grader=grader: ours(row, grader))  # type: ignore[misc]
        yield (
            f"| {step} | {source} | {less.true_positive - full.true_positive:+d} "
            f"| {less.false_positive - full.false_positive:+d} | {less.undecided - full.undecided:+d} |"
        )


def broken(rows: Sequence[Row]) -> Iterator[str]:
    """Yield a sentence for each target that the measured half misses."""
    for source, (precision, recall) in WANTED.items():
        part = [row for row in rows if row.source == source and row.model in CHAT and not row.developed_on]
        found = Agreement.of(part, ours)
        if found.precision < precision or found.recall < recall or found.undecided > MOST_UNDECIDED * found.n:
            yield f"{SETS[source]}: {found.cells()} misses {precision}, {recall} or {MOST_UNDECIDED:.0%}"


def main() -> int:
    """Write the page; return 1 where a target is missed."""
    path = DATA / "grading" / "evouna_dev.jsonl"
    if not path.is_file():
        print(f"the judged answers are not at {path}; set IDK_DATA", file=sys.stderr)
        return 1
    rows = read(path)
    lines = [
        "# The grader against people",
        "",
        f"Written by `make bench-grading` from {len(rows):,} human judgements of EVOUNA (Wang et al. 2023,",
        "arXiv:2305.12421), with Python "
        + platform.python_version()
        + ". Precision: right among the answers graded",
        "correct. Recall: graded correct among the right answers, of those that the grader decides, and of all. Each",
        "question belongs to one of two halves by a hash; the steps were developed on the first half only. Short",
        "answers are those of FiD, chat answers those of GPT-3.5, ChatGPT, GPT-4 and Bing Chat.",
        "",
        *tables(rows),
    ]
    text = "\n".join(lines) + "\n"
    print(text)
    PAGE.write_text(text, encoding="utf-8")
    missed = list(broken(rows))
    for sentence in missed:
        print(re.sub(r"\s+", " ", sentence), file=sys.stderr)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
