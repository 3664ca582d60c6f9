"""The rescue, whole and streamed, before a fake upstream: one call more, only where it is needed."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from gating import SCORERS, Policy
from gating.combine import Single
from gating.conditions import Group
from tests.fakes import answer, error, says
from tests.gating.conditional import conditions
from tests.proxy.policies import POLICY
from tests.proxy.requests.remedies.replies import DECLINES, GATE, SURE, said, texts

UNSURE = -3.0
RESCUE = GATE | {"rag": {"context": "(?s)<c>(.*?)</c>", "rescue": True}}


def in_context(prompt):
    return f"<c>Passage.</c>{prompt}"


def script(upstream, opened, closed):
    """Script the replies with the passage and without it; return the prompt of each."""
    bare = upstream.script(*([closed] if closed is not None else []))
    whole = in_context(bare)
    upstream._replies[whole] = [opened]
    return whole, bare


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    "opened", [answer(DECLINES), answer(says("Lyon", logprob=UNSURE))], ids=["refusal", "unsure"]
)
async def test_a_withheld_answer_is_asked_again_without_its_context(serving, upstream, stream, opened):
    whole, bare = script(upstream, opened, answer(says("Par", "is", logprob=SURE)))
    async with serving(RESCUE) as proxy:
        reply = await proxy.chat(whole, stream=stream)
        idk = said(reply)
        assert texts(reply) == "Paris"
        assert (idk["choices"][0]["decision"], idk["choices"][0]["reason"]) == ("rescue", "confident")
        assert idk["certified"] is False
        assert idk["extra"]["calls"] == 1
        assert idk["extra"]["prompt_tokens"] + idk["extra"]["completion_tokens"] > 0
        assert proxy.count("idk_rescues_total", route="docs", outcome="served") == 1
        assert proxy.count("idk_requests_total", route="docs", decision="rescue", reason="confident") == 1
        assert (
            proxy.count("idk_requests_total", route="docs", decision="abstain", reason="below_threshold") == 0
        )
    assert len(upstream.calls(whole)) == len(upstream.calls(bare)) == 1
    assert upstream.call(bare).json["messages"] == [{"role": "user", "content": bare}]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    "closed", [answer(says("Rome", logprob=UNSURE)), answer(says("I don't know.", logprob=SURE))]
)
async def test_where_that_is_no_better_the_abstention_stands(serving, upstream, stream, closed):
    whole, _ = script(upstream, answer(DECLINES), closed)
    async with serving(RESCUE) as proxy:
        reply = await proxy.chat(whole, stream=stream)
        idk = said(reply)
        assert texts(reply) == "I don't know."
        assert (idk["choices"][0]["decision"], idk["choices"][0]["reason"]) == (
            "abstain",
            "upstream_abstained",
        )
        assert idk["extra"]["calls"] == 1
        assert proxy.count("idk_rescues_total", route="docs", outcome="abstained") == 1


@pytest.mark.parametrize("stream", [False, True])
async def test_a_confident_answer_costs_no_further_call(serving, upstream, stream):
    whole, bare = script(upstream, answer(says("Lyon", logprob=SURE)), None)
    async with serving(RESCUE) as proxy:
        reply = await proxy.chat(whole, stream=stream)
        assert texts(reply) == "Lyon"
        assert said(reply)["extra"]["calls"] == 0
        assert proxy.count("idk_rescues_total", route="docs", outcome="served") == 0
    assert not upstream.calls(bare)


@pytest.mark.parametrize("stream", [False, True])
async def test_a_route_without_rescue_is_what_it_was(serving, upstream, stream):
    """Not a call, not a token: with context or without, the upstream gets the same bytes."""
    whole, bare = script(upstream, answer(DECLINES), answer(says("Paris", logprob=SURE)))
    async with serving(
        GATE, GATE | {"name": "told", "models": ["told"], "rag": {"context": "(?s)<c>(.*?)</c>"}}
    ) as proxy:
        for model, place in (("m", 0), ("told", 1)):
            reply = await proxy.chat(whole, model, stream=stream)
            assert texts(reply) == "I don't know."
            assert said(reply)["extra"] == {"calls": 0, "prompt_tokens": 0, "completion_tokens": 0}
            assert "steps" not in said(reply)
            sent = upstream.call(whole, place).json
            assert sent["messages"] == [{"role": "user", "content": whole}]
    assert len(upstream.calls(whole)) == 2
    assert not upstream.calls(bare)


async def test_without_context_there_is_nothing_to_rescue(serving, upstream):
    prompt = upstream.script(answer(says("Lyon", logprob=UNSURE)))
    async with serving(RESCUE) as proxy:
        reply = await proxy.chat(prompt)
        assert (texts(reply), said(reply)["extra"]["calls"]) == ("I don't know.", 0)
    assert len(upstream.calls(prompt)) == 1


@pytest.mark.parametrize("stream", [False, True])
async def test_a_failing_rescue_leaves_the_abstention(serving, upstream, stream):
    whole, _ = script(upstream, answer(DECLINES), error(500, "no"))
    async with serving(RESCUE) as proxy:
        reply = await proxy.chat(whole, stream=stream)
        assert reply.status == 200
        assert texts(reply) == "I don't know."
        assert proxy.count("idk_rescues_total", route="docs", outcome="failed") == 1
        assert proxy.count("idk_upstream_errors_total", upstream="u", kind="status") == 1


async def test_an_observing_route_asks_nothing_more(serving, upstream):
    whole, bare = script(upstream, answer(DECLINES), None)
    async with serving(RESCUE | {"mode": "observe"}) as proxy:
        reply = await proxy.chat(whole)
        assert said(reply)["choices"][0]["decision"] == "abstain"
        assert "does not mention" in texts(reply)
    assert not upstream.calls(bare)


async def test_the_instruction_and_the_requests_own_context(serving, upstream):
    from proxy.requests.prompt.context import INSTRUCTION

    bare = upstream.script()
    upstream._replies[f"A\n\n{bare}"] = [answer(DECLINES)]
    upstream._replies[f"{INSTRUCTION}\n\n{bare}"] = [answer(says("Paris", logprob=SURE))]
    async with serving(GATE | {"rag": {"rescue": True, "instruct": True}}) as proxy:
        reply = await proxy.chat(bare, idk={"context": ["A"]})
        assert (texts(reply), said(reply)["choices"][0]["decision"]) == ("Paris", "rescue")


async def test_context_for_a_route_that_takes_none_is_refused(serving, upstream):
    async with serving({"name": "off", "models": ["off"], "mode": "off"}, GATE) as proxy:
        for model, words in (("m", "takes no context"), ("off", "does not put context")):
            reply = await proxy.chat("?", model, idk={"context": ["A"]})
            assert reply.status == 400
            assert words in reply.json["error"]["message"]


# Policies with conditions


def conditional(**groups):
    made = conditions(**(groups or {"none": Group(0.6, n=9), "context": Group(0.9, n=9)}))
    return Policy("rag", Single(SCORERS["mean_logprob"]), made.calibrator.global_, 0.6, conditions=made)


def write(folder, policy):
    (folder / "p.json").write_text(json.dumps(policy.to_dict()))
    return {"name": "docs", "mode": "enforce", "policy": "p.json", "rag": {"context": "(?s)<c>(.*?)</c>"}}


async def test_each_condition_has_its_own_confidence_and_threshold(serving, upstream, tmp_path):
    route = write(tmp_path, conditional())
    whole, bare = script(upstream, answer(says("Paris", logprob=SURE)), answer(says("Paris", logprob=SURE)))
    async with serving(route) as proxy:
        within, without = said(await proxy.chat(whole)), said(await proxy.chat(bare))
    assert (within["choices"][0]["decision"], within["choices"][0]["threshold"]) == ("abstain", 0.9)
    assert (without["choices"][0]["decision"], without["choices"][0]["threshold"]) == ("answer", 0.6)
    assert within["choices"][0]["confidence"] < without["choices"][0]["confidence"]


def test_check_tells_every_conditions_threshold(tmp_path, capsys):
    from proxy.cli.main import run

    route = write(tmp_path, conditional(none=Group(0.6), context=Group(None)))
    config = {"upstreams": {"u": {"base_url": "http://127.0.0.1:9/v1"}}}
    config["routes"] = [{"models": ["*"], "upstream": "u", **route}]
    (tmp_path / "idk.yaml").write_text(json.dumps(config))
    assert run(["check", "--config", str(tmp_path / "idk.yaml")]) == 0
    assert "at confidence none 0.6, context never, not certified" in capsys.readouterr().out


async def test_the_rescued_answer_is_gated_as_one_without_context(serving, upstream, tmp_path):
    route = write(tmp_path, conditional())
    route["rag"] |= {"rescue": True}
    whole, _ = script(upstream, answer(says("Lyon", logprob=SURE)), answer(says("Paris", logprob=SURE)))
    async with serving(route) as proxy:
        idk = said(await proxy.chat(whole))
    assert (idk["choices"][0]["decision"], idk["choices"][0]["threshold"]) == ("rescue", 0.6)
    assert [step["choices"][0]["threshold"] for step in idk["steps"]] == [0.9, 0.6]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(("own", "decision"), [(0.1, "rescue"), (1.0, "abstain"), (None, "abstain")])
async def test_a_rescued_answer_is_held_to_the_policys_own_threshold_for_it(
    serving, upstream, tmp_path, stream, own, decision
):
    route = write(tmp_path, conditional(none=Group(0.0), context=Group(1.0), rescued=Group(own)))
    route["rag"] |= {"rescue": True}
    whole, bare = script(upstream, answer(DECLINES), answer(says("Paris", logprob=SURE)))
    upstream._replies[bare].append(answer(says("Paris", logprob=SURE)))
    async with serving(route) as proxy:
        reply = await proxy.chat(whole, stream=stream)
        assert texts(reply) == ("Paris" if decision == "rescue" else "I don't know.")
        assert said(reply)["choices"][0]["decision"] == decision
        asked_so = await proxy.chat(bare, stream=stream)
        assert (texts(asked_so), said(asked_so)["choices"][0]["threshold"]) == ("Paris", 0.0)


@pytest.mark.parametrize("stream", [False, True])
async def test_the_contrast_asks_once_beside_the_answer(serving, upstream, tmp_path, stream):
    made = conditions(none=Group(0.6), agree=Group(0.0), disagree=Group(1.0))
    policy = Policy(
        "rag",
        Single(SCORERS["mean_logprob"]),
        made.calibrator.global_,
        0.6,
        conditions=replace(made, by="contrast"),
    )
    route = write(tmp_path, policy)
    agreeing, bare = script(
        upstream, answer(says("Paris", logprob=SURE)), answer(says("Paris", logprob=SURE))
    )
    other, _ = script(upstream, answer(says("Lyon", logprob=SURE)), answer(says("Paris", logprob=SURE)))
    async with serving(route) as proxy:
        reply = await proxy.chat(agreeing, stream=stream)
        assert (texts(reply), said(reply)["extra"]["calls"]) == ("Paris", 1)
        assert texts(await proxy.chat(other, stream=stream)) == "I don't know."
        reply = await proxy.chat(bare)
        assert (said(reply)["choices"][0]["threshold"], said(reply)["extra"]["calls"]) == (0.6, 0)
    assert "stream" not in upstream.call(bare).json


async def test_words_tell_passages_apart(serving, upstream, tmp_path):
    from gating.relatedness import Vocabulary

    made = conditions(none=Group(0.6), related=Group(0.0), unrelated=Group(1.0))
    made = replace(made, by="passages", vocabulary=Vocabulary(frozenset({"prompt"}), 1.0))
    policy = Policy("rag", Single(SCORERS["mean_logprob"]), made.calibrator.global_, 0.6, conditions=made)
    route = write(tmp_path, policy)
    bare = upstream.script()
    number = bare.split()[1]
    for passage in (f"It is {number}.", "It is none."):
        upstream._replies[f"<c>{passage}</c>{bare}"] = [answer(says("Paris", logprob=SURE))]
    async with serving(route) as proxy:
        related = await proxy.chat(f"<c>It is {number}.</c>{bare}")
        unrelated = await proxy.chat(f"<c>It is none.</c>{bare}")
    assert (texts(related), texts(unrelated)) == ("Paris", "I don't know.")


async def test_labels_that_did_not_speak_of_passages_certify_no_request_with_some(
    serving, upstream, tmp_path
):
    (tmp_path / "p.json").write_text(json.dumps(POLICY.to_dict()))
    route = {"name": "docs", "mode": "enforce", "policy": "p.json", "rag": {"context": "(?s)<c>(.*?)</c>"}}
    whole, bare = script(upstream, answer(says("Paris", logprob=SURE)), answer(says("Paris", logprob=SURE)))
    async with serving(route) as proxy:
        assert said(await proxy.chat(bare))["certified"] is True
        assert said(await proxy.chat(whole))["certified"] is False


@pytest.mark.parametrize("rag", [{}, {"rescue": True}])
async def test_a_policy_that_needs_to_know_is_refused_where_nobody_tells(serving, tmp_path, rag):
    from proxy.exceptions import ConfigError

    route = write(tmp_path, conditional()) | {"rag": rag}
    with pytest.raises(ConfigError, match=r"routes\.docs\.rag\.context: the policy tells"):
        async with serving(route):
            pass
    with pytest.raises(ConfigError, match=r"rag\.context: the gate reads the answer without context"):
        async with serving({"name": "docs", "scorers": ["closed_book_contrast"]}):
            pass


# Other formats, over an upstream that speaks chat alone


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(("path", "body"), [
    ("/v1/messages", lambda text: {"messages": [{"role": "user", "content": text}], "max_tokens": 9}),
    ("/v1/responses", lambda text: {"input": text}),
])  # fmt: skip
async def test_other_formats_are_rescued_too(serving, upstream, path, body, stream):
    whole, bare = script(upstream, answer(DECLINES), answer(says("Par", "is", logprob=SURE)))
    async with serving(RESCUE, upstream={"formats": ["chat"]}) as proxy:
        reply = await proxy.ask(path, {"model": "m", "stream": stream, **body(whole)})
        assert reply.status == 200
        assert proxy.count("idk_rescues_total", route="docs", outcome="served") == 1
    text = reply.body.decode()
    assert '"decision":"rescue"' in text
    assert "Par" in text
    assert "mention" not in text
    assert len(upstream.calls(bare)) == 1
