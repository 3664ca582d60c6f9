"""The sentences of a long answer in the ``idk`` field: where the client asks, and of nothing that is withheld."""

from __future__ import annotations

import json

import pytest

from tests.fakes import answer, says
from tests.proxy.requests.evidence.replies import is_sample, telling

TOWER = "The tower is 330 metres high."
SEAT = "Paris is the capital of France."
LONG = f"{SEAT} {TOWER}"
OTHER = f"{SEAT} The tower is 300 metres high."
RULE = {"scorers": ["agreement"], "score_threshold": 0.5, "samples": 2, "mode": "enforce"}
VERBOSE = {"idk": {"verbose": True}}


def route(**settings):
    return {"name": "r", **RULE, **settings}


def bodies(prompt):
    said = [{"role": "user", "content": prompt}]
    return {
        "/v1/chat/completions": {"messages": said},
        "/v1/completions": {"prompt": prompt},
        "/v1/responses": {"input": prompt},
        "/v1/messages": {"messages": said, "max_tokens": 99},
    }


def reports(got):
    """Return the ``idk`` field, wherever the format has it."""
    found = []

    def look(value):
        if isinstance(value, dict):
            found.extend([value["idk"]] if isinstance(value.get("idk"), dict) else [])
            list(map(look, value.values()))
        elif isinstance(value, list):
            list(map(look, value))

    if "text/event-stream" not in got.headers["content-type"]:
        look(got.json)
    else:
        lines = (line.removeprefix("data: ") for line in got.text.splitlines())
        for line in lines:
            look(json.loads(line) if line.startswith("{") else None)
    return found


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("path", bodies(""))
async def test_the_weakest_sentence_comes_first(serving, upstream, path, stream):
    prompt = upstream.script(telling(says(LONG), [LONG, OTHER]))
    async with serving(route(), upstream={"formats": ["chat", "completions"]}) as running:
        got = await running.ask(path, {"model": "m", "stream": stream, **VERBOSE, **bodies(prompt)[path]})
        ((choice,),) = [report["choices"] for report in reports(got)]
        assert choice["decision"] == "answer"
        first, second = choice["sentences"]
        assert first["text"] == TOWER
        assert first["score"] == choice["score"] < 1.0
        assert second == {"text": SEAT, "score": 1.0}
        assert all("idk" not in call.json for call in upstream.calls(prompt))


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("path", bodies(""))
async def test_no_sentence_of_what_is_withheld(serving, upstream, path, stream):
    prompt = upstream.script(telling(says(LONG), ["Something else.", "No such thing."]))
    async with serving(route(), upstream={"formats": ["chat", "completions"]}) as running:
        got = await running.ask(path, {"model": "m", "stream": stream, **VERBOSE, **bodies(prompt)[path]})
        ((choice,),) = [report["choices"] for report in reports(got)]
        assert choice["decision"] == "abstain"
        assert "sentences" not in choice
        for word in ("Paris", "France", "tower", "330"):
            assert word not in got.text


async def test_of_several_choices_only_those_that_go_out(serving, upstream):
    served = answer(says(LONG), says("Lyon is its seat. A rope holds it."))
    prompt = upstream.script(telling(served, [LONG, LONG]))
    async with serving(route()) as running:
        got = await running.chat(prompt, n=2, **VERBOSE)
        first, second = got.json["idk"]["choices"]
        assert [each["score"] for each in first["sentences"]] == [1.0, 1.0]
        assert second["decision"] == "abstain"
        assert "sentences" not in second
        assert "Lyon" not in got.text
        assert "rope" not in got.text


async def test_an_answer_that_is_only_observed_goes_out_whatever_is_said_of_it(serving, upstream):
    prompt = upstream.script(telling(says(LONG), ["Something else.", "No such thing."]))
    async with serving(route(mode="observe")) as running:
        got = await running.chat(prompt, **VERBOSE)
        (choice,) = got.json["idk"]["choices"]
        assert choice["decision"] == "abstain"
        assert {each["text"] for each in choice["sentences"]} == {SEAT, TOWER}


@pytest.mark.parametrize("better", [True, False])
async def test_a_stronger_routes_answer_has_its_own_and_the_first_ones_stay_unsaid(serving, upstream, better):
    async def reply(call, peer):
        if call.json["model"] == "small":
            said = says("Something else.") if is_sample(call) else says("Lyon is its seat. A rope holds it.")
        else:
            said = says(LONG if better or not is_sample(call) else "No such thing.")
        await answer(*[said] * call.json.get("n", 1))(call, peer)

    prompt = upstream.script(reply)
    weak = route(model="small", on_low="escalate", escalate_to="s")
    async with serving(weak, route(name="s", model="large")) as running:
        got = await running.chat(prompt, **VERBOSE)
        idk = got.json["idk"]
        (choice,), first, second = idk["choices"], *idk["steps"]
        assert "sentences" not in first["choices"][0]
        assert ("sentences" in choice, "sentences" in second["choices"][0]) == (better, better)
        assert choice["decision"] == ("escalate" if better else "abstain")
        assert "rope" not in got.text
        assert ("tower" in got.text) is better


@pytest.mark.parametrize(("text", "field"), [
    (LONG, {}), (LONG, {"idk": {"verbose": False}}), ("Paris", VERBOSE),
])  # fmt: skip
async def test_none_unasked_and_none_of_a_short_answer(serving, upstream, text, field):
    prompt = upstream.script(telling(says(text), [text, text]))
    async with serving(route()) as running:
        got = await running.chat(prompt, **field)
        (choice,) = got.json["idk"]["choices"]
        assert choice["decision"] == "answer"
        assert "sentences" not in choice


async def test_a_refusal_has_no_sentences(serving, upstream):
    refused = says(message={"content": None, "refusal": LONG})
    prompt = upstream.script(telling(refused, [LONG, LONG]))
    async with serving(route()) as running:
        got = await running.chat(prompt, **VERBOSE)
        assert "sentences" not in json.dumps(got.json["idk"])


async def test_what_is_no_truth_value_is_refused(serving, upstream):
    async with serving(route()) as running:
        got = await running.chat("?", idk={"verbose": "yes"})
        assert got.status == 400
        assert got.json["error"]["param"] == "idk.verbose"
