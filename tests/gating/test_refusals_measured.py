"""Precision and recall of recognised refusals on what real models said; ``-s`` prints them.

``said.jsonl`` holds distinct answers of the embedded models (0.5B and 1.5B) to the project's own questions,
mostly with passages about something else and under a dozen system prompts, each read and labelled. Two of the
refusals were missed at first, and the patterns extended for them: the recall here is not that of unseen texts.
"""

from __future__ import annotations

import csv
import json
import os
from pathlib import Path

import pytest

from gating.answers import is_abstention
from gating.risk import lower_bound

SAID = Path(__file__).with_name("said.jsonl")
DATA = Path(os.environ.get("IDK_DATA", Path(__file__).parents[2] / "../shared/data"))


def test_refusals_of_the_embedded_models():
    said = [json.loads(line) for line in SAID.read_text(encoding="utf-8").splitlines()]
    declined = [one["text"] for one in said if one["declines"]]
    taken = [one["text"] for one in said if is_abstention(one["text"])]
    hits = len(set(declined) & set(taken))
    print(
        f"\n{len(said)} answers, {len(declined)} of them refusals: precision {hits}/{len(taken)}, "
        f"recall {hits}/{len(declined)} (at least {lower_bound(hits, len(declined), 0.025):.2f} at 97.5 %)"
    )
    for text in set(declined) ^ set(taken):
        print(f"  {'missed' if text in declined else 'taken'}: {text!r}")
    assert len(declined) >= 25
    assert hits == len(taken)
    assert hits >= 0.95 * len(declined)


def test_none_of_other_models_answers_is_taken_for_a_refusal():
    """Graded generations without a refusal among them: only precision can be measured on these."""
    folder = DATA / "generations"
    if not folder.is_dir():
        pytest.skip(f"the measuring data are not at {folder}")
    with (folder / "persona_rq3_responses.csv").open(encoding="utf-8-sig", newline="") as file:
        texts = [row["content"] for row in csv.DictReader(file)]
    for line in (folder / "gsm8k_example_model_solutions.jsonl").read_text(encoding="utf-8").splitlines():
        texts += [one["solution"] for one in json.loads(line).values() if isinstance(one, dict)]
    taken = [text for text in texts if is_abstention(text)]
    print(f"\n{len(taken)} of {len(texts)} answers taken for refusals")
    assert taken == []
