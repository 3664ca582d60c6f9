"""``idk evaluate`` against a real HTTP upstream."""

from __future__ import annotations

import json
import re
import subprocess
import sys

import pytest

from proxy.cli.main import run
from tests.proxy.offline.evaluation.evaluating import evaluate, questions
from tests.proxy.table_upstream import TableUpstream, pieces

CAPITALS = {"France": "Paris", "Italy": "Rome", "Spain": "Madrid", "Peru": "Lima", "Chad": "N'Djamena"}
ANSWERS = {f"Capital of {country}?": capital for country, capital in CAPITALS.items()}


def capitals(count=None):
    return [
        {"id": country, "question": f"Capital of {country}?", "answers": [capital]}
        for country, capital in list(CAPITALS.items())[:count]
    ]


@pytest.mark.parametrize("mode", ["observe", "off"])
def test_a_record_holds_the_evidence_the_label_and_what_it_was_made_with(tmp_path, mode):
    with TableUpstream(
        ANSWERS | {"Capital of Peru?": "Cusco", "Capital of Chad?": "I don't know."}
    ) as upstream:
        status, records = evaluate(
            tmp_path, upstream, capitals(), mode=mode, model="big", params={"temperature": 0}
        )
    assert status == 0
    by_id = {record["id"]: record for record in records}
    assert [by_id[country]["label"] for country in CAPITALS] == ["correct"] * 3 + ["incorrect", "abstained"]
    rome = by_id["Italy"]
    assert (rome["question"], rome["answer"]) == ("Capital of Italy?", "Rome")
    assert rome["group"] == "Italy"
    assert rome["token_logprobs"] == pytest.approx([0.0, -0.1])
    assert rome["top_logprobs"] == [[-0.1, -9999.0]] * 2
    assert rome["made_with"] == {
        "upstream": "local",
        "model": "big",
        "answered_by": ["m"],
        "fields": {"temperature": 0},
    }
    assert {body["model"] for body in upstream.bodies} == {"big"}
    assert all(body["top_logprobs"] == 5 for body in upstream.bodies)


def test_context_choices_messages_and_a_system_prompt_reach_the_model(tmp_path):
    asked = "Rome is in Italy.\n\nIt is old.\n\nWhere is Rome?\nA. Italy\nB. Peru"
    rows = [
        {"id": "1", "question": "Where is Rome?", "choices": ["Italy", "Peru"], "answers": ["Italy"]}
        | {"context": ["Rome is in Italy.", "It is old."], "group": "rome"},
        {"id": "2", "messages": [{"role": "user", "content": "And Lima?"}], "answers": ["Peru"]},
    ]
    bare = "Where is Rome?\nA. Italy\nB. Peru"
    with TableUpstream({asked: "A", bare: "B", "And Lima?": "Peru"}) as upstream:
        options = ("--system", "Be brief.", "--temperature", "0.5", "--max-tokens", "9")
        options = (*options, "--contexts", "relevant")
        status, records = evaluate(tmp_path, upstream, rows, *options)
    assert status == 0
    assert [record["label"] for record in sorted(records, key=lambda r: r["id"])] == ["correct"] * 2
    assert {record["group"] for record in records} == {"rome", "2"}
    assert {body["messages"][0]["content"] for body in upstream.bodies} == {"Be brief."}
    assert {(body["temperature"], body["max_tokens"]) for body in upstream.bodies} == {(0.5, 9)}
    assert records[0]["made_with"]["fields"]["temperature"] == 0.5


@pytest.mark.parametrize(("most_choices", "calls"), [(8, 2), (1, 4)])
def test_samples_are_drawn_in_as_many_calls_as_the_upstream_needs(tmp_path, most_choices, calls):
    with TableUpstream(ANSWERS, most_choices=most_choices) as upstream:
        status, records = evaluate(tmp_path, upstream, capitals(1), "--samples", "3")
    assert status == 0
    assert records[0]["samples"] == ["Paris"] * 3
    assert upstream.asked["Capital of France?"] == calls
    assert upstream.bodies[1]["temperature"] == 0.8
    assert (records[0]["made_with"]["samples"], records[0]["made_with"]["sample_temperature"]) == (3, 0.8)


