"""What a route adds to a question: worked examples and the confidence target, both named in fingerprints."""

from __future__ import annotations

import json

import pytest

from proxy.config import Example
from proxy.exceptions import ConfigError
from proxy.requests.matching import made_with
from proxy.requests.prompt.additions import Examples, load
from proxy.surfaces.chat.surface import Chat
from tests.fakes import answer, says
from tests.proxy.offline.evaluation.evaluating import evaluate
from tests.proxy.requests.remedies.replies import DECLINES, GATE, SURE, said, texts
from tests.proxy.table_upstream import TableUpstream

SHOWN = [
    {"question": "Who wrote Emma?", "answer": "Jane Austen"},
    {"question": "Who owns the red house?", "answer": "I don't know.", "context": ["The blue house is old."]},
]
TEXT = (
    "Worked examples:\n\nWho wrote Emma?\nJane Austen\n\n"
    "The blue house is old.\n\nWho owns the red house?\nI don't know.\n\nNow the question:\n\n"
)


async def test_they_stand_before_both_forms_of_the_question(serving, upstream):
    bare = upstream.script()
    upstream._replies[f"{TEXT}<c>A</c>{bare}"] = [answer(DECLINES)]
    upstream._replies[f"{TEXT}{bare}"] = [answer(says("Paris", logprob=SURE))]
    rag = {"context": "(?s)<c>(.*?)</c>", "rescue": True, "examples": SHOWN}
    async with serving(GATE | {"rag": rag}) as proxy:
        reply = await proxy.chat(f"<c>A</c>{bare}")
        assert (texts(reply), said(reply)["choices"][0]["decision"]) == ("Paris", "rescue")
        assert texts(await proxy.chat(bare)) == "Paris"


def test_evaluation_asks_with_them_and_without(tmp_path):
    rows = [{"id": "1", "question": "Capital of Peru?", "answers": ["Lima"]}]
    answers = {"Capital of Peru?": "Cusco", f"{TEXT}Capital of Peru?": "Lima"}
    (tmp_path / "examples.jsonl").write_text("".join(json.dumps(one) + "\n" for one in SHOWN))
    rag = {"examples": "examples.jsonl"}
    with TableUpstream(answers) as upstream:
        status, (shown,) = evaluate(tmp_path, upstream, rows, rag=rag)
        (tmp_path / "records.jsonl").unlink()
        assert status == 0
        status, (bare,) = evaluate(tmp_path, upstream, rows, "--no-examples", rag=rag)
    assert (shown["answer"], bare["answer"]) == ("Lima", "Cusco")
    assert shown["made_with"]["examples"] == Examples.of([Example(**one) for one in SHOWN]).digest
    assert "examples" not in bare["made_with"]


@pytest.mark.parametrize(("content", "message"), [
    (None, "r.rag.examples: .*none.jsonl: cannot be read"),
    ('{"question": "?"}\n', "line 1: Object missing required field `answer`"),
    ("{", "line 1: "),
    ("\n", "holds no example"),
])  # fmt: skip
def test_what_is_no_example_is_one_line(tmp_path, content, message):
    if content is not None:
        (tmp_path / "none.jsonl").write_text(content)
    with pytest.raises(ConfigError, match=message):
        load("none.jsonl", tmp_path, "r.rag.examples")


# The confidence target

TARGETED = {"name": "r", "scorers": ["mean_logprob"], "confidence_prompt": 0.75}


async def test_the_model_is_told_what_a_mistake_costs(serving, upstream):
    async with serving(TARGETED) as running:
        prompt = upstream.script(answer(says("Paris")))
        told = (
            f"{prompt}\n\nAnswer only if you are > 0.75 confident, since mistakes are penalized 3 points, while "
            'correct answers receive 1 point, and an answer of "I don\'t know" receives 0 points.'
        )
        upstream._replies[told] = upstream._replies[prompt]
        got = await running.chat(prompt)
        assert got.json["choices"][0]["message"]["content"] == "Paris"
        assert "confident," not in json.dumps(got.json["choices"])
        assert upstream.call(told).json["messages"][-1]["content"] == told


async def test_answers_to_another_target_are_others(serving):
    async with serving(TARGETED) as running:
        (route,) = running.parts.routes.routes
        request = Chat().parse(b'{"model": "m", "messages": [{"role": "user", "content": "a"}]}')
        assert made_with(route, request, "chat")["confidence_prompt"] == 0.75
