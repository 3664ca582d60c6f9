"""`idk import`: tables and results of other tools become records, and what cannot be used is said."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from proxy import records
from proxy.cli.main import run
from proxy.exceptions import ConfigError

if TYPE_CHECKING:
    from pathlib import Path

PROMPTFOO = {
    "evalId": "e",
    "results": {
        "version": 3,
        "results": [
            {
                "id": "a",
                "testIdx": 0,
                "prompt": {"raw": "Capital of France?"},
                "response": {"output": "Paris"},
                "success": True,
            },
            {
                "id": "b",
                "testIdx": 1,
                "prompt": {"raw": "q"},
                "response": {"output": "Rome"},
                "success": False,
            },
            {"id": "c", "testIdx": 2, "prompt": {"raw": "q"}, "response": {"error": "429"}, "success": False},
        ],
    },
}
LM_EVAL = [
    {
        "doc_id": 0,
        "doc": {},
        "resps": [["42"]],
        "arguments": [["6 x 7?", {}]],
        "exact_match": 1.0,
        "filter": "strict",
    },
    {
        "doc_id": 0,
        "doc": {},
        "resps": [["42"]],
        "arguments": [["6 x 7?", {}]],
        "exact_match": 0.0,
        "filter": "flexible",
    },
    {
        "doc_id": 1,
        "doc": {},
        "resps": [["4"]],
        "arguments": {"gen_args_0": {"arg_0": "1+1?"}},
        "exact_match": 0.0,
    },
    {"doc_id": 2, "doc": {}, "resps": [[[-1.2, False]], [[-0.3, True]]], "arguments": [], "acc": 1.0},
]
EVALS = [
    {"spec": {"completion_fns": ["m"], "eval_name": "e"}},
    {
        "run_id": "r",
        "event_id": 0,
        "sample_id": "e.0",
        "type": "sampling",
        "data": {
            "prompt": [{"role": "system", "content": "s"}, {"role": "user", "content": "q0"}],
            "sampled": ["x"],
        },
    },
    {
        "run_id": "r",
        "event_id": 1,
        "sample_id": "e.0",
        "type": "match",
        "data": {"correct": True, "expected": "x", "sampled": "x"},
    },
    {
        "run_id": "r",
        "event_id": 2,
        "sample_id": "e.1",
        "type": "sampling",
        "data": {"prompt": "q1", "sampled": ["y"]},
    },
    {"final_report": {"accuracy": 1.0}},
]


def imported(
    tmp_path: Path, name: str, content: str | bytes, *options: str
) -> tuple[int, list[records.Record]]:
    file, out = tmp_path / name, tmp_path / "out.jsonl"
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    status = run(["import", str(file), "--out", str(out), *options])
    return status, [record for record, _ in records.lines(out, records.Record)] if out.exists() else []


def as_lines(values: list[dict[str, Any]]) -> str:
    return "".join(f"{json.dumps(value)}\n" for value in values)


@pytest.mark.parametrize(
    ("name", "content", "expected", "unused"),
    [
        (
            "r.json",
            json.dumps(PROMPTFOO, indent=1),
            [("a", "Paris", "correct"), ("b", "Rome", "incorrect")],
            "gave no text",
        ),
        (
            "r.json",
            json.dumps(PROMPTFOO),
            [("a", "Paris", "correct"), ("b", "Rome", "incorrect")],
            "gave no text",
        ),
        ("s.jsonl", as_lines(LM_EVAL), [("0", "42", "correct"), ("1", "4", "incorrect")], "likelihoods"),
        ("e.jsonl", as_lines(EVALS), [("e.0", "x", "correct")], "no match event"),
        (
            "t.csv",
            "answer,label\r\nParis,Pass\r\nRome,0\r\nx,maybe\r\n",
            [("1", "Paris", "correct"), ("2", "Rome", "incorrect")],
            "'maybe' is not known",
        ),
        (
            "t.tsv",
            b"\xef\xbb\xbfid\tanswer\tlabel\nk\t12\ttrue\nk\t13\ttrue\n",
            [("k", "12", "correct")],
            "the id occurs twice",
        ),
        (
            "a.json",
            '[{"answer": "x", "label": "wrong"}, {"label": "correct"}]',
            [("1", "x", "incorrect")],
            "`answer`",
        ),
    ],
)
def test_each_format_gives_records(tmp_path, capsys, name, content, expected, unused):
    status, found = imported(tmp_path, name, content)
    assert status == 0
    assert [(record.id, record.answer, record.label) for record in found] == expected
    said = capsys.readouterr().out
    assert f"{len(expected)} records from" in said
    assert "not used: " in said
    assert unused in said


def test_columns_are_mapped(tmp_path):
    content = "Frage,Modellantwort,ok\nq1,Paris,ja\nq2,Rom,1\n"
    status, found = imported(
        tmp_path,
        "t.csv",
        content,
        "--map",
        "question=Frage",
        "--map",
        "answer=Modellantwort",
        "--map",
        "label=ok",
    )
    assert status == 0
    assert [(record.question, record.answer, record.label) for record in found] == [("q2", "Rom", "correct")]


def test_questions_are_imported_too(tmp_path):
    (tmp_path / "q.csv").write_text("q,a\nCapital?,Paris|Lutetia\n")
    command = ["import", str(tmp_path / "q.csv"), "--out", str(tmp_path / "o"), "--questions"]
    assert run([*command, "--map", "question=q", "--map", "answers=a"]) == 0
    ((question, _),) = records.lines(tmp_path / "o", records.Question)
    assert (question.question, question.answers) == ("Capital?", ["Paris", "Lutetia"])


@pytest.mark.parametrize(
    ("name", "content", "options", "status", "said"),
    [
        ("e.jsonl", "", (), 2, "is empty; expected a table"),
        ("e.csv", "", (), 2, "is empty; the first line"),
        ("e.txt", "not JSON", (), 2, "is neither JSON Lines nor JSON"),
        ("e.csv", "a,a\n1,2\n", (), 2, "names a column twice"),
        ("e.csv", "a,b\n1\n", (), 2, "line 2: has another number of cells"),
        ("e.csv", b"a\n\xff", (), 2, "is not UTF-8"),
        ("e.csv", "a\n1\n", ("--format", "x"), 2, "is not a format; use one of promptfoo, lm-eval"),
        ("e.csv", "a\n1\n", ("--map", "answer"), 2, "must be FIELD=COLUMN"),
        ("e.csv", "a\n1\n", (), 1, "no entry can be used"),
        ("e.jsonl", "{}\n", ("--format", "promptfoo"), 2, "is not a results file of promptfoo"),
    ],
)
def test_what_cannot_be_imported_is_one_line(tmp_path, capsys, name, content, options, status, said):
    assert imported(tmp_path, name, content, *options) == (status, [])
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1


TWO = [
    {"id": "1", "question": "What, so?", "answers": ["a", "b"]},
    {"id": "2", "question": "q", "answers": ["12"]},
]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("q.csv", 'id,question,answers\n1,"What, so?",a|b\n2,q,12\n'),
        ("q.tsv", 'question\tanswers\r\nWhat, so?\t["a", "b"]\r\nq\t12\r\n'),
        ("q.jsonl", json.dumps(TWO)),
        ("q.jsonl", "\ufeff" + as_lines(TWO).replace("\n", "\r\n\r\n")),
    ],
)
def test_commands_read_tables_and_arrays_as_they_read_lines(tmp_path, name, content):
    path = tmp_path / name
    path.write_text(content, encoding="utf-8", newline="")
    found = [question for question, _ in records.lines(path, records.Question)]
    assert [(each.id, each.question, each.answers) for each in found] == [
        ("1", "What, so?", ["a", "b"]),
        ("2", "q", ["12"]),
    ]


def test_a_table_without_a_known_column_is_refused(tmp_path):
    (tmp_path / "q.csv").write_text("x,y\n1,2\n")
    with pytest.raises(ConfigError, match=r"no column is named 'id'.*idk import --map"):
        list(records.lines(tmp_path / "q.csv", records.Question))
