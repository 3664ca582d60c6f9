"""Questions about an answer: P(True), a confidence in words, a judge of meanings, and vectors."""

from __future__ import annotations

import json
import math

import pytest

from tests.fakes import answer, error, raw, says

PARIS = says("Paris")
QUESTION = "Proposed answer:"


def route(scorer, least=0.5, **settings):
    return {"name": "r", "scorers": [scorer], "score_threshold": least, "mode": "enforce", **settings}


def asides(upstream):
    """Return every call whose prompt is a question that the proxy asks."""
    return [call for key in list(upstream._calls) if QUESTION in key or "JSON list" in key for call in upstream.calls(key)]  # fmt: skip # noqa: E501


@pytest.fixture
def aside(upstream, monkeypatch):
    """What the model says to a question of the proxy's own, whatever its words."""

    def say(reply):
        scripted = upstream._replies

        class Replies(dict):
            def get(self, key, default=None):
                own = QUESTION in str(key) or "JSON list" in str(key)
                return [reply] if own else super().get(key, default)

        monkeypatch.setattr(upstream, "_replies", Replies(scripted))
        monkeypatch.setattr(upstream, "_calls", {})

    return say


def letters(**logprobs):
    """Return a first token with these alternatives, the likeliest chosen."""
    tops = [{"token": token, "logprob": math.log(p)} for token, p in logprobs.items()]
    content = [{**tops[0], "top_logprobs": tops}]
    return raw(
        json.dumps(
            {
                "choices": [
                    {
                        "index": 0,
                        "message": {"content": tops[0]["token"]},
                        "logprobs": {"content": content},
                        "finish_reason": "length",
                    }
                ],
                "usage": {"prompt_tokens": 50, "completion_tokens": 1},
            }
        ).encode()
    )


@pytest.mark.parametrize(("said", "score"), [
    ({"A": 0.6, "B": 0.2, "C": 0.2}, 0.75),
    ({"B": 0.9, " A": 0.05, "A": 0.05}, 0.1),
    ({"(A": 1.0}, 1.0),
    ({"Yes": 0.9, "no": 0.1}, None),
])  # fmt: skip
async def test_p_true_is_the_share_of_one_token(serving, upstream, aside, said, score):
    prompt = upstream.script(answer(PARIS))
    aside(letters(**said))
    async with serving(route("p_true", params={"temperature": 0.7})) as running:
        got = await running.chat(prompt)
        (choice,) = got.json["idk"]["choices"]
        assert choice["score"] == (None if score is None else pytest.approx(score))
        assert choice["source"] == ("p_true" if score is not None else "none")
        assert got.json["idk"]["extra"] == {"calls": 1, "prompt_tokens": 50, "completion_tokens": 1}
        (call,) = asides(upstream)
        asked = call.json["messages"][0]["content"]
        assert prompt in asked
        assert "Paris" in asked
        del call.json["messages"]
        sent = {name: value for name, value in call.json.items() if name != "messages"}
        assert sent == {
            "model": "m", "max_tokens": 1, "logprobs": True, "top_logprobs": 5, "temperature": 0.0
        }  # fmt: skip


async def test_without_logprobs_p_true_is_unmeasured(serving, upstream, aside):
    prompt = upstream.script(answer(PARIS))
    aside(raw(b'{"choices": [{"index": 0, "message": {"content": "A"}, "finish_reason": "length"}]}'))
    async with serving(route("p_true")) as running:
        assert (await running.chat(prompt)).json["idk"]["choices"][0]["reason"] == "unmeasured"


@pytest.mark.parametrize(("said", "score"), [("85%", 0.85), ("Confidence: 20 %", 0.2), ("quite sure", None)])
async def test_a_confidence_in_words_is_asked_for_aside(serving, upstream, aside, said, score):
    """The answer that the client sees is as it would have been."""
    prompt = upstream.script(answer(PARIS))
    aside(answer(says(said)))
    async with serving(route("verbalised", mode="observe")) as running:
        got = await running.chat(prompt)
        assert got.json["choices"][0]["message"]["content"] == "Paris"
        assert got.json["idk"]["choices"][0]["score"] == score