class JudgedUpstream(TableUpstream):
    """Answer from the table; when asked to grade, return ``grades`` in turn."""

    def __init__(self, answers, grades):
        super().__init__(answers)
        self.grades = list(grades)

    def answer(self, question):
        return self.grades.pop(0) if question.startswith("You grade") else super().answer(question)


def test_a_judge_grades_in_the_place_of_the_rules_and_what_they_dispute_is_counted(tmp_path, capsys):
    grades = ["CORRECT", "**Incorrect.**", "DECLINED", "correct"]
    with JudgedUpstream(ANSWERS, grades) as upstream:
        options = ("--judge", "support", "--json", "--concurrency", "1")
        status, records = evaluate(tmp_path, upstream, capitals(4), *options)
    assert status == 0
    assert [record["label"] for record in records] == ["correct", "incorrect", "abstained", "correct"]
    assert {record["matched"] for record in records} == {"correct"}
    assert json.loads(capsys.readouterr().out)["disputed"] == 2
    asked = [body for body in upstream.bodies if body["messages"][-1]["content"].startswith("You grade")]
    assert "Capital of Italy?" in asked[1]["messages"][0]["content"]
    assert {body["temperature"] for body in asked} == {0}


def test_a_judge_that_gives_no_grade_labels_nothing(tmp_path, capsys):
    with JudgedUpstream(ANSWERS, ["Well, it depends."] * 2) as upstream:
        status, records = evaluate(tmp_path, upstream, capitals(1), "--judge", "support")
    assert (status, records) == (1, [])
    assert "the judge model did not answer CORRECT" in capsys.readouterr().err


def test_an_upstream_without_logprobs_still_gives_records(tmp_path):
    with TableUpstream(ANSWERS, logprobs=False) as upstream:
        status, records = evaluate(tmp_path, upstream, capitals(2), "--concurrency", "1")
    assert status == 0
    assert [record["token_logprobs"] for record in records] == [None, None]
    # With alternatives, without them, and without logprobs; the second question may come before the probes.
    assert upstream.asked["Capital of France?"] == 3
    assert upstream.asked["Capital of Italy?"] in (1, 2, 3)


def test_what_is_answered_is_not_asked_again_and_a_half_line_is_cut(tmp_path, capsys):
    with TableUpstream(ANSWERS) as upstream:
        evaluate(tmp_path, upstream, capitals(), "--limit", "3")
        out = tmp_path / "records.jsonl"
        whole = out.read_bytes().splitlines(keepends=True)
        out.write_bytes(b"".join(whole[:2]) + whole[2][:-20])
        upstream.asked.clear()
        status, records = evaluate(tmp_path, upstream, capitals(), "--json")
    assert status == 0
    assert sorted(record["id"] for record in records) == sorted(CAPITALS)
    assert sorted(upstream.asked.values()) == [1, 1, 1]
    assert out.read_bytes().startswith(b"".join(whole[:2]))
    assert json.loads(capsys.readouterr().out.splitlines()[-1]) == {
        "asked": 3,
        "correct": 3,
        "incorrect": 0,
        "abstained": 0,
        "undecided": 0,
    }


def test_a_killed_run_goes_on_and_no_written_answer_is_paid_for_again(tmp_path):
    rows = [{"id": str(place), "question": f"{place}?", "answers": [str(place)]} for place in range(200)]
    with TableUpstream({row["question"]: row["id"] for row in rows}) as upstream:
        upstream.enough = 60
        out = tmp_path / "records.jsonl"
        arguments = ["evaluate", "--config", str(upstream.config(tmp_path)), "--route", "support"]
        arguments += ["--data", str(questions(tmp_path, rows)), "--out", str(out), "--concurrency", "4"]
        with subprocess.Popen([sys.executable, "-m", "proxy.cli.main", *arguments]) as process:
            assert upstream.reached.wait(timeout=30)
            process.kill()
        written = {
            json.loads(line)["id"]
            for line in out.read_bytes().splitlines(keepends=True)
            if line.endswith(b"\n")
        }
        before = upstream.asked.copy()
        assert run(arguments) == 0
    assert 50 <= len(written) < 200
    assert sorted(int(json.loads(line)["id"]) for line in out.read_text().splitlines()) == list(range(200))
    assert all(upstream.asked[f"{name}?"] == before[f"{name}?"] == 1 for name in written)


