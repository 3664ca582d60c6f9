"""The demonstration with passages, before a model that is a table."""

from __future__ import annotations

import io
import json
import re
from dataclasses import replace

import pytest
from rich.console import Console

from proxy import records
from proxy.cli import demo_rag
from proxy.cli.main import run
from proxy.demo import rag, rag_tables
from proxy.demo.demo_proxy import DemoSetup
from proxy.demo.questions import sample
from proxy.exceptions import ConfigError
from tests.proxy.table_upstream import TableUpstream

DRAWN = sample(90, 0, with_passage=True)
PLAN = rag.PLANS["0.5b"]
KNOWN = {question.question: question for question in DRAWN}


class Reader(TableUpstream):
    """Believes what it reads: right with the own passage, and wrong or silent with another's.

    Without passages it knows two in three. What it says is surer with passages: shorter, here, since a token's
    logprob falls with its place.
    """

    def answer(self, asked):
        *passages, text = asked.split("\n\n")
        question = KNOWN[text]
        place = list(KNOWN).index(text)
        right = question.answers[0]
        if passages:
            if passages[0] == question.passage:
                return right[:3] if len(right) <= 3 else right
            return "I don't know." if place % 4 == 0 else "Oz"
        return right if place % 3 else "Somewhere in the land of Oz, beyond the rainbow"


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    with Reader({}) as upstream:
        setup = DemoSetup(tmp_path_factory.mktemp("demo"), upstream.base_url, "m")
        steps = []
        kept = setup.folder / "kept.jsonl"
        answered = rag.ask(setup, DRAWN, PLAN, kept, concurrency=4, on_answer=lambda: steps.append(1))
    assert len(steps) == len(answered) == rag.calls(len(DRAWN), PLAN)
    return rag.judged(answered, PLAN.goal, 0)


def test_no_question_is_judged_by_what_was_fitted_on_its_fact(found, monkeypatch):
    fitted_on, judged = [], []

    def fitted(found, goal, seed):
        fitted_on.append({one.group for one in found})
        return None, None

    def outcomes(found, before, after):
        judged.append([one.id for one in found])
        assert not {one.group for one in found} & fitted_on[-1]
        return []

    monkeypatch.setattr(rag, "fitted", fitted)
    monkeypatch.setattr(rag, "outcomes", outcomes)
    all_of_them = [one.record for one in found]
    rag.judged(all_of_them, PLAN.goal, 0)
    assert sorted(name for part in judged for name in part) == sorted(one.id for one in all_of_them)
    assert len(judged) == rag.PARTS


def test_what_passages_inflate_goes_out_before_and_not_after(found):
    outcomes = found
    before, after, rescued = (
        rag.tally(outcomes, gate, "irrelevant") for gate in ("before", "after", "rescued")
    )
    # An element's passage holds two of three specific words of a question about another element, so one may slip in.
    assert before.n(label="incorrect") > 20
    assert after.n(label="incorrect") <= 1
    assert rescued.n(label="correct") > 0
    assert rag.tally(outcomes, "after", "relevant").n(label="correct") > 0
    returned = rag.Recovered.of(outcomes)
    assert returned.refused > 0
    assert returned.right <= returned.refused


def test_the_table_and_what_it_comes_to(found):
    outcomes, asked = found, len(DRAWN)
    text = io.StringIO()
    repeats = rag.Repeats.of([outcomes, outcomes])
    rag_tables.show(Console(file=text, width=80, highlight=False), outcomes, repeats, PLAN, asked=asked + 1)
    said = text.getvalue()
    for words in ("gate without conditions", "and rescue", "with another's passage", "answered correctly"):
        assert words in said
    assert f"The time limit was reached after {asked} of {asked + 1}" in said
    assert rag_tables.share(0, 0) == "-"
    assert re.fullmatch(r"50 % \(5/10; 19-81\)", rag_tables.share(5, 10))
    few = [one for one in outcomes if one.record.condition == "none"]
    text.truncate(0)
    rag_tables.show(Console(file=text, width=120, highlight=False), few, rag.Repeats.of([few]), PLAN, asked=1)
    assert "too few for a conclusion" in text.getvalue()
    assert "gate without conditions: nothing is answered" in text.getvalue()


def test_the_figures_are_plain_values(found):
    figures = json.loads(
        json.dumps(rag_tables.figures(found, rag.Repeats.of([found]), PLAN), allow_nan=False)
    )
    assert figures["conditions"]["irrelevant"]["before"]["wrong"] > 0
    assert figures["refused_though_right"]["n"] >= figures["refused_though_right"]["right"]


def test_ways_to_deal_are_counted_together(found):
    none = [one for one in found if one.record.condition == "none"]
    before, rescued = (rag.tally(found, gate, "irrelevant").wrong for gate in ("before", "rescued"))
    repeats = rag.Repeats.of([found, none, found])
    assert repeats.ways == 3
    assert (repeats.wrong["before"].count, repeats.wrong["before"].n) == (2 * before.count, 2 * before.n)
    assert rescued.count / rescued.n < before.count / before.n
    assert repeats.no_higher == 2  # a division without answers does not count
    assert repeats.halved == 2 * (rescued.count / rescued.n <= before.count / before.n / 2)
    returned = rag.Recovered.of(found)
    assert (repeats.returned.count, repeats.returned.n) == (2 * returned.right, 2 * returned.refused)


def test_asking_ends_with_its_time(tmp_path):
    with Reader({}) as upstream:
        setup = DemoSetup(tmp_path, upstream.base_url, "m")
        plan = replace(PLAN, limit_s=-1.0)
        kept = tmp_path / "kept.jsonl"
        assert rag.ask(setup, DRAWN, plan, kept, concurrency=4, on_answer=lambda: None) == []


def test_the_command_asks_fits_tells_and_keeps_the_answers(tmp_path):
    text, kept = io.StringIO(), tmp_path / "kept.jsonl"
    with Reader({}) as upstream:
        setup = DemoSetup(tmp_path, upstream.base_url, "m")
        console = Console(file=text, width=120, highlight=False)
        figures = demo_rag._run(console, setup, PLAN, DRAWN, kept, 0)
    assert figures["questions"] > 40
    assert "Right without passages and refused" in text.getvalue()
    facts = {record.group for record, _ in records.lines(kept, records.Record)}
    assert facts == {question.group for question in DRAWN}
    again = demo_rag._drawn(90, 0, [kept])
    assert len(again) == 90
    assert not facts & {question.group for question in again}


def test_an_unknown_model_is_named(capsys):
    assert run(["demo-rag", "--model", "9b"]) == 2
    assert "--model: 9b is unknown" in capsys.readouterr().err


def test_answers_are_not_written_over(capsys, tmp_path):
    kept = tmp_path / "kept.jsonl"
    kept.write_text("the answers of an hour\n")
    assert run(["demo-rag", "--out", str(kept)]) == 2
    assert "--out" in (said := capsys.readouterr().err)
    assert "exists already" in said
    assert kept.read_text() == "the answers of an hour\n"


def test_more_questions_than_are_left_are_refused(tmp_path):
    everything = tmp_path / "all.jsonl"
    facts = {one.group for one in sample(500, 0, with_passage=True)}
    everything.write_text(
        "".join(
            json.dumps({"id": fact, "group": fact, "answer": "a", "label": "correct"}) + "\n"
            for fact in facts
        )
    )
    with pytest.raises(ConfigError, match="--questions: n is 900; ask for 0 to"):
        demo_rag._drawn(900, 0, [everything])
