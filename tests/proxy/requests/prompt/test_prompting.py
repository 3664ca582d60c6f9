"""The confidence target in the prompt: put after the question, whatever the format, and part of a fingerprint."""

from __future__ import annotations

import json

from proxy.requests.route import fingerprint
from tests.fakes import answer, says

ROUTE = {"name": "r", "scorers": ["mean_logprob"], "confidence_prompt": 0.75}


async def test_the_model_is_told_what_a_mistake_costs(serving, upstream):
    async with serving(ROUTE) as running:
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
    async with serving(ROUTE) as running:
        (route,) = running.parts.routes.routes
        assert fingerprint(route, "m", {})["confidence_prompt"] == 0.75
