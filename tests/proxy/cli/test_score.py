"""``idk score``: the gate's word on each record."""

from __future__ import annotations

import json

import pytest

from calibrators import CALIBRATORS
from gating import SCORERS, Policy
from gating.combine import Single
from proxy.cli.main import run


def policy(folder, threshold=0.5):
    calibrator = CALIBRATORS["platt"]().fit([-3, -1, 0, 1, 2, 3], [0, 1, 0, 1, 1, 1])
    path = folder / "policy.json"
    made = Policy("support", Single(SCORERS["mean_logprob"]), calibrator, threshold)
    path.write_text(json.dumps(made.to_dict()))
    return path


def score(folder, *rows, threshold=0.5):
    source, out = folder / "records.jsonl", folder / "scored.jsonl"
    source.write_text("".join(json.dumps(row) + "\n" for row in rows))
    arguments = ["--records", str(source), "--policy", str(policy(folder, threshold)), "--out", str(out)]
    status = run(["score", *arguments])
    return status, [json.loads(line) for line in out.read_text().splitlines()] if out.exists() else []


def test_every_field_stays_and_the_verdict_comes_to_it(tmp_path):
    rows = [
        {"id": "1", "answer": "Paris", "token_logprobs": [-0.1], "label": "correct", "mine": {"a": [1]}},
        {"id": "2", "answer": "Lyon", "token_logprobs": [-3.0]},
        {"id": "3", "answer": "Nice"},
        {"id": "4", "answer": "I don't know.", "token_logprobs": [-0.1]},
    ]
    status, scored = score(tmp_path, *rows)
    assert status == 0
    assert [{key: row[key] for key in given} for row, given in zip(scored, rows, strict=True)] == rows
    assert [(row["decision"], row["reason"]) for row in scored] == [
        ("answer", "confident"),
        ("abstain", "below_threshold"),
        ("abstain", "unmeasured"),
        ("abstain", "upstream_abstained"),
    ]
    assert scored[0]["score"] == -0.1
    assert scored[0]["confidence"] > 0.5 > scored[1]["confidence"]
    assert scored[2]["score"] is scored[2]["confidence"] is None


@pytest.mark.parametrize(
    ("row", "threshold", "message"),
    [
        ({"id": "1"}, 0.5, "line 1: Object missing required field `answer`"),
        ({"id": "1", "answer": "x"}, None, "the policy support has none"),
    ],
)
def test_what_cannot_be_scored_is_one_line(tmp_path, capsys, row, threshold, message):
    status, scored = score(tmp_path, row, threshold=threshold)
    assert (status, scored) == (2, [])
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line
