"""Recorded evidence of live requests: a record gives the same scores as the request did."""

from __future__ import annotations

import msgspec
import pytest

from gating import SCORERS, Evidence
from proxy.control.recording.event import observed_of
from proxy.records import Observed

EVIDENCE = Evidence(
    "Paris",
    token_logprobs=[-0.1, -0.2],
    samples=("Paris", "Lyon"),
    embeddings=((1.0, 0.0, 0.0, 0.0), (0.8, 0.6, 0.0, 0.0), (0.5, 0.5, 0.5, 0.5)),
    meanings=(1, 1, 2),
    p_true=0.7,
)


@pytest.mark.parametrize(
    "name", ["mean_logprob", "agreement", "agreement_embedding", "agreement_judge", "p_true"]
)
def test_the_scores_are_the_same_after_the_file(name):
    line = msgspec.json.encode(observed_of(EVIDENCE))
    again = msgspec.json.decode(line, type=Observed).evidence()
    assert SCORERS[name].score(again) == pytest.approx(SCORERS[name].score(EVIDENCE), abs=1e-5)


def test_what_was_not_gathered_is_not_there():
    observed = observed_of(Evidence("Paris"))
    assert (observed.embeddings, observed.meanings, observed.samples) == (None, None, None)
