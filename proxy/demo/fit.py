"""The first half: questions asked through the route, graded, and a policy fitted on them."""

from __future__ import annotations

import asyncio
import json
import os
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from gating import tuning
from gating.types import GatingError
from proxy import app, records
from proxy.demo.questions import SYSTEM_PROMPT
from proxy.demo.setting import BEFORE, MAX_TOKENS, WRONG_COST, Setting
from proxy.exceptions import RunError
from proxy.offline.evaluation import Asker, Run
from proxy.server.bodies import Bodies

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from proxy.demo.questions import Question


def fit(
    setting: Setting,
    questions: Sequence[Question],
    *,
    concurrency: int,
    seed: int,
    told: Callable[[str], None],
) -> tuning.Tuned:
    """Ask, grade, tune for a wrong answer's cost of three, and write the policy; ``told`` gets each label.

    Raises RunError where the answers teach nothing, as when all are wrong.
    """
    ask(setting, questions, setting.records, concurrency, told)
    graded, fingerprint = records.graded(setting.records)
    provenance = tuning.Provenance(
        name="demo", fingerprint=fingerprint, created=datetime.now(UTC).isoformat(timespec="seconds")
    )
    try:
        tuned = tuning.tune(
            graded, tuning.WrongCost(WRONG_COST), scorers=setting.scorers, seed=seed, provenance=provenance
        )
    except GatingError as exc:
        raise RunError(f"demo: {exc}; ask more with --questions, or another --model") from exc
    records.write(setting.policy, json.dumps(tuned.policy.to_dict(), indent=2))
    return tuned


def ask(
    setting: Setting,
    questions: Sequence[Question],
    path: Path,
    concurrency: int,
    told: Callable[[str], None],
) -> None:
    """Write the records of these questions; ``told`` gets each label. Raises RunError."""
    asyncio.run(_ask(setting, questions, path, concurrency, told))


async def _ask(
    setting: Setting,
    questions: Sequence[Question],
    path: Path,
    concurrency: int,
    told: Callable[[str], None],
) -> None:
    loaded = setting.config(BEFORE)
    parts = app.build(loaded, folder=setting.folder, environ=os.environ)
    pipeline = next(iter(parts.pipelines.values()))
    asker = Asker(
        route=pipeline.route,
        gatherers=pipeline.gatherers,
        model=setting.model,
        top_logprobs=app.TOP_LOGPROBS,
        bodies=Bodies(server=loaded.server),
        system=SYSTEM_PROMPT,
        params={"max_tokens": MAX_TOKENS},
        samples=setting.samples,
    )
    asked = [records.Question(**question.to_dict()) for question in questions]
    sink = records.Appender(path)
    try:
        await Run(asker, sink, set(), told).ask_all(lambda: asked, concurrency)
    finally:
        sink.close()
        await parts.aclose()
