"""What up to nine further samples are worth and cost: the embedded model on the project's own questions.

    python -m tests.benchmarks.bench_samples [--questions 156] [--model 0.5b]

asks through the proxy, as `idk evaluate` does, prints a table and writes it to tests/benchmarks/SAMPLES.md.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from proxy.demo.demo_proxy import DemoSetup
from proxy.demo.embedded.fetch import fetch
from proxy.demo.embedded.models import MODELS
from proxy.demo.embedded.server import EmbeddedServer
from proxy.demo.fit import ask
from proxy.demo.questions import sample
from proxy.offline.progress import Steps
from tests.benchmarks.bench_agreement import PRICED, Answers, prices, singles

if TYPE_CHECKING:
    from collections.abc import Sequence

K = (1, 2, 3, 5, 9)
SLOTS = 4


def asked(model: str, number: int, seed: int, path: Path) -> None:
    """Write the records of so many questions, nine samples each."""
    with EmbeddedServer(fetch(MODELS[model]), slots=SLOTS) as server, Steps("asking", number) as steps:
        setup = DemoSetup(path.parent, server.base_url, server.model, samples=K[-1])
        ask(setup, sample(number, seed), path, SLOTS, lambda _: steps.step())


def report(answers: Answers, model: str, questions: int) -> str:
    """Everything as Markdown."""
    return "\n".join([
        "# What up to nine samples are worth\n",
        f"`make bench-samples`: {MODELS[model].title} on {questions} of the project's own questions:",
        f"{answers.correct.size} answers at temperature 0 that are no abstentions, {answers.correct.sum()} right,",
        "and nine samples of each at 0.8. AUROC with 95 % intervals (Newcombe); the first k samples count.\n",
        *singles(answers, K),
        "\nPolicies tuned on one half for a wrong answer's cost of three, means over the other, over ten ways to halve",
        "the questions. A sample is counted with the tokens of a mean answer.\n",
        *prices(answers, PRICED, K),
        "",
    ])  # fmt: skip


def main(argv: Sequence[str] | None = None) -> int:
    """Ask, measure, print and write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--questions", type=int, default=156)
    parser.add_argument("--model", choices=list(MODELS), default="0.5b")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path(__file__).with_name("SAMPLES.md"))
    options = parser.parse_args(argv)
    with tempfile.TemporaryDirectory(prefix="idk-bench-") as folder:
        path = Path(folder) / "answers.jsonl"
        asked(options.model, options.questions, options.seed, path)
        answers = Answers.read(path)
    text = report(answers, options.model, options.questions)
    options.out.write_text(text, encoding="utf-8")
    print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