async def test_each_choice_is_asked_about(serving, upstream, aside):
    prompt = upstream.script(answer(PARIS, says("Lyon"), says("I don't know.")))
    aside(answer(says("85%")))
    async with serving(route("verbalised")) as running:
        got = await running.chat(prompt, n=3)
        assert [each["score"] for each in got.json["idk"]["choices"]] == [0.85, 0.85, None]
        assert got.json["idk"]["extra"]["calls"] == 2


JUDGED = {"samples": 2, "judge": "judge"}


def judge():
    return {"name": "judge", "models": ["judge"], "upstream": "u", "model": "clever", "mode": "off"}


def sampled(*texts):
    """Answers and samples alike come from these."""

    async def reply(call, peer):
        sample = call.json.get("temperature") == 0.8
        await answer(*([says(text) for text in texts] if sample else [PARIS]))(call, peer)

    return reply


@pytest.mark.parametrize(("said", "score"), [
    ("[0, 0, 1]", 0.5), ("Here: [3, 3, 3].", 1.0), ("[0, 1]", None), ("no idea", None), ("[0, 1, x]", None),
])  # fmt: skip
async def test_a_judge_says_which_samples_mean_the_same(serving, upstream, aside, said, score):
    prompt = upstream.script(sampled("The capital, Paris", "Lyon"))
    aside(answer(says(said)))
    async with serving(judge(), route("agreement_judge", **JUDGED)) as running:
        got = await running.chat(prompt)
        assert got.json["idk"]["choices"][0]["score"] == score
        (call,) = asides(upstream)
        assert call.json["model"] == "clever"
        assert '["Paris","The capital, Paris","Lyon"]' in call.json["messages"][0]["content"]


async def test_where_all_say_the_same_no_judge_is_asked(serving, upstream, aside):
    prompt = upstream.script(sampled("paris.", "Paris"))
    aside(error(500, "out of order"))
    async with serving(judge(), route("agreement_judge", **JUDGED)) as running:
        got = await running.chat(prompt)
        assert got.json["idk"]["choices"][0]["score"] == 1.0
        assert asides(upstream) == []


VECTORS = {"Paris": [1.0, 0.0], "The city of Paris": [0.8, 0.6], "Lyon": [-1.0, 0.0]}


def embedding(*, left_out=None):
    async def reply(call, peer):
        vectors = [
            {"index": place, "embedding": VECTORS[text]}
            for place, text in enumerate(call.json["input"])
            if text != left_out
        ]
        body = {"data": vectors[::-1], "usage": {"prompt_tokens": 9, "total_tokens": 9}}
        await raw(json.dumps(body).encode())(call, peer)

    return reply


@pytest.mark.parametrize(("left_out", "score"), [(None, 0.4), ("Lyon", None)])
async def test_vectors_are_compared(serving, upstream, left_out, score):
    prompt = upstream.script(sampled("The city of Paris", "Lyon"))
    upstream.serve("/v1/embeddings", embedding(left_out=left_out))
    settings = {"samples": 2, "embeddings": {"upstream": "u", "model": "small"}}
    async with serving(route("agreement_embedding", **settings)) as running:
        got = await running.chat(prompt)
        assert got.json["idk"]["choices"][0]["score"] == (None if score is None else pytest.approx(score))
        call = upstream.calls("/v1/embeddings")[-1]
        assert call.json == {"model": "small", "input": ["Paris", "The city of Paris", "Lyon"]}


async def test_the_tokens_of_a_question_are_bounded_too(serving, upstream, aside):
    prompt = upstream.script(answer(PARIS))
    aside(answer(says("85%")))
    async with serving(route("verbalised", budget={"tokens": 100})) as running:
        got = await running.chat(prompt)
        assert got.json["idk"]["choices"][0]["reason"] == "budget"
        assert asides(upstream) == []
