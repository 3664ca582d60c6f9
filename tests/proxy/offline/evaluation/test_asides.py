"""Self-assessments of the model in the records of a route whose scorers read them."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from gating import SCORERS, Evidence
from proxy import records
from proxy.cli.main import run
from proxy.requests.evidence.minilm import MiniLM
from tests.e2e.proxies import route, write_config
from tests.fakes import FakeUpstream, answer, says


def evaluated(folder, reply, scorer, **settings):
    """Evaluate one question on a route with this scorer; ``reply(key)`` is the model's text, also for a probe."""
    with FakeUpstream() as upstream:

        class Replies(dict):
            def get(self, key, default=None):
                return [answer(says(reply(str(key)), logprob=-0.1))]

        upstream._replies = Replies()
        fake = {"base_url": upstream.base_url, "max_retries": 0}
        routes = [
            {**route("r", scorers=[scorer]), "samples": 2, **settings},
            route("judge", scorers=["mean_logprob"]),
        ]
        path = write_config(folder, {"upstreams": {"fake": fake}, "routes": routes})
        questions = folder / "questions.jsonl"
        questions.write_text(json.dumps({"id": "q", "question": "Capital?", "answers": ["Paris"]}))
        out = folder / "records.jsonl"
        asked = ["--config", str(path), "--route", "r", "--data", str(questions), "--out", str(out)]
        assert run(["evaluate", *asked, "--samples", "2"]) == 0
    (record, _) = next(records.lines(out, records.Record))
    return record


def test_vectors_are_recorded_so_that_no_angle_changes(tmp_path):
    said = iter(["Paris", "The city of Paris", "Lyon"])
    record = evaluated(
        tmp_path, lambda _: next(said, "{}"), "agreement_embedding", embeddings={"local": "minilm"}
    )
    assert [len(vector) for vector in record.embeddings] == [3, 3, 3]
    assert record.made_with["embeddings"] == "minilm"
    scorer = SCORERS["agreement_embedding"]
    whole = Evidence("Paris", samples=record.samples, embeddings=MiniLM().vectors(["Paris", *record.samples]))
    assert scorer.score(record.evidence()) == pytest.approx(scorer.score(whole), abs=1e-5)


def test_meanings_are_recorded(tmp_path):
    said = iter(["Paris", "It is Paris", "Lyon"])
    record = evaluated(
        tmp_path,
        lambda key: "[1, 1, 2]" if "JSON list" in key else next(said, "{}"),
        "agreement_judge",
        judge="judge",
    )
    assert record.meanings == [1, 1, 2]
    assert SCORERS["agreement_judge"].score(record.evidence()) == 0.5


def test_a_refusal_is_compared_with_nothing(tmp_path):
    record = evaluated(
        tmp_path, lambda _: "I don't know.", "agreement_embedding", embeddings={"local": "minilm"}
    )
    assert record.samples == ["I don't know."] * 2
    assert record.embeddings is None


@pytest.mark.parametrize("count", [1, 2, 5])
def test_turned_vectors_keep_their_products(count):
    vectors = np.random.default_rng(count).normal(size=(count, 3))
    turned = np.array(records.reduced_embeddings(vectors.tolist()))
    assert turned.shape == (count, min(count, 3))
    np.testing.assert_allclose(turned @ turned.T, vectors @ vectors.T, atol=1e-4)


def test_what_cannot_be_compared_is_not_recorded():
    assert records.reduced_embeddings([[1.0, 2.0], [1.0]]) is None
    assert records.reduced_embeddings([[1.0, math.nan], [1.0, 0.0]]) is None
    assert records.reduced_embeddings([[1.0, math.inf], [1.0, 0.0]]) is None


@pytest.mark.parametrize(
    ("scorer", "features"), [("verbalised", {"verbalised": 0.8}), ("mean_logprob", None)]
)
def test_a_confidence_in_words_is_recorded(tmp_path, scorer, features):
    with FakeUpstream() as upstream:

        class Replies(dict):
            def get(self, key, default=None):
                return [answer(says("80%" if "Proposed answer:" in str(key) else "Paris", logprob=-0.1))]

        upstream._replies = Replies()
        fake = {"base_url": upstream.base_url, "max_retries": 0}
        config = {"upstreams": {"fake": fake}, "routes": [route("r", scorers=[scorer])]}
        path = write_config(tmp_path, config)
        questions = tmp_path / "questions.jsonl"
        questions.write_text(json.dumps({"id": "q", "question": "Capital?", "answers": ["Paris"]}))
        out = tmp_path / "records.jsonl"
        asked = ["--config", str(path), "--route", "r", "--data", str(questions), "--out", str(out)]
        assert run(["evaluate", *asked, "--samples", "2"]) == 0
    record = json.loads(out.read_text())
    assert record.get("features") == features
    assert record["samples"] == ["Paris", "Paris"]
    assert record["made_with"]["samples"] == 2
