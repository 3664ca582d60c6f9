"""Reading of records: errors name the line and the field."""

from __future__ import annotations

import json

import pytest

from gating.tuning import ABSTAINED, RIGHT, WRONG
from proxy import records
from proxy.exceptions import ConfigError

GOOD = {"id": "q1", "answer": "Paris", "token_logprobs": [-0.1], "label": "correct"}


def written(folder, *rows):
    path = folder / "records.jsonl"
    path.write_text(
        "".join(row if isinstance(row, str) else json.dumps(row) + "\n" for row in rows), encoding="utf-8"
    )
    return path


def test_every_field_of_the_contract_becomes_evidence(tmp_path):
    closed = {"answer": "Lyon", "token_logprobs": [-2.0]}
    row = GOOD | {"group": "g", "question": "?", "top_logprobs": [[-0.1, -3.0]], "samples": ["Paris"]}
    row |= {"closed_book": closed, "features": {"judge": 1}, "made_with": {"model": "m"}, "more": [1]}
    ((record, line),) = records.lines(written(tmp_path, row), records.Record)
    assert json.loads(line) == row
    evidence = record.evidence()
    assert (evidence.answer, evidence.token_logprobs, evidence.samples) == ("Paris", [-0.1], ["Paris"])
    assert evidence.top_logprobs == [[-0.1, -3.0]]
    assert evidence.closed_book.token_logprobs == [-2.0]
    assert evidence.features == {"judge": 1.0}
    assert (record.group, record.made_with) == ("g", {"model": "m"})


def test_nulls_and_absent_fields_are_the_same(tmp_path):
    nulls = dict.fromkeys(("group", "token_logprobs", "top_logprobs", "samples", "closed_book", "features"))
    path = written(
        tmp_path, "\ufeff", GOOD | nulls, "\n  \n", {"id": "q2", "answer": "", "label": "abstained"}
    )
    first, second = (record.evidence() for record, _ in records.lines(path, records.Record))
    assert first.token_logprobs is second.token_logprobs is None
    assert first.samples == second.samples == ()


def test_records_become_numbers(tmp_path):
    rows = [GOOD | {"id": str(place), "group": "g" * (place > 1)} for place in range(4)]
    rows[1] |= {"label": "incorrect"}
    rows[2] |= {"label": "abstained"}
    graded, made_with = records.graded(written(tmp_path, *rows))
    assert graded.outcome.tolist() == [RIGHT, WRONG, ABSTAINED, RIGHT]
    assert graded.group.tolist() == [0, 1, 2, 2]  # without a group the id is one
    assert made_with == {}


def test_the_fingerprint_is_the_one_that_all_carry(tmp_path):
    rows = [GOOD | {"id": str(place), "made_with": {"model": "m", "top_p": None}} for place in range(3)]
    assert records.graded(written(tmp_path, *rows))[1] == {"model": "m", "top_p": None}
    for other in ({"made_with": {"model": "x"}}, {"made_with": None}):
        with pytest.raises(
            ConfigError, match=r", line 4: record '9' was made with .*; tune from records of one kind"
        ):
            records.graded(written(tmp_path, *rows, GOOD | {"id": "9"} | other))


def without(key):
    return {name: value for name, value in GOOD.items() if name != key}


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (without("id"), "missing required field `id`"),
        (without("label"), "missing required field `label`"),
        (without("answer"), "missing required field `answer`"),
        (GOOD | {"label": "right"}, "label: Invalid enum value 'right'"),
        (GOOD | {"label": None}, "label: Expected `str`, got `null`"),
        (
            GOOD | {"token_logprobs": [-0.1, "x"]},
            r"token_logprobs: Expected `float`, got `str` - at `\$\[1\]`",
        ),
        (GOOD | {"features": {"a": None}}, r"features: Expected `float`, got `null` - at `\$\[...\]`"),
        (GOOD | {"id": "q0"}, "the id 'q0' occurs twice"),
        ('{"id": "q1", "token_logprobs": [NaN]}\n', "not JSON: .*JSON has no NaN"),
        ('{"id": "q1", "token_logprobs": [-Infinity]}\n', "not JSON"),
        ('{"id": "q1", "answer": "Par\n', "not JSON"),
        ("[1, 2]\n", "Expected `object`, got `array`"),
        ("[" * 100_000 + "\n", "not JSON|Expected `object`"),
        ('{"id": "q1", "features": {"a": 1e999}}\n', "features: Number out of range"),
    ],
)
def test_what_is_wrong_is_named_with_its_line(tmp_path, row, message):
    path = written(tmp_path, GOOD | {"id": "q0"}, "\n", row)
    with pytest.raises(ConfigError, match=message) as caught:
        list(records.lines(path, records.Record))
    assert str(caught.value).startswith(f"{path}, line 3: ")


def test_bytes_that_are_no_text_are_named(tmp_path):
    path = tmp_path / "records.jsonl"
    path.write_bytes(b'{"id": "\xff", "answer": "", "label": "correct"}\n')
    with pytest.raises(ConfigError, match="line 1"):
        list(records.lines(path, records.Record))


def test_a_feature_called_like_a_scorer_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"record 'q1': features\.mean_logprob: a feature must not have"):
        records.graded(written(tmp_path, GOOD | {"features": {"mean_logprob": 1.0}}))


def test_a_file_without_records_is_named(tmp_path):
    with pytest.raises(ConfigError, match="holds no records"):
        records.graded(written(tmp_path, "\n"))
    with pytest.raises(ConfigError, match="no such file"):
        records.graded(tmp_path / "absent.jsonl")
    with pytest.raises(ConfigError, match="cannot be read"):
        records.graded(tmp_path)


def test_a_line_without_end_is_bounded(tmp_path):
    path = written(tmp_path, GOOD | {"answer": "x" * 100})
    with pytest.raises(ConfigError, match="a line is over 50 bytes"):
        list(records.numbered(path, records.Record, max_line_bytes=50))


def test_answers_made_with_something_else_are_not_continued(tmp_path):
    path = written(tmp_path, GOOD | {"made_with": {"model": "m"}})
    assert records.answered(path, {"model": "m"}) == {"q1"}
    with pytest.raises(ConfigError, match="give another --out"):
        records.answered(path, {"model": "x"})
    with pytest.raises(ConfigError, match="unknown parameters"):
        records.answered(written(tmp_path, GOOD), {"model": "x"})


def test_nothing_is_tuned_on_a_rescued_answer(tmp_path):
    path = tmp_path / "records.jsonl"
    line = '{"id": "%d", "answer": "a", "token_logprobs": [-0.1], "label": "correct", "condition": "%s"}\n'
    path.write_text(line % (1, "none") + line % (2, "rescued") + line % (3, "context"))
    found, _ = records.graded(path)
    assert found.conditions["context"].tolist() == ["none", "context"]


def test_what_a_question_is_answered_without_its_passages_is_tuned_on_too(tmp_path):
    path = tmp_path / "records.jsonl"
    line = (
        '{"id": "%d", "group": "q", "answer": "a", "token_logprobs": [-0.1], "label": "incorrect", "condition": "%s", '
        '"closed_book": {"answer": "b", "token_logprobs": [-0.2], "label": "correct"}}\n'
    )
    path.write_text(line % (1, "none") + line % (2, "irrelevant"))
    found, _ = records.graded(path)
    assert found.without_row.tolist() == [-1, 0]
    assert found.without.outcome.tolist() == [1]
    assert found.without.columns["mean_logprob"].scores.tolist() == [-0.2]
