"""What the model says of its own answers stands in the records of a route that reads it."""

from __future__ import annotations

import json

import pytest

from proxy.cli.main import run
from tests.e2e.proxies import route, write_config
from tests.fakes import FakeUpstream, answer, says


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
