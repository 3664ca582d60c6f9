"""A fake upstream for the pages: it answers every question, mostly rightly, with higher logprobs where it is right."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np

from tests.fakes import FakeUpstream, answer, says

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from tests.fakes import Reply

QUESTIONS = 400


class Answering(dict[str, "list[Reply]"]):
    """Replies by prompt. An unscripted prompt is answered with its last word, or wrongly."""

    def get(self, key: str, default: Any = None) -> Any:
        if key in self or not key or key.startswith("/"):
            return super().get(key, default)
        rng = np.random.default_rng(list(key.encode()))
        right = bool(rng.random() < 0.8)
        logprob = float(rng.uniform(-0.3, -0.01) if right else rng.uniform(-2.0, -0.28))
        word = key.rsplit(" ", 1)[-1].strip("?.") if right else "nothing"
        return [answer(says(word, logprob=logprob))]


def upstream() -> FakeUpstream:
    """Return a fake upstream that answers every prompt."""
    server = FakeUpstream()
    server._replies = Answering()
    return server


def write_questions(folder: Path, names: Sequence[str] = ("questions.jsonl",)) -> None:
    """Write the question files that the pages expect the reader to have."""
    lines = [
        json.dumps({"id": f"q{n}", "question": f"Say the number {n}", "answers": [str(n)]})
        for n in range(QUESTIONS)
    ]
    for name in names:
        (folder / name).write_text("\n".join(lines) + "\n")
