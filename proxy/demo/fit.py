"""Fitting of the demo's policy: the first half of the questions is asked, graded and used to tune."""

from __future__ import annotations

import asyncio
import json
import os
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from gating import tuning
from gating.types import GatingError
from proxy import app, records
from proxy.demo.demo_proxy import BEFORE, MAX_TOKENS, WRONG_COST, DemoSetup
from proxy.demo.questions import SYSTEM_PROMPT
from proxy.exceptions import RunError
from proxy.offline.evaluation import Asker, Run
from proxy.server.bodies import Bodies

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from proxy.demo.questions import Question


def fit(
    setup: DemoSetup,
    questions: Sequence[Question],
    *,
    concurrency: int,
    seed: int,
    on_answer: Callable[[str], None],
) -> tuning.Tuned:
    """Ask, grade, tune for a wrong answer's cost of three, and write the policy; ``on_answer`` gets each label.

    Raises RunError where the answers cannot fit a policy, for example if all are wrong.
    """
    ask(setup, questions, setup.records, concurrency, on_answer)
    graded, fingerprint = records.graded(setup.records)
    provenance = tuning.Provenance(
        name="demo", fingerprint=fingerprint, created=datetime.now(UTC).isoformat(timespec="seconds")
    )
    try:
        tuned = tuning.tune(
            graded, tuning.WrongCost(WRONG_COST), scorers=setup.scorers, seed=seed, provenance=provenance
        )
    except GatingError as exc:
        raise RunError(f"demo: {exc}; ask more with --questions, or another --model") from exc
    records.write(setup.policy, json.dumps(tuned.policy.to_dict(), indent=2), private=False)
    return tuned


def ask(
    setup: DemoSetup,
    questions: Sequence[Question],
    path: Path,
    concurrency: int,
    on_answer: Callable[[str], None],
) -> None:
    """Ask the questions and write their records; ``on_answer`` gets each label. Raises RunError."""
    asyncio.run(_ask(setup, questions, path, concurrency, on_answer))


async def _ask(
    setup: DemoSetup,
    questions: Sequence[Question],
    path: Path,
    concurrency: int,
    on_answer: Callable[[str], None],
) -> None:
    loaded = setup.config(BEFORE)
    parts = app.build(loaded, folder=setup.folder, environ=os.environ)
    pipeline = next(iter(parts.pipelines.values()))
    asker = Asker(
        route=pipeline.route,
        gatherers=pipeline.gatherers,
        model=setup.model,
        top_logprobs=app.TOP_LOGPROBS,
        bodies=Bodies(server=loaded.server),
        system=SYSTEM_PROMPT,
        params={"max_tokens": MAX_TOKENS},
        samples=setup.samples,
    )
    asked = [records.Question(**question.to_dict()) for question in questions]
    sink = records.Appender(path, asker.made_with)
    try:
        await Run(asker, sink, set(), on_answer).ask_all(lambda: asked, concurrency)
    finally:
        sink.close()
        await parts.aclose()
