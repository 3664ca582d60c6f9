"""Policies and records for the tests of the report."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from calibrators import CALIBRATORS
from gating import SCORERS, Certificate, Policy
from gating.combine import Single
from proxy.records import Record

CERTIFICATE = Certificate(target_risk=0.2, delta=0.1, errors=10, answered=100, total=150, bound=0.15)
HOSTILE = (
    "</script><script>window.hacked=1</script>",
    "</style><style>body{display:none}</style>",
    "<img src=http://127.0.0.1:9/x onerror=window.hacked=1>",
    "\"' onmouseover='window.hacked=1",
    "{{ 7*7 }} {% raw %} ${7*7}",
    "שלום \u202eabc عالم",
    "🦜👩‍👩‍👧‍👦",
    "a\x00b\x1b[31m\u0085c",
    "x" * 100_000,
)


def policy(**changes: Any) -> Policy:
    """Return a policy with confidence 1 / (1 + exp(-4 (mean logprob + 1))), which is one half at -1."""
    scores = np.repeat(np.linspace(-3, 0, 400), 2)
    correct = (np.arange(800) * 0.6180339887) % 1 < 1 / (1 + np.exp(-4 * (scores + 1)))
    calibrator = CALIBRATORS["platt"]().fit(scores, correct)
    made = Policy("support", Single(SCORERS["mean_logprob"]), calibrator, 0.5, fitted_on={"fit": 800})
    return replace(made, **changes)


def records(n: int = 400, seed: int = 0) -> list[Record]:
    """Return records that are right with the policy's probability, two answers to each question."""
    rng = np.random.default_rng(seed)
    rows = []
    for row in range(n):
        score = -float(rng.exponential())
        right = rng.random() < 1 / (1 + np.exp(-4 * (score + 1)))
        rows.append(record(row, score, "correct" if right else "incorrect", group=f"g{row // 2}"))
    return rows


def record(
    row: int | str,
    score: float | None,
    label: Any,
    answer: str = "Paris",
    question: str = "What is the capital of France?",
    **fields: Any,
) -> Record:
    """Return one record; without a ``score`` it has no evidence."""
    logprobs = None if score is None else [score]
    return Record(
        id=f"q{row}", question=question, answer=answer, token_logprobs=logprobs, label=label, **fields
    )


def hostile() -> list[Record]:
    """Return records whose texts are attacks, right and wrong on both sides of the threshold."""
    return [
        record(f"{row}{score}{label}-{text[:40]}", score - row / 100, label, answer=text, question=text)
        for row, text in enumerate(HOSTILE)
        for score in (-0.2, -2.0)
        for label in ("correct", "incorrect")
    ]