def test_a_question_whose_call_failed_is_asked_once_more(tmp_path):
    with TableUpstream(ANSWERS, failing={"Capital of Italy?": [500]}) as upstream:
        status, records = evaluate(tmp_path, upstream, capitals())
    assert status == 0
    assert len(records) == len(CAPITALS)
    assert upstream.asked["Capital of Italy?"] == 2


def test_a_question_that_keeps_failing_is_no_wrong_answer(tmp_path, capsys):
    with TableUpstream(ANSWERS, failing={"Capital of Italy?": [500, 500]}) as upstream:
        status, records = evaluate(tmp_path, upstream, capitals())
    assert status == 1
    assert sorted(record["id"] for record in records) == sorted(set(CAPITALS) - {"Italy"})
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("idk: 1 questions have no answer (upstream local: failed with 500)")


def test_an_upstream_that_is_down_ends_the_run(tmp_path, capsys):
    rows = [{"id": str(place), "question": "Who?", "answers": ["I"]} for place in range(100)]
    with TableUpstream({}, failing={"Who?": [503] * 200}) as upstream:
        status, records = evaluate(tmp_path, upstream, rows)
    assert (status, records) == (1, [])
    assert upstream.asked["Who?"] < 40
    assert "20 calls in a row failed" in capsys.readouterr().err


def test_records_of_another_kind_are_not_mixed(tmp_path, capsys):
    with TableUpstream(ANSWERS) as upstream:
        evaluate(tmp_path, upstream, capitals(1))
        status, records = evaluate(tmp_path, upstream, capitals(), params={"temperature": 0})
    assert (status, len(records)) == (2, 1)
    assert "give another --out" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([{"id": "1", "question": "q"}], "line 1: .*missing required field `answers`"),
        ([{"id": "1", "answers": ["a"]}], "line 1: give either question or messages"),
        ([{"id": "1", "question": "q", "answers": []}], "line 1: answers: name at least one"),
        ([{"id": "1", "question": "q", "answers": ["?"]}], "question '1': answers: at least one"),
        (
            [{"id": "1", "question": "q", "answers": ["a"], "choices": ["a"] * 27}],
            "line 1: choices: at most 26",
        ),
        ([{"id": "1", "question": "q", "answers": ["a"]}] * 2, "line 2: the id '1' occurs twice"),
    ],
)
def test_questions_are_checked_before_the_first_is_paid_for(tmp_path, capsys, rows, message):
    with TableUpstream(ANSWERS) as upstream:
        status, _ = evaluate(tmp_path, upstream, capitals() + rows)
        assert status == 2
        assert not upstream.asked
        assert re.search(
            message.replace("line 1", "line 6").replace("line 2", "line 7"), capsys.readouterr().err
        )


@pytest.mark.parametrize(
    ("options", "route", "message"),
    [
        (("--route", "suport"), {}, "has no route suport; it has support"),
        ((), {"models": ["gpt-*"]}, "--model is required"),
    ],
)
def test_what_cannot_be_asked_is_named(tmp_path, capsys, options, route, message):
    with TableUpstream(ANSWERS) as upstream:
        assert evaluate(tmp_path, upstream, capitals(), *options, **route)[0] == 2
    assert message in capsys.readouterr().err


def test_a_forwarding_upstream_wants_a_key(tmp_path, capsys, monkeypatch):
    with TableUpstream(ANSWERS) as upstream:
        config = upstream.config(tmp_path)
        tree = json.loads(config.read_text())
        tree["upstreams"]["local"]["auth"] = "forward"
        config.write_text(json.dumps(tree))
        arguments = ["evaluate", "--config", str(config), "--route", "support", "--data"]
        arguments += [str(questions(tmp_path, capitals(1))), "--out", str(tmp_path / "r.jsonl")]
        assert run(arguments) == 2
        assert "--api-key-env" in capsys.readouterr().err
        monkeypatch.setenv("THEIR_KEY", "sk-1234")
        assert run([*arguments, "--api-key-env", "THEIR_KEY"]) == 0


def test_pieces_spell_the_answer():
    assert "".join(pieces("N'Djamena")) == "N'Djamena"
