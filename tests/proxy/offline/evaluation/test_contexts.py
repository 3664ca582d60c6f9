"""Questions under several conditions of their passages, and the effect on answers and refusals."""

from __future__ import annotations

import json

import pytest

from gating.answers import normalise
from proxy.cli.main import run
from proxy.exceptions import ConfigError
from proxy.offline.evaluation.contexts import conditions, under_conditions
from proxy.offline.evaluation.overrefusal import Case, case_of, count_conditions
from proxy.records import Question, Record
from tests.proxy.offline.evaluation.evaluating import evaluate
from tests.proxy.table_upstream import TableUpstream

CAPITALS = {"France": "Paris", "Italy": "Rome", "Spain": "Madrid", "Peru": "Lima", "Chad": "N'Djamena"}
EVERY = "none,relevant,irrelevant,mixed,counterfactual"


def rows():
    return [
        {"id": country, "question": f"What is the capital of {country}?", "answers": [capital]}
        | {"context": [f"{capital} is the capital of {country}."]}
        for country, capital in CAPITALS.items()
    ]


def made(wanted, given=None, seed=0):
    found = [Question(**row) for row in (given or rows())]
    return list(under_conditions(found, conditions(wanted), seed))


def of(condition, questions):
    return {
        question.id.partition("#")[0]: question for question in questions if question.condition == condition
    }


def test_every_condition_is_made_of_the_questions_own_passages():
    found = made(EVERY)
    assert len(found) == len({question.id for question in found}) == 25
    assert {question.group for question in found} == set(CAPITALS)
    own = {country: f"{capital} is the capital of {country}." for country, capital in CAPITALS.items()}
    for country, capital in CAPITALS.items():
        assert of("none", found)[country].context is None
        assert of("relevant", found)[country].context == [own[country]]
        assert of("relevant", found)[country].id == country
        (other,) = of("irrelevant", found)[country].context
        assert other in own.values()
        assert normalise(capital) not in normalise(other)
        assert own[country] in of("mixed", found)[country].context
        assert len(of("mixed", found)[country].context) == 2
        (false,) = of("counterfactual", found)[country].context
        assert false.endswith(f"is the capital of {country}.")
        assert capital not in false
        assert false.partition(" is")[0] in CAPITALS.values()


def test_the_same_seed_makes_the_same():
    assert made(EVERY) == made(EVERY)
    assert made(EVERY, seed=1) != made(EVERY)


def test_what_cannot_be_made_is_left_out():
    alone = rows()[:1]
    assert [q.condition for q in made(EVERY, alone)] == ["none", "relevant"]
    silent = [row | {"context": ["Nothing of the kind."]} for row in rows()]
    assert not of("counterfactual", made(EVERY, silent))
    told = [row | {"condition": "counterfactual"} for row in rows()]
    assert {q.condition for q in made(EVERY, told)} == {"none", "counterfactual"}
    bare = [{key: row[key] for key in ("id", "question", "answers")} for row in rows()]
    assert {(q.condition, q.id) for q in made("relevant", bare)} == {
        ("none", country) for country in CAPITALS
    }


@pytest.mark.parametrize(
    ("text", "message"),
    [("relevant,irelevant", "irelevant is not a condition"), (" ,", "no condition is given")],
)
def test_unknown_conditions_are_named(text, message):
    with pytest.raises(ConfigError, match=message):
        conditions(text)


class Reader(TableUpstream):
    """A model that knows two capitals, believes a passage that names one, and declines otherwise."""

    def answer(self, question):
        *passages, asked = question.split("\n\n")
        country = asked.removeprefix("What is the capital of ").rstrip("?")
        for passage in passages:
            if passage.endswith(f"of {country}."):
                return passage.partition(" is")[0]
        if passages:
            return "The passage does not mention it."
        return CAPITALS[country] if country in ("France", "Italy") else "Atlantis"


def test_records_carry_both_answers_and_the_closed_book_one_is_asked_once(tmp_path, capsys):
    with Reader({}) as upstream:
        status, records = evaluate(tmp_path, upstream, rows(), "--json")
    assert status == 0
    by_id = {record["id"]: record for record in records}
    assert len(by_id) == 15
    assert [count for key, count in upstream.asked.items() if "\n\n" not in key] == [1] * 5
    exchanged = by_id["Italy#irrelevant"]
    assert (exchanged["condition"], exchanged["label"]) == ("irrelevant", "abstained")
    assert exchanged["open_book"]["answer"] == exchanged["answer"]
    assert exchanged["closed_book"]["answer"] == "Rome"
    assert exchanged["closed_book"]["label"] == "correct"
    assert exchanged["closed_book"]["token_logprobs"]
    none = by_id["Spain#none"]
    assert (none["open_book"], none["closed_book"]["answer"], none["label"]) == (
        None,
        "Atlantis",
        "incorrect",
    )
    told = json.loads(capsys.readouterr().out)["contexts"]
    assert told["irrelevant"]["over_refusal"]["share"] == 1.0
    assert told["irrelevant"]["over_refusal"]["n"] == 2
    assert told["relevant"]["over_refusal"]["share"] == 0.0
    assert told["irrelevant"]["unsafe_answers"] == {
        "count": 0,
        "n": 5,
        "share": 0.0,
        "interval": pytest.approx([0, 0.522], abs=1e-3),
    }
    assert told["irrelevant"]["refusing"] == {"precision": 0.6, "recall": 1.0, "f1": 0.75}
    assert told["none"]["right"] == 2
    assert told["all"]["n"] == 15


