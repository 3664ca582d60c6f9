"""Logprobs, samples and both, on answers of which each source knows something."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from proxy.demo import DemoSetup
from proxy.demo.evidence_sources import compare_sources, scores_by_source, verdict
from proxy.demo.fit import fit
from proxy.demo.questions import sample
from tests.fakes import FakeUpstream, answer, says

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

QUESTIONS = sample(160, seed=3)
FIRST, SECOND = QUESTIONS[:110], QUESTIONS[110:]


def knows(place: int) -> bool:
    return place % 2 == 0


@pytest.fixture(scope="module")
def upstream() -> Iterator[FakeUpstream]:
    """Right answers have higher logprobs and are said again, with an exception now and then."""
    with FakeUpstream() as server:
        for place, question in enumerate(QUESTIONS):
            server.serve(question.question, _reply(place, question.answers[0]))
        yield server


def _reply(place, right):
    text = right if knows(place) else "Atlantis"
    sure = knows(place) ^ (place % 7 == 0)
    same = knows(place) ^ (place % 5 == 0)

    async def reply(call, peer):
        if call.json.get("temperature") == 0.8:
            said = says(text if same else "Nowhere")
            await answer(*[said] * call.json.get("n", 1))(call, peer)
        else:
            await answer(says(text, logprob=-0.1 if sure else -2.0))(call, peer)

    return reply


def test_each_source_judges_the_same_answers(upstream: FakeUpstream, tmp_path: Path) -> None:
    setup = DemoSetup(tmp_path, upstream.base_url, "m", samples=3)
    tuned = fit(setup, FIRST, concurrency=4, seed=0, on_answer=lambda _: None)
    assert [scorer.name for scorer in tuned.policy.scorers] == ["mean_logprob", "agreement"]
    found = compare_sources(setup, SECOND, concurrency=4, seed=0, on_answer=lambda _: None)
    assert set(found) == {"logprobs", "samples", "both"}
    answers = [[(one.question, one.answer, one.label) for one in asked] for asked in found.values()]
    assert answers[0] == answers[1] == answers[2]
    assert all(one.confidence is not None for asked in found.values() for one in asked)
    scores = scores_by_source(found)
    assert scores["both"]["0.75"] >= max(scores["logprobs"]["0.75"], scores["samples"]["0.75"])


def test_without_logprobs_samples_teach(upstream: FakeUpstream, tmp_path: Path) -> None:
    setup = DemoSetup(tmp_path, upstream.base_url, "m", samples=3, logprobs=False)
    tuned = fit(setup, FIRST, concurrency=4, seed=0, on_answer=lambda _: None)
    assert tuned.policy.needs == {"samples"}
    assert not any("logprobs" in call.json for call in upstream.calls(FIRST[0].question)[-2:])


def test_the_verdict_is_honest() -> None:
    scores = {"logprobs": {"0.5": 0.1}, "samples": {"0.5": 0.2}, "both": {"0.5": 0.3}}
    assert verdict(scores) == "Both together beat each alone at every target."
    scores["both"]["0.5"] = 0.2
    assert verdict(scores) == "Both together do not beat each alone: samples at 0.5 score as much or more."
