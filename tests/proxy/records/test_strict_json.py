"""JSON without ambiguity: hostile documents are refused with a reason."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from proxy import records
from proxy.exceptions import ConfigError
from proxy.records import strict_json

if TYPE_CHECKING:
    from pathlib import Path

GOOD = {
    "id": "q1",
    "answer": 'Paris: "a":',
    "token_logprobs": [-0.1],
    "label": "correct",
    "features": {"a": 1.0},
}


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ('{"a": 1, "a": 2}', "the key 'a' occurs twice"),
        ('{"b": {"a": 1, "\\u0061": 2}}', "the key 'a' occurs twice"),
        ('[{"a": 1}, {"a": 2, "a": 3}]', "the key 'a' occurs twice"),
        ('{"a": %s}' % ("9" * 401), "an integer has 401 digits"),
        ('{"a": -%s}' % ("9" * 19), "an integer has 19 digits"),
        ('{"a": "\\ud800"}', "half of a surrogate pair"),
        ('{"\\udfff": 1}', "half of a surrogate pair"),
        ('{"a": NaN}', "JSON has no NaN"),
        ('{"a": -Infinity}', "JSON has no -Infinity"),
    ],
)
def test_an_ambiguous_document_is_refused(text: str, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        strict_json.decode(text)


def test_a_plain_document_is_decoded() -> None:
    assert strict_json.decode(json.dumps(GOOD)) == GOOD
    assert strict_json.decode('{"a": "\\ud83d\\ude00", "b": 999999999999999999}')["a"] == "\U0001f600"


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ('{"id": "1", "answer": "a", "label": "incorrect", "label": "correct"}', "'label' occurs twice"),
        (
            '{"id": "1", "answer": "a", "label": "correct", "l\\u0061bel": "incorrect"}',
            "'label' occurs twice",
        ),
        ('{"id": "1", "answer": "a", "label": "correct", "features": {"a": 1, "a" : 2}}', "'a' occurs twice"),
        (
            '{"id": "1", "answer": "a", "label": "correct", "made_with": {"k": %s}}' % ("9" * 401),
            "401 digits",
        ),
        (
            '{"id": "1", "answer": "a", "label": "correct", "token_logprobs": [-0.1, -%s]}' % ("9" * 401),
            "out of range",
        ),
        ('{"id": "1", "answer": "\\ud800", "label": "correct"}', "line 1"),
        ('{"id": "1", "answer": "\\ud800 and more", "label": "correct"}', "line 1"),
    ],
)
def test_a_hostile_record_is_one_line(tmp_path: Path, line: str, problem: str) -> None:
    path = tmp_path / "records.jsonl"
    path.write_text(line + "\n")
    with pytest.raises(ConfigError, match=problem) as caught:
        list(records.lines(path, records.Record))
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith(f"{path}, line 1: ")


def test_records_with_nested_objects_are_read(tmp_path: Path) -> None:
    path = tmp_path / "records.jsonl"
    closed = {"answer": "Lyon", "token_logprobs": [-1, -2], "features": {"a": 2}}
    path.write_text(json.dumps(GOOD | {"closed_book": closed, "more": [1, {"x": [{"y": 1}]}]}) + "\n")
    ((found, _),) = records.lines(path, records.Record)
    assert found.closed_book is not None
    assert found.closed_book.answer == "Lyon"