def test_records_of_several_conditions_make_a_policy_and_a_report(tmp_path, capsys):
    many = [
        {
            "id": str(n),
            "question": f"{n}?",
            "answers": [str(n)],
            "context": [f"It is {n}, the answer to {n}?"],
        }
        for n in range(1, 81)
    ]

    class Counts(TableUpstream):
        def answer(self, question):
            *passages, asked = question.split("\n\n")
            n = int(asked.rstrip("?"))
            return str(n) if any(f"to {n}?" in passage for passage in passages) or n % 3 else str(n + 1)

    with Counts({}) as upstream:
        status, _ = evaluate(tmp_path, upstream, many)
        assert status == 0
    capsys.readouterr()
    out, page = tmp_path / "policy.json", tmp_path / "report.html"
    arguments = [
        "tune",
        "--records",
        str(tmp_path / "records.jsonl"),
        "--out",
        str(out),
        "--report",
        str(page),
    ]
    assert run([*arguments, "--wrong-cost", "1", "--scorers", "mean_logprob,closed_book_contrast"]) == 0
    said = capsys.readouterr().out
    assert "by condition" in said
    saved = json.loads(out.read_text())
    assert (saved["version"], saved["conditions"]["by"]) == (2, "context")
    assert set(saved["conditions"]["groups"]) == {"none", "context"}
    assert "The effect of passages" in page.read_text()
    assert run([*arguments, "--threshold", "0.5", "--conditions", "contrast", "--json"]) == 0
    assert set(json.loads(capsys.readouterr().out)["conditions"]) <= {"none", "agree", "disagree"}
    report = ["report", "--records", str(tmp_path / "records.jsonl"), "--policy", str(out), "--json"]
    assert run(report) == 0
    told = json.loads(capsys.readouterr().out)["contexts"]
    assert told["alone"]["irrelevant"]["n"] == 80
    assert told["gated"]["irrelevant"]["refused"] >= told["alone"]["irrelevant"]["refused"]


def test_worked_examples_are_compared_on_the_same_questions(tmp_path, capsys):
    def write(name, label):
        lines = [
            {"id": str(n), "answer": f"{n}", "token_logprobs": [-0.1 * n], "condition": "irrelevant"}
            | {"label": label if n % 2 else "incorrect", "closed_book": {"answer": "x", "label": "correct"}}
            for n in range(60)
        ]
        path = tmp_path / name
        path.write_text("".join(json.dumps(line) + "\n" for line in lines))
        return path

    first, second = write("with.jsonl", "correct"), write("without.jsonl", "abstained")
    arguments = ["tune", "--records", str(first), "--out", str(tmp_path / "p.json"), "--threshold", "0.5"]
    assert run([*arguments, "--examples", str(second), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["examples"]
    assert found["n"] == 60
    assert (
        found["with"]["all"]["over_refusal"]["count"],
        found["without"]["all"]["over_refusal"]["count"],
    ) == (0, 30)
    assert run([*arguments, "--examples", str(second)]) == 0
    assert "60 answers without worked examples" in capsys.readouterr().out
    (tmp_path / "other.jsonl").write_text('{"id": "z", "answer": "a", "label": "correct"}\n')
    assert run([*arguments, "--examples", str(tmp_path / "other.jsonl")]) == 2


def test_contexts_without_passages_are_refused(tmp_path, capsys):
    with TableUpstream({}) as upstream:
        status, _ = evaluate(
            tmp_path, upstream, [{"id": "1", "question": "q", "answers": ["a"]}], "--contexts", "relevant"
        )
    assert status == 2
    assert "no question of" in capsys.readouterr().err


# Measures


def test_what_should_be_answered_and_refused_is_told_by_both():
    cases = [
        *[Case("irrelevant", "abstained", "correct")] * 3,
        *[Case("irrelevant", "correct", "correct")] * 1,
        *[Case("irrelevant", "abstained", "incorrect")] * 4,
        *[Case("irrelevant", "incorrect", "abstained")] * 2,
        *[Case("relevant", "correct", "incorrect")] * 5,
        *[Case("relevant", "abstained", "abstained")] * 1,
        *[Case("none", "correct", "correct")] * 4,
    ]
    found = count_conditions(cases)
    assert list(found) == ["none", "relevant", "irrelevant", "all"]
    whole = found["all"].to_dict()
    assert (whole["over_refusal"]["count"], whole["over_refusal"]["n"]) == (3, 4)
    assert (whole["unsafe_answers"]["count"], whole["unsafe_answers"]["n"]) == (2, 10)
    # 8 refused, of which 4 rightly, of 6 that should be; 10 right of 12 answered, of 14 that should be
    assert whole["refusing"] == pytest.approx({"precision": 4 / 8, "recall": 4 / 6, "f1": 8 / 14})
    assert whole["answering"] == pytest.approx({"precision": 10 / 12, "recall": 10 / 14, "f1": 20 / 26})
    assert count_conditions([]) == {}
    assert found["none"].to_dict()["unsafe_answers"]["share"] is None


def test_the_models_own_words_decide_what_is_a_refusal():
    record = Record(id="1", answer="I don't know.", label="incorrect", condition="irrelevant")
    assert case_of(record) == Case("irrelevant", "abstained", None)
    assert case_of(Record(id="1", answer="x", label="correct")) is None


def test_a_question_file_is_still_checked_whole(tmp_path, capsys):
    with TableUpstream({}) as upstream:
        broken = [*rows(), {"id": "1", "question": "q", "answers": ["?"]}]
        assert evaluate(tmp_path, upstream, broken)[0] == 2
        assert not upstream.asked
    assert "question '1'" in capsys.readouterr().err
