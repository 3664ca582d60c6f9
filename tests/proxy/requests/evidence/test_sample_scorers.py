"""Scorers whose evidence is gathered: refused where the route does not say how; a record may bring it too."""

from __future__ import annotations

import json

import pytest

from gating import SCORERS
from proxy import records
from proxy.app import build
from proxy.config import load
from proxy.exceptions import ConfigError

CONFIG = """
upstreams: {u: {base_url: http://127.0.0.1:9/v1}}
routes: [{name: r, models: ["*"], upstream: u, mode: MODE, scorers: [NAME]MORE}]
"""
#: What a route must say for each kind of evidence.
WANTS = {
    "samples": "say how many",
    "closed_book": "say where a request has it",
    "embeddings": "say which model",
    "meanings": "name the route",
}


@pytest.mark.parametrize("mode", ["enforce", "observe"])
@pytest.mark.parametrize("name", [name for name, scorer in SCORERS.items() if scorer.needs & WANTS.keys()])
def test_a_route_that_does_not_say_how_is_refused(tmp_path, name, mode):
    file = tmp_path / "idk.yaml"
    more = ", score_threshold: 0.5" if mode == "enforce" else ""
    file.write_text(CONFIG.replace("MODE", mode).replace("NAME", name).replace("MORE", more))
    wanted = "|".join(WANTS[need] for need in SCORERS[name].needs & WANTS.keys())
    with pytest.raises(ConfigError, match=rf"routes\.r\..*({wanted})"):
        build(load(file), folder=tmp_path, environ={})


def test_what_the_model_said_of_itself_is_evidence(tmp_path):
    file = tmp_path / "records.jsonl"
    features = {"p_true": 0.7, "verbalised": 0.9, "mine": 2.0}
    file.write_text(json.dumps({"id": "q", "answer": "Paris", "features": features, "label": "correct"}))
    ((record, _),) = records.lines(file, records.Record)
    evidence = record.evidence()
    assert (evidence.p_true, evidence.verbalised, evidence.features) == (0.7, 0.9, {"mine": 2.0})
    assert set(records.graded(file)[0].columns) == {"p_true", "verbalised", "mine"}
